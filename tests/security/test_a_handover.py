"""2.A: what the job gets from gocker, and what it can reach of it."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import machine
from tests.support import seccomp_table as table
from tests.support.command import ROOT, Gocker, Running

pytestmark = pytest.mark.root

HOST = "host:/"


def victim(directory: Path) -> Path:
    """Return an interpreter of the test's own, with the packages of the one that runs us."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--copies", "--without-pip", directory], check=True
    )
    (site,) = directory.glob("lib/python*/site-packages")
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    (site / "gocker.pth").write_text("\n".join(paths))
    return directory / "bin/python"


def start(gocker: Gocker, interpreter: Path, **service: object) -> Running:
    spec = {"services": {"job": {"image": HOST, **service}}}
    path = gocker.write(spec)
    process = subprocess.Popen(
        [interpreter, "-m", "gocker", "up", path, "--log-format", "json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=gocker.environ, cwd=gocker.root,
        preexec_fn=gocker.nest.enter,  # noqa: PLW1509  # writes only
    )  # fmt: skip
    return Running(gocker, process)


def test_a01_a_descriptor_of_the_interpreter_cannot_be_reopened_for_writing(
    gocker: Gocker, tmp_path: Path
) -> None:
    interpreter = victim(tmp_path / "venv")
    before = hashlib.sha256(interpreter.read_bytes()).hexdigest()
    # With `init`, PID 1 of the container is a process of gocker's for as long as it lives.
    running = start(gocker, interpreter, command=["sleep", "1000"], init=True)
    pid = running.wait_for("container.started")["process.pid"]
    handle = os.open(f"/proc/{pid}/exe", os.O_PATH)
    same = os.path.samestat(os.fstat(handle), os.stat(interpreter))
    running.send(signal.SIGTERM)
    running.finish()
    try:
        assert same, "the container's PID 1 is not the interpreter that was to be attacked"
        # Nobody runs it any more: what is left to refuse this is the mount (EROFS).
        with pytest.raises(OSError, match="Read-only file system"):
            os.close(os.open(f"/proc/self/fd/{handle}", os.O_WRONLY))
    finally:
        os.close(handle)
    assert hashlib.sha256(interpreter.read_bytes()).hexdigest() == before


def test_a01_the_launcher_runs_from_a_read_only_mount(gocker: Gocker) -> None:
    running = gocker.start({"services": {"job": {"command": ["sleep", "1000"]}}})
    running.wait_for("container.started")
    flags = os.statvfs(f"/proc/{running.launcher()}/exe").f_flag
    running.send(signal.SIGTERM)
    result = running.finish()
    assert flags & os.ST_RDONLY
    assert result.events("security.missing") == []


def test_a01_no_process_in_the_container_is_the_interpreter(gocker: Gocker) -> None:
    result = gocker.sh("for p in /proc/[0-9]*; do readlink $p/exe; done", cap_add=["SYS_PTRACE"])
    assert result.log() != ""
    assert "python" not in result.log()


SIGNALS = ["grep", "-E", "^(SigIgn|SigBlk|SigPnd|ShdPnd)", "/proc/self/status"]
CLEAN = "SigPnd:0000000000000000 ShdPnd:0000000000000000 SigBlk:0000000000000000 SigIgn:" + "0" * 16


def _ignore() -> None:
    for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGXFSZ, signal.SIGUSR1, 40):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGCHLD, 41})
    signal.setitimer(signal.ITIMER_REAL, 3600)


@pytest.mark.parametrize("vfork", ["", "1"], ids=["vfork", "clone3"])
@pytest.mark.parametrize("init", [False, True], ids=["program", "init"])
def test_a07_no_signal_state_is_inherited(gocker: Gocker, vfork: str, init: bool) -> None:
    def enter() -> None:
        gocker.nest.enter()
        _ignore()

    spec = {"services": {"job": {"command": SIGNALS, "init": init}}}
    result = gocker.up(spec, environ={"GOCKER_NO_VFORK": vfork}, enter=enter)
    assert " ".join(result.log().replace("\t", "").split()) == CLEAN


def test_a07_a_broken_pipe_ends_the_writer(gocker: Gocker) -> None:
    result = gocker.sh("yes | head -n 1")
    assert (result.code, result.log()) == (0, "y\n")


def test_a12_the_keys_cannot_be_listed_and_the_calls_are_refused(
    gocker: Gocker, probe: Path
) -> None:
    calls = [table.call(name, 0, -3 & table.MINUS_ONE) for name in ("keyctl", "add_key")]
    result = gocker.up({"services": {
        "keys": {"command": ["cat", "/proc/keys"]},
        "calls": {"command": ["/p/probe", *calls], "volumes": [f"{probe.parent}:/p:ro"]},
    }})  # fmt: skip
    assert (result.log("keys"), result.log("calls")) == ("", "1\n1\n")


def test_a12_a_key_of_the_session_cannot_be_found(gocker: Gocker, tmp_path: Path) -> None:
    """The host's session has a key; the job searches its own session, without a filter."""
    source = tmp_path / "keys.c"
    source.write_text(KEYS)
    subprocess.run(["gcc", "-static", "-o", tmp_path / "keys", source], check=True)
    spec = {"services": {"job": {"command": ["/k/keys", "find"], "volumes": [f"{tmp_path}:/k:ro"],
                                 "security_opt": ["seccomp=unconfined"]}}}  # fmt: skip
    result = gocker.up(spec, wrapper=[str(tmp_path / "keys"), "exec"])
    assert result.log() == "find: Required key not available\n"


KEYS = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
/* exec PROGRAM...: join a new session keyring, add the key "gksec" to it, execute.
 * find: search the session keyring for it. */
int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "exec") == 0) {
        syscall(SYS_keyctl, 1, 0);
        if (syscall(SYS_add_key, "user", "gksec", "x", 1, -3) < 0)
            return 3;
        if (syscall(SYS_keyctl, 10, -3, "user", "gksec", 0) < 0)
            return 4;
        execvp(argv[2], argv + 2);
        return 5;
    }
    long found = syscall(SYS_keyctl, 10, -3, "user", "gksec", 0);
    printf("find: %s\n", found < 0 ? strerror(errno) : "found");
    return 0;
}
"""


STARTS = int(os.environ.get("GOCKER_A12_STARTS", "60"))


def test_a12_many_starts_leave_no_keys(gocker: Gocker) -> None:
    def mine() -> int:
        rows = Path("/proc/key-users").read_text().splitlines()
        return sum(int(row.split()[1]) for row in rows if row.split()[0] == "0:")

    jobs = {f"job{number}": {"command": ["true"]} for number in range(STARTS)}
    before = mine()
    assert gocker.up({"services": jobs}).code == 0
    # The kernel frees keys some time after their last user.
    for _ in range(200):
        if mine() <= before + 10:
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert mine() <= before + 10


STATUS = "grep -E '^(NoNewPrivs|Umask|CapInh|CapPrm|CapAmb|CapBnd):' /proc/self/status; ulimit -c"


def test_a13_no_new_privileges_umask_and_core_files(gocker: Gocker) -> None:
    log = " ".join(gocker.sh(STATUS).log().split())
    nine, none = "00000000000005fb", "0" * 16
    assert log == (
        f"Umask: 0022 CapInh: {none} CapPrm: {nine} CapBnd: {nine} CapAmb: {none} NoNewPrivs: 1 0"
    )


@pytest.fixture
def setuid_image(rootfs: Path, tmp_path: Path) -> Path:
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    source = tmp_path / "euid.c"
    source.write_text(
        '#include <stdio.h>\n#include <unistd.h>\nint main(void){printf("%d\\n",geteuid());}\n'
    )
    subprocess.run(["gcc", "-static", "-o", image / "bin/euid", source], check=True)
    (image / "bin/euid").chmod(0o4755)
    return image


@pytest.mark.parametrize(
    ("options", "euid", "mount"),
    [([], "1000", True), (["no-new-privileges:false"], "0", False)],
    ids=["default", "allowed"],
)
def test_a13_setuid_programs_work_only_when_asked_for(
    gocker: Gocker, setuid_image: Path, options: list[str], euid: str, mount: bool
) -> None:
    script = "/bin/euid; grep ' / / ' /proc/self/mountinfo | head -n 1"
    result = gocker.sh(script, image=f"rootfs:{setuid_image}", user="1000", security_opt=options)
    first, mounts = result.log().splitlines()
    assert first == euid
    # The root itself is nosuid, too, for as long as no setuid program is wanted.
    assert ("nosuid" in mounts.split()[5].split(",")) is mount
    assert "nodev" in mounts.split()[5].split(",")


def test_a14_the_job_dies_with_the_launcher_whatever_user_it_is(gocker: Gocker) -> None:
    """PDEATHSIG is asked for after the credentials changed, which clears it (prctl(2))."""
    spec = {"services": {"job": {"command": ["sleep", "1000"], "user": "1000"}}}
    running = gocker.start(spec)
    pid = running.wait_for("container.started")["process.pid"]
    pidfd = os.pidfd_open(pid)
    os.kill(running.launcher(), signal.SIGKILL)
    result = running.finish()
    ended = select.select([pidfd], [], [], machine.PATIENCE_S)[0]
    os.close(pidfd)
    assert result.code == 3
    assert ended == [pidfd]
    gocker.down()


def test_a03_no_descriptor_of_the_setup_can_be_the_working_directory(gocker: Gocker) -> None:
    """CVE-2024-21626: the launcher's directories are open until the very end."""
    script = "pwd; ls -d etc/hostname; cat ../../../../../etc/passwd"
    numbers = range(3, 48)
    job = {"command": ["sh", "-c", script]}
    jobs = {f"fd{n}": {**job, "working_dir": f"/proc/self/fd/{n}"} for n in numbers}
    result = gocker.up({"services": jobs})
    verdicts = {number: result.verdict(f"fd{number}") for number in numbers}
    assert set(verdicts.values()) == {"start_failed"}, verdicts
