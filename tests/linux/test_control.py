"""The control socket against those who do not speak its language (security.md D9)."""

from __future__ import annotations

import json
import os
import pickle
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gocker.state.control import MAX_REQUEST
from tests.support.command import Gocker
from tests.support.living import Project, service

pytestmark = pytest.mark.root

FRAMES = int(os.environ.get("GOCKER_FUZZ_FRAMES", "2000"))


@pytest.fixture
def project(gocker: Gocker) -> Iterator[Project]:
    made = Project(gocker)
    assert made.up({"services": {"web": service()}}).code == 0
    yield made
    assert gocker.down("-t", "1").code == 0


def path_of(project: Project) -> str:
    (path,) = project.gocker.live.glob("*/projects/test/control")
    return str(path)


def dial(project: Project) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path_of(project))
    sock.settimeout(10)
    return sock


def ask(sock: socket.socket, message: object) -> dict[str, object]:
    sock.send(json.dumps(message).encode())
    answer: dict[str, object] = json.loads(sock.recv(1 << 16))
    return answer


def fds_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_closed(sock: socket.socket) -> bool:
    """Wait until the other side has hung up."""
    try:
        return sock.recv(1 << 16) == b""
    except ConnectionResetError:
        return True


def frames(count: int) -> Iterator[bytes]:
    rng = random.Random(20261127)  # noqa: S311  # the same frames each time
    good = json.dumps({"op": "stop", "id": 1, "units": ["nosuch"], "timeout_s": None}).encode()
    deep = b'{"op":"hello","id":1,"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
    fixed = [
        b"\x00", b"{}", b"[]", b"null", b'"x"', b"1e999", b"\xff" * 100, deep,
        pickle.dumps({"a": 1}),
        b"\xff\xff\xff\xff" + b"x" * 8, b"x" * (MAX_REQUEST + 1), good + b"}",
        b'{"op":"hello","id":true}', b'{"op":"hello","id":1e3}', b'{"op":["hello"],"id":1}',
        b'{"op":"kill","id":1,"units":[1],"signal":9}',
        b'{"op":"kill","id":1,"units":[],"signal":99}',
        b'{"op":"stop","id":1,"units":[],"timeout_s":NaN}', b'{"op":"__init__","id":1}',
        b'{"op":"adopt","id":1,"remove_orphans":false,"stop_timeout_s":null,"wait":"decided"}',
        b'{"op":"attach","id":1,"unit":"web"}', b'{"op":"down","id":1,"timeout_s":-1}',
        b'{"op":"stop","id":1,"units":[],"timeout_s":1e400}',
    ]  # fmt: skip
    yield from fixed
    for number in range(count - len(fixed)):
        if number % 3 == 0:
            yield rng.randbytes(rng.randrange(1, 2000))
        elif number % 3 == 1:
            yield good[: rng.randrange(1, len(good))]
        else:
            changed = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            yield bytes(changed)


def test_frames_of_any_kind_change_nothing_and_leave_nothing(project: Project) -> None:
    supervisor = project.supervisor()
    before, pids = fds_of(supervisor), project.pids()
    for frame in frames(FRAMES):
        with dial(project) as sock:
            try:
                sock.send(frame)
            except (BrokenPipeError, ConnectionResetError):
                continue
    with dial(project) as sock:
        assert ask(sock, {"op": "hello", "id": 1})["pid"] == supervisor
        deadline = time.monotonic() + 10
        while fds_of(supervisor) > before + 1 and time.monotonic() < deadline:
            ask(sock, {"op": "hello", "id": 2})
        assert fds_of(supervisor) == before + 1
    assert project.pids() == pids
    assert project.states() == {"web": "running"}


@pytest.mark.parametrize(
    "message",
    [
        {"op": "nosuch", "id": 1}, {"op": "hello", "id": 1, "more": 1},
        {"op": "stop", "id": 1, "units": []}, {"op": "kill", "id": 1, "units": [], "signal": "9"},
        {"op": "down", "id": 1, "timeout_s": -1},
    ],
    ids=lambda message: str(sorted(message.items()))[:40],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_the_reason(
    project: Project, message: dict[str, object]
) -> None:
    with dial(project) as sock:
        error = ask(sock, message)["error"]
        assert isinstance(error, dict)
        assert error["type"] == "UsageError"
        # The connection is still good.
        assert ask(sock, {"op": "hello", "id": 2})["id"] == 2


def test_a_message_that_is_too_long_or_no_json_ends_the_connection(project: Project) -> None:
    for frame in (b"x" * (MAX_REQUEST + 1), b"{", b"[1]", pickle.dumps(1)):
        with dial(project) as sock:
            sock.send(frame)
            assert is_closed(sock), frame[:20]


def test_slow_and_silent_clients_hold_nobody_up(project: Project) -> None:
    clients = []
    for _ in range(200):
        sock = dial(project)
        sock.setblocking(False)
        # Never reads an answer; asks until its own buffer is full.
        try:
            for number in range(200):
                sock.send(json.dumps({"op": "hello", "id": number}).encode())
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        clients.append(sock)
    with dial(project) as sock:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        sock.send(b'{"op":"hello","id":1}')
        assert poll.poll(5000), "somebody else is waited for"
    for client in clients:
        client.close()


def test_beyond_the_most_clients_others_are_turned_away(project: Project) -> None:
    before = fds_of(project.supervisor())
    clients = [dial(project) for _ in range(300)]
    assert fds_of(project.supervisor()) <= before + 256
    for client in clients:
        client.close()
    with dial(project) as sock:
        assert ask(sock, {"op": "hello", "id": 1})["id"] == 1


def test_another_user_cannot_connect(project: Project) -> None:
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "try:\n    s.connect(sys.argv[1])\n"
        "except OSError as error:\n    sys.exit(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, path_of(project)], user=65534, group=65534,
        extra_groups=[], check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode in (13, 111)  # EACCES, ECONNREFUSED


def test_an_answer_to_a_descriptor_that_was_not_asked_for_is_a_refusal(project: Project) -> None:
    before = fds_of(project.supervisor())
    with dial(project) as sock, open(os.devnull) as file:
        message = json.dumps({"op": "hello", "id": 1}).encode()
        socket.send_fds(sock, [message], [file.fileno()] * 3)
        assert "descriptors" in sock.recv(4096).decode()
        ask(sock, {"op": "hello", "id": 2})  # after an answer it closes them
        assert fds_of(project.supervisor()) == before + 1
