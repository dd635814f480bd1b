"""No module of an image's is ever imported by the runtime (CVE-2019-14271 in Python's form)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.oci import ROOT, Runtime

pytestmark = pytest.mark.root

BAIT = "import os\nos.write(2, b'TAKEN FROM THE IMAGE')\nos._exit(99)\n"


@pytest.fixture
def baited(runtime: Runtime) -> Runtime:
    """Put modules of every name into the image, at the paths where the runtime finds its own."""
    names = ["json", "signal", "termios", "re", "enum", "collections", "functools", "traceback",
             "linecache", "tokenize", "encodings", "codecs", "typing", "gocker"]  # fmt: skip
    for place in {str(ROOT), *(path for path in sys.path if path.startswith("/"))}:
        directory = Path(f"{runtime.rootfs}{place}")
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            (directory / f"{name}.py").write_text(BAIT)
    return runtime


@pytest.mark.parametrize("program", ["/bin/true", "/nothing/there", "/etc"])
def test_a_container_imports_nothing(baited: Runtime, program: str) -> None:
    hook = {"path": "/bin/true"}
    baited.config["hooks"] = {"createContainer": [hook], "startContainer": [hook]}
    result = baited.run(program, check=False)
    assert "TAKEN" not in result.stderr
    assert result.returncode == (0 if program == "/bin/true" else 1)


def test_exec_imports_nothing(baited: Runtime) -> None:
    baited.create("/bin/sleep", "100")
    baited.start()
    for program in ("true", "/nothing/there", "/etc"):
        result = baited.command("exec", baited.name, program, check=False)
        assert "TAKEN" not in result.stderr
        assert result.returncode == (0 if program == "true" else 255)
    baited.delete("--force")
