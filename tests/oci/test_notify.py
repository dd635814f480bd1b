"""SCMP_ACT_NOTIFY: an agent answers for calls of a container that gocker-oci starts."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import socket
import struct
from pathlib import Path

import pytest

from tests.support.oci import Runtime

pytestmark = pytest.mark.root


@pytest.fixture
def notifying(runtime: Runtime, tmp_path: Path) -> Runtime:
    """A container of which another process is asked about mkdir."""
    runtime.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(tmp_path / "agent"),
        "listenerMetadata": "meta",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }  # fmt: skip
    return runtime


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_an_agent_answers(notifying: Runtime, tmp_path: Path, no_new_privileges: bool) -> None:
    notifying.config["process"]["noNewPrivileges"] = no_new_privileges
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent"))
        server.listen(1)
        server.settimeout(30)
        pid = notifying.create("/bin/sh", "-c", "mkdir /made 2>&1; test -d /made || echo no")
        notifying.start()
        peer, _ = server.accept()
        with peer:
            text, fds, _, _ = socket.recv_fds(peer, 65536, 1)
        said = json.loads(text)
        assert (said["fds"], said["metadata"]) == (["seccompFd"], "meta")
        assert (said["pid"], said["state"]["pid"], said["state"]["id"]) == (
            pid,
            pid,
            notifying.name,
        )
        _refuse_once(fds[0], errno.EDQUOT)
        os.close(fds[0])
    notifying.wait(pid)
    assert notifying.output.read_text().splitlines()[-1] == "no"
    notifying.delete()


def test_an_agent_answers_for_a_further_process(notifying: Runtime, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent"))
        server.listen(2)
        server.settimeout(30)
        notifying.create("/bin/sleep", "100")
        notifying.start()
        first, _ = server.accept()
        first.close()
        started = notifying.command("exec", "-d", notifying.name, "mkdir", "/made")
        assert started.returncode == 0
        peer, _ = server.accept()
        with peer:
            text, fds, _, _ = socket.recv_fds(peer, 65536, 1)
        said = json.loads(text)
        assert said["pid"] != said["state"]["pid"]
        assert said["state"]["status"] == "running"
        _refuse_once(fds[0], errno.EDQUOT)
        os.close(fds[0])
    assert not (notifying.rootfs / "made").exists()
    notifying.delete("--force")


def _refuse_once(listener: int, number: int) -> None:
    """Answer one notification: seccomp_unotify(2), struct seccomp_notif and its response."""
    assert select.select([listener], [], [], 30)[0]
    notification = bytearray(80)
    fcntl.ioctl(listener, 0xC0502100, notification)
    identifier = int.from_bytes(notification[:8], "little")
    fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", identifier, 0, -number, 0))


def test_nobody_to_ask_ends_the_container(notifying: Runtime) -> None:
    done = notifying.run("/bin/true", check=False)
    assert done.returncode == 1
    assert "listenerPath" in done.stderr
    assert not notifying.exists()
