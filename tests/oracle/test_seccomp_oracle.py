"""The default profile under libseccomp, through runc and crun, answers as ours does."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from gocker.plan.posture import default_seccomp
from tests.support import seccomp_table as table

pytestmark = [pytest.mark.root, pytest.mark.oracle]

ROWS = table.rows()
# crun refuses a hybrid cgroup layout; without these two mounts it is a v1 layout. Where they
# are not there, it is none.
PREPARE = "umount /sys/fs/cgroup/unified /sys/fs/cgroup/systemd 2>/dev/null;"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("bundle")
    for name in ("proc", "dev", "sys"):
        (bundle / "rootfs" / name).mkdir(parents=True)
    table.compile_probe(bundle / "rootfs")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/probe", *[text for text, _ in ROWS.values()]]
    config["linux"]["seccomp"] = default_seccomp(())
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_default_profile_means_the_same_to(runtime: str, bundle: Path) -> None:
    assert shutil.which(runtime), f"this test needs {runtime}"
    container = f"gocker-test-{uuid.uuid4().hex[:12]}"
    prepare = PREPARE if runtime == "crun" else ""
    run = (
        f"{prepare} {runtime} run {container}; code=$?; {runtime} delete -f {container}; exit $code"
    )
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", run],
        cwd=bundle, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answers = dict(zip(ROWS, result.stdout.splitlines(), strict=True))
    assert answers == {label: answer for label, (_, answer) in ROWS.items()}
