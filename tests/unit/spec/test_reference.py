"""Differences from the reference implementation that were found by comparing, and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Project


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("-0", "-0"),
        ("-0.0", "-0"),
        ("0777777777777777777777777", "7.777777777777778e+23"),
        ("0xfffffffffffffffffffff", "0xfffffffffffffffffffff"),
    ],
)
def test_numbers_at_the_edge_print_as_in_go(project: Project, written: str, text: str) -> None:
    assert project.service(f"labels: {{a: {written}}}")["labels"] == {"a": text}


@pytest.mark.parametrize("option", ["cached", "delegated", "consistent"])
def test_hints_for_macos_are_told_and_change_nothing(project: Project, option: str) -> None:
    loaded = project.load(f"services: {{web: {{image: x, volumes: ['/s:/d:ro,{option}']}}}}")
    mount = {"type": "bind", "source": "/s", "target": "/d", "read_only": True, "bind": {}}
    assert loaded.model["services"]["web"]["volumes"] == [mount]
    assert loaded.warnings == [
        f"services.web.volumes[0]: {option!r} has no effect, it is for macOS"
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [("[a]", ["a"]), ("[a, b]", ["a", "b"]), ("{a: /k}", {"a": "/k"})],
)
def test_ssh_keys_without_paths_are_a_list(
    project: Project, written: str, expected: object
) -> None:
    assert project.service(f"build: {{context: /c, ssh: {written}}}")["build"]["ssh"] == expected


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("blkio_config: {weight: '5'}", "blkio_config.weight: must be an integer"),
        (
            "volumes: [{type: tmpfs, target: /x, tmpfs: {mode: '0700'}}]",
            "volumes[0].tmpfs.mode: must be a number",
        ),
        ("expose: [80.5]", "expose[0]: must be an integer or string"),
        (
            "develop: {watch: [{action: sync, path: ./x}]}",
            "develop.watch[0]: 'sync' needs a 'target'",
        ),
        (
            "build: {context: ., dockerfile: D, dockerfile_inline: FROM x}",
            "build: 'dockerfile' and 'dockerfile_inline' are exclusive",
        ),
        (
            "platform: linux/a, build: {context: ., platforms: [linux/b]}",
            "build.platforms: must include the service's 'linux/a'",
        ),
        (
            "build: {context: ., additional_contexts: {a: 'service:wb'}}",
            "build.additional_contexts.a: undefined service 'wb' (did you mean 'web'?)",
        ),
        ("env_file: ''", "env_file: cannot read env file '': no such file or directory"),
    ],
)
def test_what_the_reference_refuses(project: Project, body: str, error: str) -> None:
    assert f"services.web.{error}" in project.service_error(body)


def test_a_mode_that_is_no_octal_number_is_refused(project: Project) -> None:
    text = """
        services: {web: {image: x, secrets: [{source: s, mode: 0999}]}}
        secrets: {s: {environment: HOME}}
    """
    assert project.error(text).endswith("mode: invalid mode 999, expected octal digits")


def test_an_additional_context_needs_a_service_that_is_built(project: Project) -> None:
    text = """
        services:
          web: {build: {context: ., additional_contexts: {a: 'service:db'}}}
          db: {image: x}
    """
    assert project.error(text).endswith("additional_contexts.a: service 'db' builds no image")


@pytest.mark.parametrize(
    ("key", "base", "other", "error"),
    [
        ("depends_on", "[b]", "[1]", "depends_on[0]: must be a string"),
        ("depends_on", "[b]", "b", "depends_on: must be a mapping or list"),
        ("networks", "[default]", "5", "networks: must be a mapping or list"),
        ("environment", "{A: 1}", "5", "environment: must be a mapping, list or string"),
        ("extra_hosts", "{a: 1.1.1.1}", "5", "extra_hosts: must be a mapping, list or string"),
        ("build", "/c", "[x]", "build: must be a mapping or string"),
    ],
)
def test_no_value_of_the_wrong_type_is_dropped_by_a_merge(
    project: Project, key: str, base: str, other: str, error: str
) -> None:
    rest = "b: {image: x}"
    problem = project.error(
        f"services: {{web: {{image: x, {key}: {base}}}, {rest}}}",
        f"services: {{web: {{{key}: {other}}}}}",
    )
    assert problem.startswith("f1.yaml:1:")
    assert f"services.web.{error}" in problem


def test_a_comment_of_an_env_file_may_have_any_encoding(project: Project) -> None:
    project.write("e.env", b"# caf\xe9\nA=1\n")
    service = project.service("env_file: e.env")
    assert service["environment"] == {"A": "1"}


def test_a_variable_of_an_env_file_has_to_be_utf_8(project: Project) -> None:
    project.write("e.env", b"A=1\nB=\xe9\n")
    assert "e.env:2:1: services.web.env_file: not valid UTF-8" in project.service_error(
        "env_file: e.env"
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('[sh, run --console ":9001" /d]', ["sh", 'run --console ":9001" /d']),
        ('[it\'s "a:b", c]', ['it\'s "a:b"', "c"]),
        ('{x: [a ":b, c], "k":1}', {"x": ['a ":b', "c"], "k": 1}),
        ('{"a" :1, "b:c":d:e}', {"a": 1, "b:c": "d:e"}),
        ("[ready?, a?b, {? c : d}]", ["ready?", "a?b", {"c": "d"}]),
        ("[{'it''s':1}, 'x :y']", [{"it's": 1}, "x :y"]),
    ],
)
def test_quotes_and_colons_within_flow_collections(
    project: Project, written: str, expected: object
) -> None:
    model = project.model(f"services: {{web: {{image: x}}}}\nx-flow: {written}")
    assert model["x-flow"] == expected


def test_mistakes_of_all_files_are_told_at_once(project: Project) -> None:
    project.write("inc/c.yaml", 'services: {i: {image: x, user: "${REQ:?set it}", privilegd: 1}}')
    project.write("lib/b.yaml", "services: {b: {image: x, portss: [1], cap_add: X}}")
    base = (
        "include: [inc/c.yaml]\n"
        "services:\n"
        "  web:\n"
        "    extends: {file: lib/b.yaml, service: b}\n"
        '    deploy: {replicas: "${LOTS}"}\n'
        "    comand: x\n"
        "    volumes: ['./a:/a']\n"
    )
    over = "services:\n  web:\n    volumes: {a: b}\n    restrt: always\n"
    assert project.errors(base, over, env={"LOTS": "lots"}) == [
        "f0.yaml:5:24: services.web.deploy.replicas: 'lots' is not an integer",
        "f0.yaml:6:5: services.web.comand: unknown key 'comand' (did you mean 'command'?)",
        "inc/c.yaml:1:32: services.i.user: required variable REQ is missing a value: set it",
        "inc/c.yaml:1:50: services.i.privilegd: unknown key 'privilegd' "
        "(did you mean 'privileged'?)",
        "lib/b.yaml:1:26: services.web.portss: unknown key 'portss' (did you mean 'ports'?)",
        "lib/b.yaml:1:48: services.web.cap_add: must be a list",
        "f1.yaml:3:14: services.web.volumes: cannot override a list with a mapping "
        "(the first one is at f0.yaml:7:14)",
        "f1.yaml:4:5: services.web.restrt: unknown key 'restrt' (did you mean 'restart'?)",
    ]


def test_a_file_that_is_missing_hides_no_mistake_before_it(project: Project) -> None:
    base = "services: {web: {image: x, scale: '${N}', extends: {file: gone.yaml, service: s}}}"
    assert project.errors(base, env={"N": "lots"}) == [
        "f0.yaml:1:35: services.web.scale: 'lots' is not an integer",
        "f0.yaml:1:59: cannot read 'gone.yaml': no such file or directory",
    ]


def test_keys_that_are_no_strings_are_named_as_written(project: Project) -> None:
    text = "services: {web: {image: x, labels: {true: a, null: b}}}"
    assert project.errors(text) == [
        "f0.yaml:1:37: services.web.labels: non-string key true (quote it)",
        "f0.yaml:1:46: services.web.labels: non-string key null (quote it)",
    ]
