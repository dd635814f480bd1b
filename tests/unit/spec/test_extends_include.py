"""extends and include: what is inherited, what paths are relative to, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


def test_own_keys_win_and_lists_append(project: Project) -> None:
    service = project.model(
        "services: {base: {image: a, cap_add: [X], command: [x], labels: {k: 1, l: 1}},"
        " web: {extends: base, image: b, cap_add: [Y], labels: {l: 2}}}"
    )["services"]["web"]
    assert service["image"] == "b"
    assert service["cap_add"] == ["X", "Y"]
    assert service["command"] == ["x"]
    assert service["labels"] == {"k": "1", "l": "2"}
    assert "extends" not in service


def test_chains_and_both_forms(project: Project) -> None:
    services = project.model(
        "services: {c: {extends: {service: b}, user: c}, b: {extends: a, hostname: b},"
        " a: {image: x, user: a}}"
    )["services"]
    assert (services["c"]["image"], services["c"]["user"]) == ("x", "c")
    assert services["c"]["hostname"] == "b"


def test_paths_of_another_file_are_relative_to_it(project: Project) -> None:
    project.write("lib/e.env", "K=v")
    project.write(
        "lib/base.yaml",
        "services: {base: {extends: {file: deep/b.yaml, service: root}, image: x,"
        " volumes: ['./src:/s'], env_file: e.env}}",
    )
    project.write("lib/deep/b.yaml", "services: {root: {volumes: ['./d:/d'], user: u}}")
    service = project.model(
        "services: {web: {extends: {file: lib/base.yaml, service: base}, volumes: ['./w:/w']}}"
    )["services"]["web"]
    sources = [volume["source"] for volume in service["volumes"]]
    assert sources == [str(project.directory / name) for name in ("lib/deep/d", "lib/src", "w")]
    assert service["environment"] == {"K": "v"}
    assert service["user"] == "u"


def test_without_path_resolution_they_are_relative_to_the_project(project: Project) -> None:
    project.write("lib/base.yaml", "services: {base: {image: x, volumes: ['./src:/s']}}")
    service = project.model(
        "services: {web: {extends: {file: lib/base.yaml, service: base}}}", resolve_paths=False
    )["services"]["web"]
    assert service["volumes"][0]["source"] == "lib/src"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("{web: {image: x, extends: web}}", "web", "circular reference: 'web' in"),
        ("{a: {extends: b}, b: {extends: a}}", "a", "circular reference: 'a' in"),
        ("{web: {image: x, extends: bas}, base: {image: x}}", "web",
         "service 'bas' not found in f0.yaml (did you mean 'base'?)"),
        ("{web: {image: x, extends: {file: gone.yaml, service: b}}}", "web", "cannot read"),
        ("{web: {image: x, extends: {file: base.yaml, service: c}}}", "web",
         "service 'c' not found in base.yaml"),
        ("{web: {image: x, extends: {file: base.yaml}}}", "web", "missing key 'service'"),
        ("{web: {image: x, extends: {file: 'https://x/y', service: b}}}", "web",
         "there are no network loaders"),
    ],
)  # fmt: skip
def test_bad_extends(project: Project, text: str, path: str, message: str) -> None:
    project.write("base.yaml", "services: {b: {image: x}}")
    error = project.errors(f"services: {text}")[0]
    assert message in error
    assert error.startswith("f0.yaml:1:")


def test_a_long_chain_is_refused_and_no_recursion_error(project: Project) -> None:
    services = "".join(f"  s{i}: {{extends: s{i + 1}}}\n" for i in range(5000))
    error = project.error(f"services:\n{services}  s5000: {{image: x}}\n")
    assert "more than 100 levels of extends" in error


def test_dependencies_of_the_base_are_inherited_and_checked(project: Project) -> None:
    text = "services: {base: {image: x, depends_on: [db]}, web: {extends: base}%s}"
    assert "undefined service 'db'" in project.errors(text % "")[0]
    model = project.model(text % ", db: {image: y}")
    assert "db" in model["services"]["web"]["depends_on"]


def test_reset_in_the_child_drops_what_was_inherited(project: Project) -> None:
    service = project.model(
        "services: {base: {image: x, ports: ['80:80'], hostname: h, cap_add: [A]},"
        " web: {extends: base, ports: !reset [], hostname: !reset null, cap_add: !override [B]}}"
    )["services"]["web"]
    assert "ports" not in service
    assert "hostname" not in service
    assert service["cap_add"] == ["B"]


def test_profiles_of_the_base_are_inherited(project: Project) -> None:
    loaded = project.load(
        "services: {base: {image: x, profiles: [p]}, web: {extends: base}, o: {image: y}}"
    )
    assert list(loaded.model["services"]) == ["o"]


def test_mistakes_in_a_base_file_have_its_place(project: Project) -> None:
    project.write("lib/base.yaml", "services:\n  b:\n    image: x\n    imag: y\n")
    error = project.error("services: {web: {extends: {file: lib/base.yaml, service: b}}}")
    assert error.startswith("lib/base.yaml:4:5: services.web.imag: unknown key 'imag'")


# --- include ---


def services(project: Project, text: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = project.model(text, **options)["services"]
    return found


def test_paths_of_an_included_file_are_relative_to_it(project: Project) -> None:
    project.write("inc/c.yaml", "services: {b: {image: x, volumes: ['./z:/z']}}")
    for entry in ("inc/c.yaml", "{path: inc/c.yaml}", "{path: [inc/c.yaml]}"):
        found = services(project, f"include: [{entry}]\nservices: {{a: {{image: y}}}}")
        assert sorted(found) == ["a", "b"]
        assert found["b"]["volumes"][0]["source"] == str(project.directory / "inc/z")


def test_project_directory_of_an_include(project: Project) -> None:
    project.write("inc/c.yaml", "services: {b: {image: '${I-none}', volumes: ['./z:/z']}}")
    project.write("other/.env", "I=other")
    found = services(project, "include: [{path: inc/c.yaml, project_directory: other}]")
    assert found["b"]["volumes"][0]["source"] == str(project.directory / "other/z")
    assert found["b"]["image"] == "other"


def test_its_environment_files_give_defaults_for_it_alone(project: Project) -> None:
    project.write("inc/.env", "I=env\nJ=env")
    project.write("mine.env", "I=mine")
    project.write("inc/c.yaml", "services: {b: {image: '${I-x}', hostname: '${J-x}'}}")
    text = "include: [%s]\nservices: {a: {image: 'a${I-unset}'}}"
    found = services(project, text % "inc/c.yaml", env={"J": "parent"})
    assert (found["b"]["image"], found["b"]["hostname"]) == ("env", "parent")
    assert found["a"]["image"] == "aunset"
    found = services(project, text % "{path: inc/c.yaml, env_file: mine.env}")
    assert (found["b"]["image"], found["b"]["hostname"]) == ("mine", "x")
    found = services(project, text % "{path: inc/c.yaml, env_file: /dev/null}")
    assert found["b"]["image"] == "x"


def test_several_paths_merge_before_they_are_included(project: Project) -> None:
    project.write("inc/a.yaml", "services: {b: {image: x, user: a}}")
    project.write("over/b.yaml", "services: {b: {user: b, volumes: ['./v:/v']}}")
    found = services(project, "include: [{path: [inc/a.yaml, over/b.yaml]}]")
    assert found["b"]["user"] == "b"
    assert found["b"]["volumes"][0]["source"] == str(project.directory / "inc/v")


def test_the_including_file_wins(project: Project) -> None:
    project.write("inc.yaml", "name: other\nservices: {a: {image: x, user: u}}\nvolumes: {v: }")
    model = project.model("include: [inc.yaml]\nservices: {a: {image: y}}", all_resources=True)
    assert model["services"]["a"]["image"] == "y"
    assert model["services"]["a"]["user"] == "u"
    assert model["volumes"] == {"v": {"name": "p_v"}}
    assert model["name"] == "p"


def test_included_services_can_be_extended(project: Project) -> None:
    project.write("inc.yaml", "services: {base: {image: x}}")
    assert services(project, "include: [inc.yaml]\nservices: {a: {extends: base}}")["a"][
        "image"
    ] == "x"  # fmt: skip


def test_nested_includes(project: Project) -> None:
    project.write("i/a.yaml", "include: [j/b.yaml]\nservices: {a: {image: x}}")
    project.write("i/j/b.yaml", "services: {b: {image: y, volumes: ['./v:/v']}}")
    found = services(project, "include: [i/a.yaml]")
    assert found["b"]["volumes"][0]["source"] == str(project.directory / "i/j/v")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("[f0.yaml]", "include cycle detected"), ("[gone.yaml]", "cannot read"),
        ("f.yaml", "include: must be a list"),
        ("[{path: [1]}]", "include[0].path[0]: must be a string"),
        ("[{file: x}]", "include[0].file: unknown key 'file'"),
        ("['oci://x']", "no network loaders"),
        ("[{path: ok.yaml, env_file: gone.env}]", "cannot read env file"),
        ("[bad.yaml]", "unknown key 'imag'"), ("[loop.yaml]", "include cycle detected"),
    ],
)  # fmt: skip
def test_bad_includes(project: Project, entry: str, message: str) -> None:
    project.write("ok.yaml", "services: {b: {image: x}}")
    project.write("bad.yaml", "services: {b: {imag: x}}")
    project.write("loop.yaml", "include: [f0.yaml]")
    errors = project.errors(f"include: {entry}\nservices: {{a: {{image: x}}}}")
    assert any(message in error for error in errors), errors


def test_an_included_mistake_has_its_own_place(project: Project) -> None:
    project.write("inc/c.yaml", "services:\n  b:\n    image: x\n    cpus: [1]\n")
    assert project.error("include: [inc/c.yaml]").startswith("inc/c.yaml:4:11: services.b.cpus")
