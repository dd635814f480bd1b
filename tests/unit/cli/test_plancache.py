"""The plan cache is right if nobody can tell it is there, but by the time."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gocker.cli import facts as facts_module
from gocker.cli import plancache, up
from gocker.errors import GockerError
from gocker.plan.model import Plan
from gocker.spec import files
from gocker.state.roots import Roots

SPEC = """
name: cached
services:
  one:
    image: ${IMAGE:-host:/}
    command: [echo, "${WORD-none}"]
    environment: [PASSED]
    env_file: [{path: own.env, required: false}, needed.env]
    label_file: labels
  two: {extends: {file: base.yaml, service: base}}
  three: {command: ["true"], profiles: [more]}
include: [part.yaml]
"""


class Place:
    """A project, with gocker's roots beside it."""

    def __init__(self, top: Path) -> None:
        self.project = top / "project"
        self.project.mkdir()
        (top / "roots").mkdir(mode=0o700)
        self.roots = Roots(str(top / "roots/data"), str(top / "roots/live"))
        self.entries = top / "roots/data/cache/plans"
        self.write("compose.yaml", SPEC)
        self.write("base.yaml", "services: {base: {command: [sleep, '1']}}")
        self.write("part.yaml", "services: {part: {command: ['true']}}")
        self.write("needed.env", "NEEDED=1\n")
        self.write("labels", "label=1\n")
        (self.project / "root").mkdir()

    def write(self, name: str, text: str) -> None:
        (self.project / name).write_text(text)

    def plan(self, *words: str) -> tuple[Plan, bool]:
        """Return the plan, and whether it came from the cache."""
        plan, warnings, keep = up._plan(up.parser().parse_args(words), self.roots)
        keep()
        assert isinstance(warnings, list)
        return plan, keep is bool

    def hit(self, *words: str) -> bool:
        return self.plan(*words)[1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    monkeypatch.chdir(made.project)
    for name in ("WORD", "IMAGE", "PASSED", "GOCKER_NO_CACHE"):
        monkeypatch.delenv(name, raising=False)
    with made.roots:
        yield made
    files._answers = None


def test_an_unchanged_spec_is_planned_once(place: Place) -> None:
    first, was_kept = place.plan()
    assert not was_kept
    assert place.plan() == (first, True)


Change = Callable[[Place, pytest.MonkeyPatch], Any]
CHANGES: dict[str, Change] = {
    "the spec": lambda p, _: p.write("compose.yaml", SPEC + "# more\n"),
    "an included file": lambda p, _: p.write("part.yaml", "services: {part: {command: [ls]}}"),
    "an extended file": lambda p, _: p.write("base.yaml", "services: {base: {command: [ls]}}"),
    "an env file": lambda p, _: p.write("needed.env", "NEEDED=2\n"),
    "a label file": lambda p, _: p.write("labels", "label=2\n"),
    "an optional file that appears": lambda p, _: p.write("own.env", "OWN=1\n"),
    "an override file that appears": lambda p, _: p.write("compose.override.yaml", "services: {}"),
    "another name of the spec": lambda p, _: p.write("compose.yml", SPEC),
    ".env that appears": lambda p, _: p.write(".env", "WORD=env\n"),
    "an interpolated variable": lambda _, m: m.setenv("WORD", "changed"),
    "a variable that is passed on": lambda _, m: m.setenv("PASSED", "changed"),
    "COMPOSE_PROFILES": lambda _, m: m.setenv("COMPOSE_PROFILES", "more"),
    "the version": lambda _, m: m.setattr("gocker.__version__", "0.0.0"),
    "the code": lambda _, m: m.setattr(plancache, "_code", lambda: ["other"]),
    "the interpreter": lambda _, m: m.setattr("sys.version", "3.99"),
    "the group": lambda _, m: m.setattr(os, "getegid", lambda: 12345),
    "the kernel": lambda _, m: m.setattr(os, "uname", lambda: ("Linux", "other")),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    place.plan()
    assert place.hit()
    with monkeypatch.context() as patched:
        CHANGES[change](place, patched)
        arguments = up.parser().parse_args([])
        cache = plancache.PlanCache(arguments, [], place.roots)
        assert cache.find() is None


FACTS = [
    "allow_privileged", "capabilities", "cpus", "groups", "hard_limits", "ipv6", "memory",
    "nodename", "resolv_conf", "volumes_root",
]  # fmt: skip


def test_the_facts_are_those_tested(place: Place) -> None:
    assert sorted(facts_module.facts(place.roots)) == FACTS


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_of_the_host_that_changes_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place.plan()
    known = facts_module.facts(place.roots)
    monkeypatch.setattr(plancache, "facts", lambda _: known | {name: "changed"})
    assert plancache.PlanCache(up.parser().parse_args([]), [], place.roots).find() is None


@pytest.mark.parametrize("words", [
    ["one"], ["-f", "base.yaml"], ["base.yaml"], ["-p", "other"], ["--profile", "more"],
    ["--env-file", "needed.env"], ["--strict"], ["--project-directory", "."],
], ids=" ".join)  # fmt: skip
def test_other_options_are_another_entry(place: Place, words: list[str]) -> None:
    place.plan()
    assert not place.hit(*words)


def test_another_directory_is_another_entry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.plan("-f", str(place.project / "compose.yaml"))
    monkeypatch.chdir(place.project / "root")
    assert not place.hit("-f", str(place.project / "compose.yaml"))


def test_a_root_file_system_that_is_gone_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", "rootfs:root")
    place.plan()
    assert place.hit()
    (place.project / "root").rmdir()
    with pytest.raises(GockerError, match="does not exist"):
        place.plan()


@pytest.mark.parametrize("extra", [
    "secrets: {s: {environment: SECRET}}",
    "configs: {c: {content: SECRETVALUE}}",
    "volumes: {v: {external: true}}",
])  # fmt: skip
def test_what_the_plan_looks_at_itself_is_not_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setenv("SECRET", "SECRETVALUE")
    key = extra.split(":")[0]
    name = extra.split("{")[1][0]
    use = {"volumes": "[v:/v]"}.get(key, f"[{name}]")
    if key == "volumes":
        os.makedirs(f"{place.roots.data}/volumes/cached_v", exist_ok=True)
        os.makedirs(f"{place.roots.data}/volumes/v", exist_ok=True)
    spec = f"name: cached\nservices: {{a: {{command: [ls], {key}: {use}}}}}\n{extra}\n"
    place.write("compose.yaml", spec)
    place.plan()
    assert not place.hit()


def test_the_value_of_a_secret_is_nowhere_below_the_roots(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "SECRETVALUE")
    place.write("compose.yaml", "name: s\nservices: {a: {command: [ls], secrets: [s]}}\n"
                "secrets: {s: {environment: SECRET}}\n")  # fmt: skip
    place.plan()
    found = [p for p in Path(place.roots.data).rglob("*") if p.is_file()]
    assert not any(b"SECRETVALUE" in path.read_bytes() for path in found)


def test_devices_are_not_kept(place: Place) -> None:
    place.write("compose.yaml", "name: s\nservices: {a: {command: [ls], devices: [/dev/null]}}\n")
    place.plan()
    assert not place.hit()


@pytest.mark.parametrize("damage", [
    lambda data: data[:0], lambda data: data[:-1], lambda data: data + b"x",
    lambda data: data.replace(b'"echo"', b'"evil"'), lambda data: b"\xff" * len(data),
])  # fmt: skip
def test_a_damaged_entry_is_none(place: Place, damage: Callable[[bytes], bytes]) -> None:
    plan, _ = place.plan()
    (entry,) = place.entries.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert place.plan() == (plan, False)


def test_entries_are_private(place: Place) -> None:
    place.plan()
    (entry,) = place.entries.iterdir()
    assert (place.entries.stat().st_mode & 0o777, entry.stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_oldest_entries_go(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plancache, "MOST_ENTRIES", 2)
    for word in ("a", "b", "c"):
        monkeypatch.setenv("WORD", word)
        place.plan()
    assert len(list(place.entries.iterdir())) == 2
    assert place.hit()


def test_the_entries_of_a_project_can_be_forgotten(place: Place) -> None:
    place.plan()
    place.plan("-p", "other")
    plancache.forget(place.roots, "other")
    assert place.hit()
    assert not place.hit("-p", "other")


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_variable_turns_it_off(
    place: Place, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GOCKER_NO_CACHE", value)
    place.plan()
    assert not place.entries.exists()


def test_the_option_turns_it_off(place: Place) -> None:
    place.plan("--no-cache")
    assert not place.entries.exists()


# What is asked of the system elsewhere than in spec/files.py and cli/facts.py, and why it may be.
KNOWN = {
    ("spec/load.py", "os.environ"), ("spec/load.py", "os.getcwd"),  # in the key
    ("spec/model/values.py", "os.uname"), ("plan/seccomp.py", "os.uname"),  # in the key
    ("plan/securityopt.py", "os.uname"),  # in the key
    ("plan/container.py", "os.stat"), ("plan/resources.py", "os.stat"),  # devices: not kept
    ("plan/privileged.py", "os.lstat"), ("plan/privileged.py", "os.walk"),  # devices: not kept
    ("plan/files.py", "os.path.isdir"),  # external volumes: not kept
    ("plan/files.py", "os.open"), ("plan/files.py", "open"),  # secrets and configs: not kept
}  # fmt: skip
ASKING = re.compile(
    r"(?<![\w.])(os\.(?:environ|getenv|getcwd|uname|stat|lstat|open|listdir|scandir|access|readlink"
    r"|get\w*id|sched_\w+|sysconf|cpu_count)"
    r"|os\.path\.(?:exists|isfile|isdir|islink|lexists|ismount|realpath|abspath|expanduser|get\w+)"
    r"|time\.(?:time|monotonic)|glob\.i?glob|pwd\.\w+|grp\.\w+|open(?=\())"
)


def test_load_and_plan_ask_nothing_that_the_cache_does_not_know() -> None:
    package = Path(plancache.__file__).parents[1]
    found = {
        (str(path.relative_to(package)), match[1])
        for part in ("spec", "plan")
        for path in (package / part).rglob("*.py")
        if path != Path(files.__file__)
        for match in ASKING.finditer(path.read_text())
    }
    assert found <= KNOWN


EDITS = st.one_of(
    st.tuples(st.just("WORD"), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("PASSED"), st.sampled_from(["", "a", "b"])),
    st.tuples(st.sampled_from(["own.env", "needed.env", ".env"]),
              st.sampled_from(["WORD=f\n", "PASSED=g\n", "X=1\n", "X=2\n", ""])),
    st.tuples(st.sampled_from(["part.yaml", "compose.override.yaml"]),
              st.sampled_from([f"services: {{part: {{command: [{c}]}}}}\n" for c in "xyz"])),
    st.tuples(st.just("-"), st.sampled_from(["own.env", ".env", "compose.override.yaml"])),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EDITS, max_size=8))
def test_whatever_is_edited_the_plan_is_the_one_without_a_cache(
    edits: list[tuple[str, str]],
) -> None:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patched:
        place = Place(Path(top))
        patched.chdir(place.project)
        try:
            for what, value in [("X", ""), *edits]:
                if what == "-":
                    (place.project / value).unlink(missing_ok=True)
                elif what.isupper():
                    patched.setenv(what, value)
                else:
                    place.write(what, value)
                assert place.plan()[0] == place.plan("--no-cache")[0]
                assert place.hit()
        finally:
            place.roots.close()
            files._answers = None
            os.chdir(before)
