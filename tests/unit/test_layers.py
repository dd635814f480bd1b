"""The layer rule of docs/architecture.md, read from every module's imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "gocker").rglob("*.py"))

GROUND = {
    "digest", "errors", "events", "failpoints", "jsontext", "nested", "oci", "tar", "tarout",
    "terminal",
    "tree", "values", "wire",
}  # fmt: skip
BACK = ("linux", "cgroup", "runtime")
FRONT = {
    "spec",
    "plan",
    "scheduler",
    "image",
    "network",
    "state",
    "report",
    "log",
    "cli",
    "api",
    "pytest_plugin",
}
# Third-party and costly modules with the only parts that may import them.
ONLY_IN = {
    "ctypes": {"linux"},
    "pydantic": {"spec"},
    "pydantic_core": {"spec"},
    "ruamel": {"spec"},
    "_ruamel_yaml": {"spec"},  # ruamel.yaml.clib's module
    "structlog": {"log"},
    "pytest": {"pytest_plugin"},  # the extra "pytest"
    "urllib3": {"image"},  # the extra "images"
    "zstandard": {"image"},  # same
    # The standard library until 3.11, and since 3.12: neither lists the other.
    "_sha256": {"digest"},
    "_sha2": {"digest"},
}


def part(path: Path) -> str:
    """Return the first name below gocker: ``linux``, ``errors`` ..."""
    first = path.relative_to(ROOT / "gocker").parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "gocker":
                found += [(f"gocker.{alias.name}", node.lineno) for alias in node.names]
            else:
                found.append((node.module, node.lineno))
    return found


def allowed(source: str) -> set[str]:
    """Return the parts of gocker that `source` may import."""
    if source in {"__init__", "__main__"}:
        return FRONT | GROUND
    if source in GROUND:
        return GROUND
    if source in BACK:
        return GROUND | set(BACK[: BACK.index(source) + 1])
    extra = GROUND | FRONT
    return extra - {"scheduler"} if source == "plan" else extra


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_layers(path: Path) -> None:
    source = part(path)
    problems = []
    for name, line in imports(path):
        first, _, rest = name.partition(".")
        if first == "gocker":
            target = rest.split(".")[0]
            if target and target not in allowed(source):
                problems.append(f"{path.name}:{line}: {source} imports {name}")
        elif first in ONLY_IN and source not in ONLY_IN[first]:
            problems.append(f"{path.name}:{line}: {source} imports {name}")
        elif first not in sys.stdlib_module_names and first not in ONLY_IN and source != "cli":
            problems.append(f"{path.name}:{line}: {name} is not a declared dependency")
    assert problems == []


def test_every_part_has_a_layer() -> None:
    parts = {part(path) for path in MODULES} - {"__init__", "__main__"}
    assert parts <= GROUND | set(BACK) | FRONT


def modules_after(code: str) -> set[str]:
    report = "import json; print(json.dumps(sorted(sys.modules)))"
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}; {report}"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True
    )
    return set(json.loads(result.stdout))


def test_importing_gocker_loads_nothing_else() -> None:
    assert {name for name in modules_after("import gocker") if name.startswith("gocker")} == {
        "gocker"
    }


def test_the_launcher_stays_small() -> None:
    loaded = modules_after("import gocker.runtime.launcher")
    refused = {
        "pydantic", "structlog", "ruamel", "asyncio", "threading", "subprocess", "logging",
        "typing", "dataclasses", "inspect", "tempfile", "shutil",
    }  # fmt: skip
    assert loaded & refused == set()
    assert len([name for name in loaded if not name.startswith("gocker")]) <= 80


def test_the_oci_runtime_imports_nothing_of_the_front_and_little_else() -> None:
    commands = ["lifecycle", "listing", "execute", "resources", "template"]
    code = "; ".join(f"import gocker.runtime.oci.{name}" for name in ["main", *commands])
    loaded = modules_after(code)
    refused = {
        "argparse", "pydantic", "structlog", "ruamel", "asyncio", "threading", "subprocess",
        "logging", "typing", "dataclasses", "inspect", "tempfile", "shutil",
    }  # fmt: skip
    assert loaded & refused == set()
    parts = {name.split(".")[1] for name in loaded if name.startswith("gocker.")}
    assert parts <= GROUND | set(BACK)
