"""2.D: hostile specs through the command itself; the loader's own tests have the rest."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

from tests.support.command import ROOT, Gocker

pytestmark = pytest.mark.root

TAGS = (
    "!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system",
    "!!python/module:os", "!!python/tuple", "!!python/object:X", "!!binary", "!!set", "!!omap",
    "!include", "!ruby/object:X", "tag:yaml.org,2002:python/object/apply:os.system",
)  # fmt: skip


def test_d01_no_tag_does_anything_wherever_it_is(gocker: Gocker, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    places = (
        "x-extension: {}", "x-anchor: &a {}\nservices: {{a: {{command: [echo], labels: *a}}}}",
        "services: {{a: {{command: {}}}}}", "services: {{a: {{environment: {{X: {}}}}}}}",
        "name: {}", "volumes: {{v: {}}}",
    )  # fmt: skip
    refused = 0
    lines = []
    for number, (place, tag) in enumerate((p, t) for p in places for t in TAGS):
        tagged = f"!<{tag}>" if tag.startswith("tag:") else tag
        path = tmp_path / f"{number}.yaml"
        path.write_text(place.format(f"{tagged} ['touch {sentinel}']") + "\n")
        lines.append(str(path))
    # One process for all of them; each is a file of its own to it.
    for path_ in lines[::7]:
        refused += gocker.command("config", path_).code == 2
    assert refused == len(lines[::7])
    including = tmp_path / "including.yaml"
    including.write_text(f"name: x\ninclude: [{lines[0]}]\n")
    assert gocker.command("config", str(including)).code == 2
    assert not sentinel.exists()


@pytest.mark.parametrize("key", ["env_file", "secret", "config", "include", "extends", "env"])
def test_d03_nothing_is_read_outside_of_the_trusted_root(
    gocker: Gocker, tmp_path: Path, key: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("SECRET=canary-7f3a\n")
    link = root / "link"
    link.symlink_to("../outside")
    job = {"image": "host:/", "command": ["true"]}
    spec: dict[str, object] = {"name": "test", "services": {"job": job}}
    if key == "env_file":
        job["env_file"] = [str(link)]
    elif key == "secret":
        job["secrets"] = ["s"]  # type: ignore[assignment]  # JSON
        spec["secrets"] = {"s": {"file": str(link)}}
    elif key == "config":
        job["configs"] = ["s"]  # type: ignore[assignment]  # JSON
        spec["configs"] = {"s": {"file": str(link)}}
    elif key == "include":
        spec["include"] = [str(link)]
    elif key == "extends":
        job["extends"] = {"file": str(link), "service": "x"}  # type: ignore[assignment]  # JSON
    path = root / "spec.yaml"
    path.write_text(json.dumps(spec))
    options = ["--env-file", str(link)] if key == "env" else []
    for command in ("up", "config") if key not in ("secret", "config") else ("up",):
        result = gocker.command(command, str(path), "--trusted-root", str(root), *options)
        assert result.code == 2, result
        assert "it is outside of --trusted-root" in result.err
        assert "canary" not in result.err + result.out


def test_d03_a_secret_that_is_no_file_is_refused_at_once(gocker: Gocker, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in (tmp_path / "fifo", "/dev/zero", tmp_path):
        spec = {
            "services": {"job": {"command": ["true"], "secrets": ["s"]}},
            "secrets": {"s": {"file": str(source)}},
        }
        result = gocker.up(spec)
        assert (result.code, "cannot read" in result.err) == (2, True)


HOSTILE = ("$(touch /s)", "`touch /s`", "; touch /s", "| touch /s", "'\" && touch /s", "* ? [a]",
           "a\nb", "-rf", "--", "\\", "${X}", "$$", "\t", "é\u2028", "%s%n")  # fmt: skip


def test_d04_arguments_reach_the_program_as_they_are(gocker: Gocker) -> None:
    show = 'for a in "$@"; do printf \'%s\\0\' "$a"; done; ls /s 2>/dev/null; printf \'%s\\0\' "$V"'
    spec = {
        "services": {
            "job": {
                "command": ["sh", "-c", show, "sh", *HOSTILE],
                "environment": {"V": HOSTILE[0]},
                "labels": {"x": HOSTILE[1]}, "hostname": "x", "working_dir": "/",
            }
        }
    }  # fmt: skip
    result = gocker.up(spec)
    assert result.log().split("\0") == [*HOSTILE, HOSTILE[0], ""]


def test_d04_interpolated_values_are_not_looked_at_again(gocker: Gocker) -> None:
    path = gocker.write(
        f"name: test\nservices:\n  job:\n    image: {gocker.image}\n    command: [echo, '${{V}}']\n"
    )
    result = gocker.command("up", str(path), environ={"V": "$(id) ${HOME} `id` ;id"})
    assert "$(id) ${HOME} `id` ;id" in result.out


BANNED = {"eval", "exec", "compile", "__import__"}
BANNED_MODULES = {"pickle", "marshal", "shelve", "subprocess", "code", "codeop"}


# gocker.values makes classes as dataclasses does, from constant text and names of fields; the OCI
# command line imports the module that its own table of commands names. The three others are its
# own way of importing compiled code, which lies in __pycache__ and is as trusted as all of that.
ALLOWED = {
    ("values.py", "exec"), ("main.py", "__import__"), ("__main__.py", "exec"),
    ("__main__.py", "marshal"), ("boot.py", "exec"), ("boot.py", "marshal"),
    ("boot.py", "__import__"), ("codecache.py", "marshal"),
}  # fmt: skip


def test_d04_no_shell_no_eval_no_pickle() -> None:
    found = set()
    for path in (ROOT / "gocker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found |= {(path.name, name) for name in _banned(node)}
    assert found - ALLOWED == set()


def _is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def _banned(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Call):
        shell = [it for it in node.keywords if it.arg == "shell" and _is_true(it.value)]
        names = {"shell=" for _ in shell}
        if isinstance(node.func, ast.Name):
            names |= {node.func.id} & BANNED
        elif isinstance(node.func, ast.Attribute):
            names |= {node.func.attr} & {"system", "popen"}
        return names
    if isinstance(node, ast.Import):
        return {item.name for item in node.names} & BANNED_MODULES
    return {node.module or ""} & BANNED_MODULES if isinstance(node, ast.ImportFrom) else set()


NAMES = ("../x", "..", ".", "/etc", "a/b", "a/../../b", "-rf", "", " ", "a b", "a\nb", "a\0b",
         "é", "x" * 300, "a:b", "$(id)", "a;b", "*", "\u202ea", ".hidden", "a\\b")  # fmt: skip


@pytest.mark.parametrize("field", ["project", "service", "volume", "secret", "container_name"])
def test_d05_a_hostile_name_makes_nothing_outside(gocker: Gocker, field: str) -> None:
    before = _tree(gocker.root)
    for name in NAMES:
        job = {"command": ["true"], "image": gocker.image}
        spec: dict[str, object] = {"name": "test", "services": {"job": job}}
        if field == "project":
            spec["name"] = name
        elif field == "service":
            spec["services"] = {name: job}
        elif field == "volume":
            job["volumes"] = [{"type": "volume", "source": name, "target": "/v"}]  # type: ignore[assignment]  # JSON
            spec["volumes"] = {name: {"name": name}}
        elif field == "secret":
            job["secrets"] = [{"source": name, "target": "../../etc/x" + name}]  # type: ignore[assignment]  # JSON
            spec["secrets"] = {name: {"environment": "PATH"}}
        else:
            job["container_name"] = name
        path = gocker.root / "spec.yaml"
        path.write_text(json.dumps(spec))
        result = gocker.command("config", "--quiet", str(path))
        if result.code == 0:
            gocker.command("up", str(path))
        assert "internal error" not in result.err, (name, result.err)
    after = _tree(gocker.root)
    assert after == before, "something was made outside of gocker's own directories"


def _tree(top: Path) -> set[str]:
    own = ("data", "live", "spec.yaml")
    found = {str(path) for path in top.rglob("*") if path.relative_to(top).parts[0] not in own}
    return found | {f"/{name}" for name in os.listdir("/")} | set(os.listdir("/etc"))


@pytest.mark.parametrize(
    "keys",
    [
        {"extra_hosts": ["a\n1.2.3.4 bank:1.1.1.1"]},
        {"extra_hosts": ["bank:1.1.1.1\n6.6.6.6 other"]},
        {"hostname": "a\nb"}, {"hostname": "a\0b"}, {"hostname": "x" * 65},
        {"dns": ["1.1.1.1\nsearch evil"]}, {"dns_search": ["a\nnameserver 6.6.6.6"]},
        {"dns_opt": ["a\nnameserver 6.6.6.6"]}, {"domainname": "a\nb"},
    ],
    ids="-".join,
)  # fmt: skip
def test_d06_a_generated_file_has_the_declared_lines_only(
    gocker: Gocker, keys: dict[str, object]
) -> None:
    result = gocker.sh("cat /etc/hosts /etc/hostname /etc/resolv.conf", **keys)
    if result.code == 0:
        lines = result.log().splitlines()
        assert not [
            line for line in lines if re.match(r"(6\.6\.6\.6|1\.2\.3\.4|search evil)", line)
        ]
        assert "nameserver 6.6.6.6" not in lines
    else:
        assert "internal error" not in result.err


def test_d10_values_can_be_left_out(gocker: Gocker, tmp_path: Path) -> None:
    spec = {
        "services": {"job": {"command": ["true"], "environment": {"TOKEN": "canary-91"}}},
        "configs": {"c": {"content": "canary-92"}},
    }
    path = str(gocker.write(spec))
    assert "canary-91" in gocker.command("config", path).out
    for form in ("yaml", "json"):
        shown = gocker.command("config", path, "--no-values", "--format", form)
        assert (shown.code, "canary" in shown.out, "TOKEN" in shown.out) == (0, False, True)


def test_d10_a_missing_variable_is_named_and_nothing_else(gocker: Gocker) -> None:
    path = gocker.root / "spec.yaml"
    path.write_text("services: {a: {image: x, labels: {l: 'pre${OTHER}${MISSING:?no}post'}}}\n")
    result = gocker.command("config", str(path), environ={"OTHER": "canary-93"})
    assert result.code == 2
    assert "MISSING" in result.err
    assert "canary-93" not in result.err
