"""Nothing of an image is ever loaded by gocker's own processes (security.md A5, F2)."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.support.command import ROOT, Gocker

pytestmark = pytest.mark.root

# Into the job's own output, which nothing throws away.
DECOY = "__import__('os').write(2, b'executed by gocker\\n'); raise SystemExit(99)\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A root that holds a decoy for every module that Python could look for."""
    image = tmp_path / "image"
    (image / "bin").mkdir(parents=True)
    (image / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (image / "bin/busybox").chmod(0o755)
    for directory in (ROOT / "gocker", Path(sysconfig.get_path("stdlib"))):
        for module in directory.rglob("*.py"):
            if "site-packages" in module.parts or "test" in module.parts:
                continue
            decoy = image / module.relative_to("/")
            decoy.parent.mkdir(parents=True, exist_ok=True)
            decoy.write_text(DECOY)
    return image


@pytest.mark.parametrize("vfork", ["", "1"], ids=["vfork", "clone3"])
@pytest.mark.parametrize(
    "service",
    [
        {},
        {"security_opt": ["seccomp=unconfined"]},
        {"init": True, "user": "1000"},
        {"command": ["/nonexistent"]},
        {"command": ["/bin/busybox", "true"], "working_dir": "/bin/busybox"},
        {"user": "nobody-here"},
    ],
    ids=["plain", "unconfined", "init", "no-program", "bad-directory", "bad-user"],
)
def test_no_module_is_taken_from_an_image(
    gocker: Gocker, image: Path, service: dict[str, object], vfork: str
) -> None:
    command = ["/bin/busybox", "echo", "done"]
    job = {"image": f"rootfs:{image}", "command": command, **service}
    # The second one runs after whatever the first one loaded.
    second = {"image": f"rootfs:{image}", "command": command,
              "depends_on": {"job": {"condition": "service_completed_successfully",
                                     "required": False}}}  # fmt: skip
    result = gocker.up({"services": {"job": job, "second": second}},
                       environ={"GOCKER_NO_VFORK": vfork})  # fmt: skip
    assert result.log("second") == "done\n", result.err
    assert "executed by gocker" not in result.out + result.err
