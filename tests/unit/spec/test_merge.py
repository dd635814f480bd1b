"""Merging files, key by key; !reset and !override."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.spec.merge import Merger
from gocker.spec.nodes import Mapping, from_plain, plain
from gocker.spec.problems import Problems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


def port(target: int, published: str | None = None, **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {"mode": "ingress", "protocol": "tcp", "target": target, **more}
    return {**made, "published": published} if published else made


@pytest.mark.parametrize(
    ("key", "base", "over", "expected"),
    [
        ("environment", "[A=1, B=2]", "{B: 3, C: }", {"A": "1", "B": "3", "C": None}),
        ("environment", "{A: 1, Z: z}", "[A]", {"A": None, "Z": "z"}),
        ("labels", "{A: 1}", "[B=2]", {"A": "1", "B": "2"}),
        ("annotations", "[A=1]", "{A: 2}", {"A": "2"}),
        ("sysctls", "{net.a: 1}", "[net.b=2]", {"net.a": "1", "net.b": "2"}),
        ("command", "[a, b]", "[c]", ["c"]), ("command", "a b", "", None),
        ("command", "a b", "[]", []), ("entrypoint", "[a]", "b c", ["b", "c"]),
        ("healthcheck", "{test: [CMD, a], retries: 2}", "{test: b}",
         {"test": ["CMD-SHELL", "b"], "retries": 2}),
        ("security_opt", "[a]", "[b]", ["a", "b"]), ("group_add", "[a]", "[1]", ["a", "1"]),
        ("device_cgroup_rules", "['c 1:3 r']", "['c 1:5 r']", ["c 1:3 r", "c 1:5 r"]),
        ("cap_add", "[A, B]", "[B, C]", ["A", "B", "C"]), ("dns", "1.1.1.1", "[8.8.8.8, 1.1.1.1]",
         ["1.1.1.1", "8.8.8.8"]),
        ("dns_search", "a", "b", ["a", "b"]), ("dns_opt", "[a]", "[a]", ["a"]),
        ("expose", "[80]", "['80', 90]", ["80", "90"]), ("tmpfs", "/a", "[/b, /a]", ["/a", "/b"]),
        ("ports", "['80:80']", "['80:80', '81:81']", [port(80, "80"), port(81, "81")]),
        ("ports", "['80:80']", "[{target: 80, published: '80'}]", [port(80, "80")]),
        ("ports", "['80:80']", "['80:80/udp', '127.0.0.1:80:80']",
         [port(80, "80"), port(80, "80", protocol="udp"), port(80, "80", host_ip="127.0.0.1")]),
        ("ports", "[80]", "['80']", [port(80)]),
        ("volumes", "['a:/d', 'a:/e']", "['b:/d/']", [
            {"type": "volume", "source": "b", "target": "/d", "volume": {}},
            {"type": "volume", "source": "a", "target": "/e", "volume": {}}]),
        ("devices", "['/a:/x']", "['/b:/x:r']",
         [{"source": "/b", "target": "/x", "permissions": "r"}]),
        ("configs", "[c]", "[{source: c, target: /c, uid: '1'}]",
         [{"source": "c", "target": "/c", "uid": "1"}]),
        ("depends_on", "[o]", "{q: {condition: service_healthy}}", {
            "o": {"condition": "service_started", "required": True},
            "q": {"condition": "service_healthy", "required": True}}),
        ("networks", "[default]", "{n: {aliases: [x]}}",
         {"default": None, "n": {"aliases": ["x"]}}),
        ("networks", "{n: {aliases: [x, y]}}", "{n: {aliases: [y, z]}}",
         {"n": {"aliases": ["x", "y", "z"]}}),
        ("ulimits", "{nofile: {soft: 10, hard: 20}}", "{nofile: 30}", {"nofile": 30}),
        ("ulimits", "{nofile: 100}", "{nofile: {soft: 5, hard: 6}}",
         {"nofile": {"soft": 5, "hard": 6}}),
        ("logging", "{driver: a, options: {x: 1}}", "{options: {y: 2}}",
         {"driver": "a", "options": {"x": "1", "y": "2"}}),
        ("logging", "{driver: a, options: {x: 1}}", "{driver: a, options: {y: 2}}",
         {"driver": "a", "options": {"x": "1", "y": "2"}}),
        ("logging", "{driver: a, options: {x: 1}}", "{driver: b, options: {y: 2}}",
         {"driver": "b", "options": {"y": "2"}}),
        ("extra_hosts", "['h=1.1.1.1']", "{h: 2.2.2.2}", ["h=1.1.1.1", "h=2.2.2.2"]),
        ("extra_hosts", "['h=1.1.1.1']", "['h=1.1.1.1']", ["h=1.1.1.1"]),
        ("hostname", "h", "", "h"), ("hostname", "h", "i", "i"),
        ("deploy", "{labels: {a: 1}, replicas: 2}", "{labels: [b=2]}",
         {"labels": {"a": "1", "b": "2"}, "replicas": 2, "resources": {}, "placement": {}}),
        ("build", "./a", "{args: [X=1]}",
         {"context": "DIR/a", "args": {"X": "1"}, "dockerfile": "Dockerfile"}),
        ("profiles", "[]", "[]", None), ("x-a", "{l: [1], m: {n: 1}}", "{l: [2], m: {o: 2}}",
         {"l": [1, 2], "m": {"n": 1, "o": 2}}),
        ("post_start", "[{command: a}]", "[{command: b}]", [{"command": ["a"]},
         {"command": ["b"]}]),
    ],
)  # fmt: skip
def test_rules(project: Project, key: str, base: str, over: str, expected: Any) -> None:
    rest = "\nnetworks: {n: {}}\nvolumes: {a: {}, b: {}}\nconfigs: {c: {content: x}}\n"
    texts = [
        f"services: {{web: {{image: x, {key}: {base}}}, o: {{image: x}}, q: {{image: x}}}}" + rest,
        f"services: {{web: {{{key}: {over}}}}}",
    ]
    found = project.model(*texts, all_resources=True)["services"]["web"].get(key)
    if key == "build":
        found["context"] = found["context"].replace(str(project.directory), "DIR")
    assert found == expected


@pytest.mark.parametrize(
    ("base", "over"),
    [("healthcheck: {test: a}", "healthcheck: [a]"), ("ports: [80]", "ports: {a: b}"),
     ("deploy: {mode: a}", "deploy: x")],
)  # fmt: skip
def test_a_list_over_a_mapping_names_the_path(project: Project, base: str, over: str) -> None:
    error = project.error(
        f"services: {{web: {{image: x, {base}}}}}", f"services: {{web: {{{over}}}}}"
    )
    assert error.startswith("f1.yaml:1:")
    assert f"services.web.{base.partition(':')[0]}: cannot override" in error


def test_pools_of_one_subnet_merge(project: Project) -> None:
    def networks(pools: str) -> str:
        return f"services: {{}}\nnetworks: {{n: {{ipam: {{config: {pools}}}}}}}"

    model = project.model(
        networks("[{subnet: 10.0.0.0/24, gateway: 10.0.0.1}]"),
        networks("[{subnet: 10.0.0.0/24, gateway: 10.0.0.9}, {subnet: 10.1.0.0/24}]"),
        all_resources=True,
    )
    assert model["networks"]["n"]["ipam"]["config"] == [
        {"subnet": "10.0.0.0/24", "gateway": "10.0.0.9"}, {"subnet": "10.1.0.0/24"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("over", "key", "expected"),
    [
        ("hostname: !reset null", "hostname", None), ("hostname: !reset other", "hostname", None),
        ("environment: {DROP: !reset null}", "environment", {"KEEP": "1"}),
        ("ports: !reset ['1:1']", "ports", None),
        ("ports: !override ['1:1']", "ports", [port(1, "1")]),
        ("environment: !override {X: y}", "environment", {"X": "y"}),
        ("command: !override [z]", "command", ["z"]),
        ("ports: [!reset '1:1', '2:2']", "ports", [port(80, "80"), port(2, "2")]),
    ],
)  # fmt: skip
def test_reset_and_override(project: Project, over: str, key: str, expected: Any) -> None:
    base = "image: x, hostname: h, environment: {KEEP: 1, DROP: 2}, ports: ['80:80'], command: [a]"
    model = project.model(f"services: {{web: {{{base}}}}}", f"services: {{web: {{{over}}}}}")
    assert model["services"]["web"].get(key) == expected


def test_a_whole_service_is_removed_or_replaced(project: Project) -> None:
    model = project.model(
        "services: {web: {image: x, command: [a]}, debug: {image: y}}",
        "services: {debug: !reset null, web: !override {image: z}}",
    )
    assert list(model["services"]) == ["web"]
    assert model["services"]["web"]["image"] == "z"
    assert model["services"]["web"]["command"] is None


def test_relative_paths_of_every_file_are_those_of_the_first(project: Project) -> None:
    project.write("a/compose.yaml", "services: {web: {image: x}}")
    project.write("b/over.yaml", "services: {web: {volumes: ['./lib:/l']}}")
    files = [str(project.directory / name) for name in ("a/compose.yaml", "b/over.yaml")]
    volume = project.model(files=files)["services"]["web"]["volumes"][0]
    assert volume["source"] == str(project.directory / "a/lib")


VALUES = st.recursive(
    st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
# Extension fields follow the general rule alone: mappings merge, lists append, values replace.
PROJECTS = st.dictionaries(
    st.sampled_from(["x-a", "x-b"]),
    st.dictionaries(
        st.sampled_from("abc"), st.lists(st.text("ab", max_size=2), max_size=3), max_size=3
    ),
)


@given(PROJECTS, PROJECTS, PROJECTS)
def test_merging_is_associative_by_the_general_rule(a: Any, b: Any, c: Any) -> None:
    problems = Problems()
    merger = Merger(problems)

    def merged(one: Mapping, two: Mapping) -> Mapping:
        return merger.project(one, two)

    x, y, z = (node for node in map(from_plain, (a, b, c)) if isinstance(node, Mapping))
    assert plain(merged(merged(x, y), z)) == plain(merged(x, merged(y, z)))
    assert problems.found == []


ENVIRONMENTS = st.dictionaries(st.sampled_from("ABC"), st.text("xy", max_size=2), max_size=3)


@given(st.lists(st.tuples(ENVIRONMENTS, st.booleans()), min_size=3, max_size=3))
def test_environments_merge_by_key_in_any_form_and_grouping(parts: list[tuple[Any, bool]]) -> None:
    merger = Merger(Problems())
    nodes = []
    for values, listed in parts:
        environment = [f"{k}={v}" for k, v in values.items()] if listed else values
        nodes.append(from_plain({"services": {"a": {"environment": environment}}}))
    x, y, z = (node for node in nodes if isinstance(node, Mapping))
    expected: dict[str, str] = {}
    for values, _ in parts:
        expected.update(values)
    for made in (merger.project(merger.project(x, y), z), merger.project(x, merger.project(y, z))):
        lines = plain(made)["services"]["a"]["environment"]
        assert dict(line.split("=", 1) for line in lines) == expected


@given(VALUES, VALUES)
def test_merging_never_changes_its_inputs(a: Any, b: Any) -> None:
    one, two = from_plain({"x-a": a}), from_plain({"x-a": b})
    assert isinstance(one, Mapping)
    assert isinstance(two, Mapping)
    Merger(Problems()).project(one, two)
    assert (plain(one), plain(two)) == ({"x-a": a}, {"x-a": b})
