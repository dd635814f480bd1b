"""process.terminal, consoleSize and the console socket."""

from __future__ import annotations

import array
import os
import pty
import socket
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.support.oci import COMMAND, Runtime

pytestmark = pytest.mark.root


def receive(listener: socket.socket) -> int:
    """Return the terminal's master that came through a console socket."""
    connection, _ = listener.accept()
    with connection:
        name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    assert name == b"/dev/ptmx"
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2])
    return descriptors[0]


@pytest.fixture
def listener(tmp_path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(tmp_path / "console"))
    made.listen()
    made.settimeout(30)
    return made


def read_until(master: int, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        data += os.read(master, 4096)
    return data


def test_the_terminal_goes_through_the_console_socket(
    runtime: Runtime, listener: socket.socket, tmp_path: Path
) -> None:
    runtime.config["process"] |= {
        "terminal": True, "consoleSize": {"height": 33, "width": 77},
        "user": {"uid": 12, "gid": 34},
    }  # fmt: skip
    script = (
        "stat -c %u:%t /dev/pts/0; stat -c %t,%T /dev/console; readlink /proc/self/fd/0; "
        "cat /proc/self/stat | cut -d' ' -f7; read x; echo got $x"
    )
    pid = runtime.create(
        "/bin/sh", "-c", script, options=("--console-socket", str(tmp_path / "console"))
    )
    master = receive(listener)
    size = struct.unpack("HHHH", ioctl(master, termios.TIOCGWINSZ, bytes(8)))
    assert size[:2] == (33, 77)
    runtime.start()
    os.write(master, b"hello\n")
    said = read_until(master, b"got hello")
    os.close(master)
    listener.close()
    assert b"12:88" in said  # the user's, a pseudo-terminal (major 136)
    assert b"88,0" in said  # /dev/console is the same one
    assert b"/dev/pts/0" in said
    assert b"34816" in said  # the controlling terminal: 136, 0
    runtime.wait(pid)
    runtime.delete()


def test_exec_has_a_terminal_of_its_own(
    runtime: Runtime, listener: socket.socket, tmp_path: Path
) -> None:
    runtime.create("/bin/sleep", "100")
    runtime.start()
    script = "readlink /proc/self/fd/0; echo end"
    runtime.command(
        "exec", "--tty", "--detach", "--console-socket", str(tmp_path / "console"),
        runtime.name, "/bin/sh", "-c", script,
    )  # fmt: skip
    master = receive(listener)
    assert b"/dev/pts/0" in read_until(master, b"end")
    os.close(master)
    listener.close()
    runtime.delete("--force")


def test_a_terminal_in_the_foreground_is_copied_both_ways(runtime: Runtime) -> None:
    runtime.config["process"] |= {
        "terminal": True, "args": ["/bin/sh", "-c", "echo ready; read x; echo got $x; exit 6"],
    }  # fmt: skip
    runtime.write()
    master, slave = pty.openpty()
    command = [*COMMAND, "--root", str(runtime.root), "run", "-b", str(runtime.bundle),
               runtime.name]  # fmt: skip
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    before = termios.tcgetattr(slave)
    read_until(master, b"ready")
    os.write(master, b"hello\r")
    read_until(master, b"got hello")
    assert process.wait(30) == 6
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(("terminal", "options"), [
    (True, []), (False, ["--console-socket", "/nothing"]), (True, ["--console-socket", "/nothing"]),
])  # fmt: skip
def test_a_terminal_and_its_socket_belong_together(
    runtime: Runtime, terminal: bool, options: list[str]
) -> None:
    runtime.config["process"]["terminal"] = terminal
    runtime.write()
    result = runtime.command("create", "-b", str(runtime.bundle), *options, runtime.name,
                             check=False)  # fmt: skip
    assert result.returncode == 1
    assert "socket" in result.stderr
    assert not runtime.exists()
