"""gocker-oci as a user without privileges, with its own user namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import make_rootfs
from tests.support.oci import COMMAND

pytestmark = pytest.mark.root  # to become somebody else

UID = 65534
SUBIDS = 100000


def as_user(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without privileges; its output goes through files."""
    begin = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        code = subprocess.run(
            [*begin, *command], check=False, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr, **more,
        ).returncode  # fmt: skip
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess([*command], code, stdout.read(), stderr.read())


class Rootless:
    """The command as that user, on a bundle of its own."""

    def __init__(self, directory: Path) -> None:
        self.bundle = directory / "bundle"
        self.root = directory / "state"
        make_rootfs(self.bundle / "rootfs")
        for path in (directory, *directory.rglob("*")):
            os.chown(path, UID, UID, follow_symlinks=False)
        self.run("spec", "--rootless", "--bundle", str(self.bundle))
        self.config: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        self.config["process"]["terminal"] = False

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run gocker-oci, which is to end with `code`."""
        done = as_user(*COMMAND, "--root", str(self.root), *arguments, cwd="/")
        assert done.returncode == code, done.stderr
        return done

    def start(self, *args: str) -> None:
        """Start a container that goes on."""
        self.write(*args)
        self.run("run", "-d", "-b", str(self.bundle), "rootless")

    def write(self, *args: str) -> None:
        """Write the configuration."""
        self.config["process"]["args"] = list(args)
        (self.bundle / "config.json").write_text(json.dumps(self.config))


@pytest.fixture
def rootless() -> Iterator[Rootless]:
    if as_user("test", "-r", COMMAND[-1]).returncode:
        pytest.skip("needs sources that every user can read")
    directory = Path(tempfile.mkdtemp(prefix="gocker-rootless-"))
    try:
        made = Rootless(directory)
        yield made
        made.run("delete", "--force", "rootless")
        assert not made.root.exists() or list(made.root.iterdir()) == []
    finally:
        shutil.rmtree(directory)  # nothing is mounted: a test says so


def test_the_specs_configuration_runs(rootless: Rootless) -> None:
    rootless.write("/bin/sh", "-c", "id -u; head -c 1 /dev/zero | wc -c; echo x > /dev/null")
    done = rootless.run("run", "-b", str(rootless.bundle), "rootless")
    assert done.stdout.split() == ["0", "1"]


def test_its_root_is_the_user_outside(rootless: Rootless) -> None:
    rootless.start("/bin/sleep", "100")
    state = json.loads(rootless.run("state", "rootless").stdout)
    assert state["status"] == "running"
    status = Path(f"/proc/{state['pid']}/status").read_text()
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
    assert json.loads(rootless.run("ps", "-f", "json", "rootless").stdout) == [state["pid"]]


def test_a_further_process(rootless: Rootless) -> None:
    rootless.start("/bin/sleep", "100")
    script = "id -u; readlink /proc/self/ns/pid; readlink /proc/1/ns/pid; exit 5"
    done = rootless.run("exec", "rootless", "/bin/sh", "-c", script, code=5)
    uid, own, first = done.stdout.split()
    assert uid == "0"
    assert own == first


def test_a_limit_that_cannot_be_is_an_error(rootless: Rootless) -> None:
    rootless.config["linux"]["resources"] = {"pids": {"limit": 5}}
    rootless.write("/bin/true")
    done = rootless.run("run", "-b", str(rootless.bundle), "rootless", code=1)
    assert "cannot make a cgroup" in done.stderr


def test_pause_without_a_cgroup_is_an_error(rootless: Rootless) -> None:
    rootless.start("/bin/sleep", "100")
    assert "no cgroup to freeze" in rootless.run("pause", "rootless", code=1).stderr


def test_a_range_that_is_not_the_users_is_an_error(rootless: Rootless) -> None:
    more = {"containerID": 1, "hostID": SUBIDS, "size": 10}
    rootless.config["linux"]["uidMappings"].append(more)
    rootless.write("/bin/true")
    done = rootless.run("run", "-b", str(rootless.bundle), "rootless", code=1)
    assert "cannot map uids as a user without privileges: newuidmap" in done.stderr
    assert "/etc/subuid" in done.stderr


@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="needs the package uidmap")
def test_ranges_of_subuid_and_subgid(rootless: Rootless, tmp_path: Path) -> None:
    """In a mount namespace of its own, where the user has ranges."""
    for kind in ("uid", "gid"):
        (tmp_path / f"sub{kind}").write_text(f"{UID}:{SUBIDS}:1000\n")
        more = {"containerID": 1, "hostID": SUBIDS, "size": 1000}
        rootless.config["linux"][f"{kind}Mappings"].append(more)
    rootless.config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    rootless.write("/bin/sh", "-c", "id -u; id -G; cat /proc/self/uid_map")
    run = [*COMMAND, "--root", str(rootless.root), "run", "-b", str(rootless.bundle), "rootless"]
    script = (
        'for kind in uid gid; do mount --bind "$1/sub$kind" "/etc/sub$kind" || exit 9; done; shift;'
        f' exec setpriv --reuid={UID} --regid={UID} --clear-groups "$@"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), *run],
        check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    assert done.stdout.split() == ["7", "8", "9", "0", str(UID), "1", "1", str(SUBIDS), "1000"]
