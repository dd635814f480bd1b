"""Terminals: a real one on the user's side, the container's own on the other."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.command import Gocker, Running
from tests.support.tty import Tty

pytestmark = pytest.mark.root

Open = Callable[..., Tty]


@pytest.fixture
def web(gocker: Gocker) -> Iterator[Running]:
    running = gocker.start({"services": {"web": {"command": ["sleep", "1000"]}}})
    running.wait_for("container.started")
    yield running
    running.send(signal.SIGKILL)
    running.finish()
    gocker.down()


@pytest.fixture
def tty(gocker: Gocker) -> Iterator[Open]:
    """Return what runs a gocker command in a terminal."""
    opened: list[Tty] = []

    def start(*words: str, **how: Any) -> Tty:
        argv = [sys.executable, "-m", "gocker", *words]
        made = Tty(argv, gocker.environ, str(gocker.root), gocker.nest.enter, **how)
        opened.append(made)
        return made

    yield start
    for made in opened:
        made.close()


def shell(tty: Open, *options: str, **how: Any) -> Tty:
    """Start a shell by ``exec``; the prompt is ``READY``."""
    made = tty("exec", "-p", "test", "-e", "PS1=READY", *options, "web", "sh", **how)
    made.wait_for("READY")
    return made


@pytest.mark.usefixtures("web")
def test_exec_has_a_terminal_of_the_containers_own_and_of_our_size(tty: Open) -> None:
    it = shell(tty, size=(33, 111))
    it.type("tty; stty size; echo $TERM; ls -l /proc/self/fd/0 /dev/tty\n")
    it.wait_for("\n")
    found = it.wait_for("READY").decode().split("\r\n")
    assert found[:3] == ["/dev/pts/0", "33 111", "xterm"]
    it.resize(20, 90)
    it.type("until test \"$(stty size)\" = '20 90'; do :; done; echo resized\n")
    it.wait_for("resized\r\n")
    it.wait_for("resized\r\n")
    assert it.raw
    it.type("exit 7\n")
    assert it.finish() == 7
    assert it.modes() == it.before


@pytest.mark.usefixtures("web")
def test_ctrl_c_and_ctrl_z_reach_the_job_and_not_us(tty: Open) -> None:
    it = shell(tty)
    job = "sh -c 'echo running; exec sleep 500'"
    it.type(f"{job}\n")
    it.wait_for("running\r\n")
    it.type("\x03")
    it.wait_for("READY")
    it.type(f"echo $?; {job}\n")
    it.wait_for("130\r\nrunning\r\n")
    it.type("\x1a")
    it.wait_for("Stopped")
    it.type("exit 3\n")
    it.wait_for("You have stopped jobs")
    it.type("exit 3\n")
    assert it.finish() == 3


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_modes_are_restored_after_a_signal_to_the_command(tty: Open, number: int) -> None:
    it = tty("exec", "-p", "test", "web", "sh", "-c", "echo on; exec sleep 500")
    it.wait_for("on\r\n")
    assert it.raw
    it.signal(number)
    assert it.finish() == 128 + number
    assert it.modes() == it.before


@pytest.mark.usefixtures("web")
def test_the_modes_are_restored_when_the_program_is_killed(gocker: Gocker, tty: Open) -> None:
    it = tty("exec", "-p", "test", "web", "sh", "-c", "echo on; exec sleep 500")
    it.wait_for("on\r\n")
    assert it.raw
    gocker.command(
        "exec",
        "-p",
        "test",
        "web",
        "sh",
        "-c",
        "kill -9 $(pidof sleep | tr ' ' '\\n' | grep -v '^1$')",
    )
    assert it.finish() == 137
    assert it.modes() == it.before


@pytest.mark.usefixtures("web")
def test_the_modes_are_untouched_by_a_program_that_is_not_there(tty: Open) -> None:
    it = tty("exec", "-p", "test", "web", "nothing-of-this-name")
    assert it.finish() == 127
    assert it.modes() == it.before
    assert b"nothing-of-this-name" in it.shown


@pytest.mark.usefixtures("web")
def test_a_stop_gives_the_terminal_back_and_a_continue_takes_it_again(tty: Open) -> None:
    it = shell(tty)
    it.signal(signal.SIGTSTP)
    it.stopped()
    assert it.modes() == it.before
    it.resize(41, 99)
    it.signal(signal.SIGCONT)
    it.type("stty size\n")
    it.wait_for("41 99\r\n")
    assert it.raw
    it.type("exit\n")
    assert it.finish() == 0


@pytest.mark.usefixtures("web")
def test_the_detach_keys_leave_the_program_running(gocker: Gocker, tty: Open) -> None:
    it = tty("exec", "-p", "test", "--detach-keys", "ctrl-x,d", "web", "sh", "-c",
             "echo on; read word; sleep 500")  # fmt: skip
    it.wait_for("on\r\n")
    it.type("ab\x18\x18d")
    assert it.finish() == 0
    assert it.modes() == it.before
    found = gocker.command("exec", "-p", "test", "web", "ps")
    assert "read word" in found.out


@pytest.mark.usefixtures("web")
def test_much_output_arrives_whole(tty: Open) -> None:
    it = tty("exec", "-p", "test", "web", "sh", "-c", "seq 1 60000; echo end")
    text = it.wait_for("end\r\n").decode()
    assert text.split() == [str(number) for number in range(1, 60001)]
    assert it.finish() == 0


@pytest.mark.usefixtures("web")
def test_a11_our_own_terminal_is_never_in_the_container(tty: Open) -> None:
    it = tty("exec", "-T", "-p", "test", "web", "sh", "-c",
             "for n in 0 1 2; do readlink /proc/self/fd/$n; test -t $n && echo tty; done; "
             "cat; echo end >&2")  # fmt: skip
    it.wait_for("pipe:")
    it.type("word\n\x04")
    shown = it.wait_for("end\r\n")
    assert shown.count(b"pipe:") == 2
    assert b"tty" not in shown
    assert shown.count(b"word") == 2  # the terminal's echo, and cat's
    assert it.finish() == 0
    assert it.modes() == it.before


def spec(gocker: Gocker, **service: Any) -> str:
    return str(gocker.write({"services": {"job": service}}))


def test_run_has_a_terminal_and_its_output_is_one_stream_in_the_log(
    gocker: Gocker, tty: Open
) -> None:
    path = spec(gocker, command=["sh"], environment={"PS1": "READY"})
    it = tty("-f", path, "run", "job", size=(31, 101))
    it.wait_for("READY")
    assert it.raw
    it.type("stty size; tty; test -t 2 && echo err >&2; ls -l /dev/console\n")
    it.wait_for("/dev/console\r\n")
    shown = it.wait_for("/dev/console\r\n").decode()
    assert "31 101\r\n/dev/pts/0\r\nerr\r\n" in shown
    it.wait_for("READY")
    it.resize(22, 88)
    it.type("until test \"$(stty size)\" = '22 88'; do :; done; exit 4\n")
    assert it.finish() == 4
    assert it.modes() == it.before
    run = gocker.last_run()
    assert run is not None
    log = (run / "logs/job.log").read_bytes()
    assert b"31 101\r\n/dev/pts/0\r\nerr\r\n" in log


def test_run_passes_ctrl_c_on_and_restores_the_modes(gocker: Gocker, tty: Open) -> None:
    script = "trap 'echo caught; exit 9' INT; echo on; while :; do sleep 0.1; done"
    it = tty("-f", spec(gocker, command=["sh", "-c", script]), "run", "job")
    it.wait_for("on\r\n")
    it.type("\x03")
    it.wait_for("caught\r\n")
    assert it.finish() == 9
    assert it.modes() == it.before


@pytest.mark.parametrize("init", [False, True])
def test_a_service_with_tty_has_one_in_up(gocker: Gocker, init: bool) -> None:
    script = (
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all; ps -o pid,tty; "
        "stat -c %t:%F /dev/console"
    )
    result = gocker.job("sh", "-c", script, tty=True, init=init)
    assert result.code == 0, result
    log = result.log()
    assert log.startswith("/dev/pts/0\nall\n")
    assert "88:character special file\n" in log
    assert "136,0" in log


@pytest.mark.parametrize("userns", ["host", "auto"])
def test_a_terminal_belongs_to_the_user(gocker: Gocker, userns: str) -> None:
    script = "echo word > /dev/tty; stat -c %u:%a $(tty)"
    result = gocker.sh(script, tty=True, user="alice", userns_mode=userns)
    assert result.log() == "word\n1234:620\n"


def test_a_service_with_tty_that_cannot_start_says_why(gocker: Gocker) -> None:
    result = gocker.job("nothing-of-this-name", tty=True)
    assert result.verdict() == "start_failed"


def test_the_end_of_a_services_output_is_in_the_log(gocker: Gocker) -> None:
    result = gocker.sh("seq 1 20000", tty=True)
    assert result.log().split() == [str(number) for number in range(1, 20001)]


def test_run_reads_what_is_typed_without_a_terminal_of_its_own(gocker: Gocker, tty: Open) -> None:
    it = tty("-f", spec(gocker, command=["cat"]), "run", "-T", "job")
    it.type("word\n\x04")
    it.wait_for("word\r\n")
    it.wait_for("word\r\n")
    assert it.finish() == 0
    assert it.modes() == it.before


def test_standard_input_stays_open_if_the_service_says_so(gocker: Gocker) -> None:
    script = "timeout 1 cat; echo $?"
    assert gocker.sh(script).log() == "0\n"
    assert gocker.sh(script, stdin_open=True).log() == "Terminated\n143\n"


def test_a11_nothing_can_be_typed_into_the_users_terminal(gocker: Gocker, tty: Open) -> None:
    script = (
        "import fcntl\n"
        "for name in (0, 1, 2, '/dev/tty', '/dev/console'):\n"
        "    try:\n"
        "        fd = name if isinstance(name, int) else open(name).fileno()\n"
        "        fcntl.ioctl(fd, 0x5412, b'x')\n"
        "        print('typed')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    service = {"image": "host:/", "command": ["python3", "-c", script]}
    it = tty("-f", str(gocker.write({"services": {"job": service}})), "run", "job")
    assert it.finish() == 0
    assert it.shown.decode().split() == ["1"] * 5


@pytest.fixture
def detached(gocker: Gocker) -> Iterator[Callable[..., None]]:
    """Return what brings a service ``web`` up in the background."""

    def up(**service: Any) -> None:
        path = gocker.write({"services": {"web": service}})
        result = gocker.command("up", "-d", str(path))
        assert result.code == 0, result

    yield up
    gocker.down()


def test_attach_types_into_a_terminal_and_leaves_by_the_keys(
    gocker: Gocker, tty: Open, detached: Callable[..., None]
) -> None:
    detached(command=["sh"], tty=True, environment={"PS1": "READY"})
    it = tty("attach", "-p", "test", "web", size=(27, 77))
    it.type("stty size; x=kept\n")
    it.wait_for("27 77\r\n")
    it.wait_for("READY")
    assert it.raw
    it.resize(28, 78)
    it.type("until test \"$(stty size)\" = '28 78'; do :; done; echo resi''zed\n")
    it.wait_for("resized\r\n")
    it.type("\x10\x11")
    assert it.finish() == 0
    assert it.modes() == it.before
    again = tty("attach", "-p", "test", "--detach-keys", "ctrl-x", "web")
    again.type("echo $x; exit 6\n")
    again.wait_for("kept\r\n")
    assert again.finish() == 6
    assert again.modes() == again.before
    run = gocker.last_run()
    assert run is not None
    assert b"27 77\r\n" in (run / "logs/web.log").read_bytes()


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGHUP, ()), (signal.SIGTERM, ("--sig-proxy=false",))]
)
def test_attach_restores_the_modes_after_a_signal_that_ends_it(
    gocker: Gocker, tty: Open, detached: Callable[..., None], number: int, options: tuple[str, ...]
) -> None:
    detached(command=["sh"], tty=True, environment={"PS1": "READY"})
    it = tty("attach", "-p", "test", *options, "web")
    it.type("echo is''there\n")
    it.wait_for("isthere")
    assert it.raw
    it.signal(number)
    assert it.finish() == 128 + number
    assert it.modes() == it.before
    assert gocker.command("exec", "-p", "test", "-T", "web", "true").code == 0


def test_attach_types_into_standard_input_that_stays_open(
    gocker: Gocker, tty: Open, detached: Callable[..., None]
) -> None:
    detached(command=["sh", "-c", "while read line; do echo got $line; done"], stdin_open=True)
    for word in ("one", "two"):
        it = tty("attach", "-p", "test", "web")
        it.type(f"{word}\n")
        it.wait_for(f"got {word}\r\n")
        it.signal(signal.SIGKILL)
        it.close()
