"""What a container can get from those who enter it. Names begin with the catalogue's ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.cli.forward import NOT_OURS, PASSED
from tests.support import machine
from tests.support.command import Gocker, Result
from tests.support.flipper import Flipper
from tests.support.tty import Tty

pytestmark = pytest.mark.root
STARTS = int(os.environ.get("GOCKER_ATTACK_STARTS", "5"))


class Web:
    """A running service ``web`` and what is executed in it."""

    def __init__(self, gocker: Gocker) -> None:
        self.gocker = gocker

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "gocker", *words]

    def sh(self, script: str, *options: str) -> Result:
        return self.gocker.command("exec", "-p", "test", *options, "web", "sh", "-c", script)

    def popen(self, *words: str, **how: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            self.argv(*words), env=self.gocker.environ, cwd=self.gocker.root,
            preexec_fn=self.gocker.nest.enter, **how,  # noqa: PLW1509  # writes only
        )  # fmt: skip


@pytest.fixture(scope="module", params=["host:/"])
def web(request: pytest.FixtureRequest) -> Iterator[Web]:
    gocker = Gocker(image=request.param)
    try:
        running = gocker.start({"services": {"web": {"command": ["sleep", "1000"]}}})
        running.wait_for("container.started")
        yield Web(gocker)
        running.send(signal.SIGKILL)
        running.finish()
        gocker.check()
    finally:
        gocker.close()


@pytest.mark.parametrize("options", [(), ("-T",), ("-t",)], ids=["pipes", "-T", "-t"])
def test_a03_no_descriptor_of_the_caller_is_passed(web: Web, options: tuple[str, ...]) -> None:
    held = [os.open("/root", os.O_RDONLY) for _ in range(40)]
    try:
        script = "ls /proc/self/fd; for n in 0 1 2; do readlink /proc/self/fd/$n; done"
        process = web.popen(
            "exec", "-p", "test", *options, "web", "sh", "-c", script, pass_fds=held,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        out = process.communicate(timeout=machine.PATIENCE_S)[0].decode().split()
    finally:
        for fd in held:
            os.close(fd)
    assert out[:4] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    assert len(out) == 7
    assert all(it.startswith(("/dev/null", "pipe:", "/dev/pts/")) for it in out[4:])


def test_a03_no_number_of_a_descriptor_is_a_way_out(web: Web) -> None:
    """CVE-2024-21626: the working directory named by a descriptor that leads to the host."""
    host = Path("/etc/hostname").read_text().strip()
    for number in range(12):
        for path in (f"/proc/self/fd/{number}", f"/proc/thread-self/fd/{number}/../.."):
            found = web.sh("pwd; cat ../../../../etc/hostname", "-w", path)
            assert found.code == 126 or host not in found.out.split(), (path, found)


def test_a04_a_directory_that_is_gone_is_refused(web: Web) -> None:
    found = web.sh("pwd", "-w", "/nowhere/at/all")
    assert (found.code, "working directory" in found.err) == (126, True)


def test_a05_nothing_of_the_image_is_loaded_or_executed_before_the_program(
    rootfs: Path, tmp_path: Path
) -> None:
    """Under strace: between entering the container and execve no file of Python's is opened."""
    gocker = Gocker(image=f"rootfs:{rootfs}")
    trace = gocker.root / "trace"
    trace.mkdir()
    calls = "openat,open,openat2,execve,setns,clone3"
    wrapper = ("strace", "-ff", "-qq", "-e", f"trace={calls}", "-o", str(trace / "t"))
    try:
        running = gocker.start({"services": {"web": {"command": ["sleep", "1000"]}}})
        running.wait_for("container.started")
        commands = (
            ("exec", "-p", "test", "web", "true"),
            ("exec", "-p", "test", "-u", "alice", "web", "nothing-of-this-name"),
            ("exec", "-p", "test", "-w", "/nowhere", "web", "true"),
            ("cp", "-p", "test", "web:/etc", str(gocker.root / "copy")),
        )
        for words in commands:
            gocker.command(*words, wrapper=wrapper)
        running.send(signal.SIGKILL)
        running.finish()
        gocker.down()
        entered = 0
        for path in trace.iterdir():
            lines = path.read_text().splitlines()
            # Not the launcher's question whether there is such a call: setns(-1, 0).
            at = [n for n, line in enumerate(lines) if "setns(" in line and "NEWPID" not in line
                  and "setns(-1" not in line]  # fmt: skip
            if not at:
                continue
            entered += 1
            inside = lines[at[0] + 1 :]
            for line in inside:
                assert not any(word in line for word in (".py", ".so", "nsswitch", "ld.so")), line
            executed = [line for line in inside if line.startswith("execve(")]
            assert all('"/bin/' in line or "ENOENT" in line for line in executed), executed
        assert entered == 3
        gocker.check()
    finally:
        gocker.close()


POLL = """
import os, time
found = set()
while True:
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if pid == str(os.getpid()):
            continue
        for name in ('cmdline', 'environ', 'maps', 'status'):
            try:
                with open(f'/proc/{pid}/{name}', 'rb') as file:
                    if b'CANARY' in file.read(1 << 20):
                        found.add((pid, name))
            except OSError:
                pass
        try:
            for fd in os.listdir(f'/proc/{pid}/fd'):
                found.add((pid, os.readlink(f'/proc/{pid}/fd/{fd}')))
        except OSError:
            pass
    with open('/tmp/turn', 'a') as file:
        file.write('.')
    with open('/tmp/new', 'w') as file:
        file.write(repr(sorted(found)))
    os.replace('/tmp/new', '/tmp/found')
"""


def test_a06_a_secret_value_is_never_seen_in_the_process_that_enters() -> None:
    """The watcher is root in the container; only the program itself has the value, at its end."""
    gocker = Gocker(image="host:/")
    try:
        running = gocker.start({"services": {"web": {"command": ["python3", "-c", POLL]}}})
        running.wait_for("container.started")
        # The program is unlike `sleep`: it has lost the variable when it is executed.
        for _ in range(int(os.environ.get("GOCKER_A6_TURNS", "6"))):
            done = gocker.command(
                "exec", "-p", "test", "-e", "TOKEN=CANARY-1", "-u", "65534", "web",
                "nothing-of-this-name",
            )  # fmt: skip
            assert done.code == 127
        found = gocker.command(
            "exec", "-p", "test", "web", "sh", "-c", "cat /tmp/found; wc -c < /tmp/turn"
        )
        seen, turns = found.out.rsplit("]", 1)
        assert seen == "["
        assert int(turns) > 3
        running.send(signal.SIGTERM)
        running.finish()
        gocker.check()
    finally:
        gocker.close()


RECEIVER = """
import signal, sys, time, os
numbers = [int(n) for n in sys.argv[1].split(',')]
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print('ready', flush=True)
while True:
    print(signal.sigwaitinfo(numbers).si_signo, flush=True)
"""


@pytest.mark.parametrize("options", [("-T",), ("-t",)])
def test_r15_each_signal_is_passed_on_once_and_in_order(web: Web, options: tuple[str, ...]) -> None:
    numbers = [number for number in PASSED if number != signal.SIGABRT]
    process = web.popen(
        "exec", "-p", "test", *options, "web", "python3", "-c", RECEIVER,
        ",".join(map(str, numbers)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().strip() == b"ready"
    for number in numbers:
        process.send_signal(number)
        assert process.stdout.readline().strip() == str(number).encode()
    process.send_signal(signal.SIGABRT)
    assert process.stdout.read() == b""
    assert process.wait(machine.PATIENCE_S) == 128 + signal.SIGABRT
    process.stdin.close()
    process.stdout.close()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN + 3]
)
def test_r15_the_exit_code_tells_the_signal(web: Web, number: int) -> None:
    process = web.popen("exec", "-p", "test", "web", "sh", "-c", "echo on; exec sleep 500",
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.send_signal(number)
    assert process.wait(machine.PATIENCE_S) == 128 + number
    process.stdout.close()


@pytest.mark.parametrize("options", [("-T",), ("-t",)])
def test_r15_run_passes_signals_on_once_and_in_order(
    gocker: Gocker, options: tuple[str, ...]
) -> None:
    numbers = [number for number in NOT_OURS if number != signal.SIGABRT]
    path = gocker.write({"services": {"job": {"image": "host:/", "init": True}}})
    process = Web(gocker).popen(
        "-f", str(path), "run", *options, "job", "python3", "-c", RECEIVER,
        ",".join(map(str, numbers)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().strip() == b"ready"
    for number in numbers:
        process.send_signal(number)
        assert process.stdout.readline().strip() == str(number).encode()
    process.send_signal(signal.SIGABRT)
    assert process.stdout.read() == b""
    assert process.wait(machine.PATIENCE_S) == 128 + signal.SIGABRT
    process.stdin.close()
    process.stdout.close()


CONSOLE = """
import os, stat
for name in ('/dev/console', '/dev/pts/0', '/dev/tty'):
    info = os.stat(name)
    print(stat.S_ISCHR(info.st_mode), os.major(info.st_rdev), os.minor(info.st_rdev))
print([line.split()[4] for line in open('/proc/self/mountinfo') if '/console' in line])
"""


def test_b04_the_console_is_the_containers_terminal(gocker: Gocker) -> None:
    job = {"image": "host:/", "command": ["python3", "-c", CONSOLE], "tty": True}
    result = gocker.up({"services": {"job": job}})
    assert result.log() == "True 136 0\nTrue 136 0\nTrue 5 0\n['/dev/console']\n"


@pytest.mark.parametrize(
    "plant",
    [
        "ln -s /marker /image/dev/console",
        "ln -s /marker /image/dev/pts",
        "mkdir -p /image/dev/pts; ln -s /marker /image/dev/pts/ptmx; ln -s /marker /image/dev/ptmx",
        "rm -rf /image/dev; ln -s /outside /image/dev",
    ],
)
def test_b04_what_an_image_puts_in_place_of_terminals_leads_nowhere(
    gocker: Gocker, rootfs: Path, plant: str
) -> None:
    image, marker = gocker.root / "image", gocker.root / "marker"
    subprocess.run(["cp", "-a", rootfs, image], check=True)
    marker.write_text("sentinel")
    script = plant.replace("/image", str(image)).replace("/marker", str(marker))
    subprocess.run(["sh", "-c", script.replace("/outside", str(gocker.root))], check=True)
    before = sorted(os.listdir(gocker.root))
    job = {"image": f"rootfs:{image}", "command": ["sh", "-c", "tty"], "tty": True}
    result = gocker.up({"services": {"job": job}})
    assert result.verdict() == "start_failed" or result.log() == "/dev/pts/0\n"
    assert marker.read_text() == "sentinel"
    assert set(os.listdir(gocker.root)) - set(before) <= {"data", "live", "spec.yaml"}


@pytest.mark.parametrize(("target", "name"), [("/dev", "pts"), ("/dev/pts", "ptmx")])
def test_b04_terminals_that_change_under_the_start(
    gocker: Gocker, tmp_path: Path, target: str, name: str
) -> None:
    """A shared volume stands in their place, and somebody swaps a part of it for the host's."""
    shared, host = tmp_path / "shared", tmp_path / "host"
    for directory in (shared, host):
        directory.mkdir()
        (directory / "pts").mkdir()
        for path in ("ptmx", "console", "pts/ptmx", "pts/0"):
            (directory / path).write_text("sentinel")
    (shared / "link").symlink_to(host / name)
    job = {"command": ["tty"], "tty": True, "volumes": [f"{shared}:{target}"]}
    with Flipper(shared / name, shared / "link") as flipper:
        for _ in range(STARTS):
            result = gocker.up({"services": {"job": job}})
            assert result.verdict() == "start_failed" or result.log() == "/dev/pts/0\n"
            gocker.down()
    assert flipper.flips > STARTS
    assert sorted(os.listdir(host)) == ["console", "ptmx", "pts"]
    assert {path.read_text() for path in host.rglob("*") if path.is_file()} == {"sentinel"}


def test_g04_executions_and_attaches_that_are_broken_off_leave_nothing(gocker: Gocker) -> None:
    """Of the supervisor and its launcher: descriptors and threads are as before."""
    turns = int(os.environ.get("GOCKER_G4_TURNS", "5"))
    path = gocker.write({"services": {"web": {"command": ["cat"], "tty": True}}})
    assert gocker.command("up", "-d", str(path)).code == 0

    def held() -> dict[str, tuple[int, int]]:
        found = {}
        for pid in machine.descendants(os.getpid()):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            threads = len(os.listdir(f"/proc/{pid}/task"))
            fds = len(os.listdir(f"/proc/{pid}/fd"))
            if fds:  # else it has ended, and only waits for us
                found[f"{name}-{pid}"] = (fds, threads)
        return found

    first = None
    for _ in range(2):
        for _ in range(turns):
            it = Tty([sys.executable, "-m", "gocker", "attach", "-p", "test", "web"],
                     gocker.environ, str(gocker.root), gocker.nest.enter)  # fmt: skip
            it.type("word\n")
            it.wait_for("word\r\nword\r\n")
            it.signal(signal.SIGKILL)
            it.close()
            process = gocker.popen("exec", "-p", "test", "web", "sh", "-c", "echo on; sleep 500")
            assert process.stdout is not None
            assert process.stdout.readline() == b"on\n"
            process.kill()
            process.communicate()
        # An answer to one more: the supervisor has read the end of those before.
        assert gocker.command("ls").code == 0
        now = held()
        first = first or now
    assert now == first
    gocker.down()
