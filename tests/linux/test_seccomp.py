from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gocker.plan.posture import default_seccomp
from gocker.runtime import seccomp
from tests.support import seccomp_table as table

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
ROWS = table.rows()
INSTALL = """
import os, sys
from gocker.linux import seccomp
from gocker.linux.calls import Calls
calls = Calls()
seccomp.add_install(calls, bytes.fromhex(sys.argv[1]), int(sys.argv[2]))
assert calls.run() is None
os.execvp(sys.argv[3], sys.argv[3:])
"""
Confined = Callable[..., "subprocess.CompletedProcess[str]"]


def confined(*argv: str | Path, caps: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program, as root with all capabilities, below the default filter and nothing else."""
    program, flags = seccomp.program(default_seccomp(caps))
    return subprocess.run(
        [sys.executable, "-c", INSTALL, program.hex(), str(flags), *argv],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table.compile_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def answers(probe: Path) -> dict[str, str]:
    result = confined(probe, *[text for text, _ in ROWS.values()])
    return dict(zip(ROWS, result.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("label", ROWS)
def test_the_kernel_answers_as_the_table_says(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == ROWS[label][1]


@pytest.mark.parametrize(
    ("cap", "call"),
    [
        ("CAP_SYS_ADMIN", table.call("unshare", 0)),
        ("CAP_SYS_ADMIN", table.call("clone", table.CLONE_NEW["NEWUTS"] | table.SIGCHLD)),
        ("CAP_SYS_PTRACE", table.call("ptrace", 0)),
        ("CAP_SYS_NICE", table.call("get_mempolicy", 0, 0, 0, 0, 0)),
        ("CAP_NET_RAW", table.call("socket", 17, 3, 0)),
        ("CAP_NET_ADMIN", table.call("socket", 16, 3, 15)),
        ("CAP_AUDIT_WRITE", table.call("socket", 16, 3, 9)),
    ],
)
def test_a_capability_opens_its_calls(cap: str, call: str, probe: Path) -> None:
    assert confined(probe, call).stdout == "1\n"
    assert confined(probe, call, caps=(cap,)).stdout == "ok\n"


def test_the_process_is_in_filter_mode() -> None:
    status = confined("cat", "/proc/self/status").stdout
    assert "\nSeccomp:\t2\n" in status


def test_a_program_the_kernel_refuses_is_an_error() -> None:
    bad = bytes(8)  # BPF_LD|BPF_IMM, and no return at the end
    code = (
        "from gocker.linux import seccomp\nfrom gocker.linux.calls import Calls\n"
        f"calls = Calls(); seccomp.add_install(calls, {bad!r}, 0); print(calls.run())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "seccomp: Invalid argument\n"


PYTHON = """
import asyncio, multiprocessing, os, pathlib, socket, subprocess, tempfile, threading, mmap
thread = threading.Thread(target=os.getpid); thread.start(); thread.join()
assert subprocess.run(["true"]).returncode == 0
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
socket.getaddrinfo("localhost", 80); socket.socketpair(); os.memfd_create("x"); mmap.mmap(-1, 4096)
with tempfile.TemporaryDirectory() as name: (pathlib.Path(name) / "x").write_text("x")
asyncio.run(asyncio.sleep(0)); os.sched_getaffinity(0); os.get_terminal_size
with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(abs, [-1]) == [1]
print("done")
"""
COMPILE = "printf 'int puts(const char *); int main(void) { return puts(\"done\") < 0; }' > a.c"
WORK = {
    "python": f"{sys.executable} -c '{PYTHON}'",
    "gcc": f"{COMPILE} && gcc -pthread -o a a.c && ./a",
    "git": "git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x"
    " && git clone -q . copy && git log --format=tformat:done",
    "tar": "mkdir d && echo x >d/x && tar cz d | tar xz -C /tmp/ --to-stdout >/dev/null"
    " && cp -a d e && rm -r d e && echo done",
    "busybox": "busybox sh -c 'echo x | busybox sed s/x/done/; busybox ps >/dev/null'",
    "coreutils": "ls -l / >/dev/null; df / >/dev/null; nice true; timeout 5 true; sort /etc/passwd"
    " | tail -n1 >/dev/null && echo done",
}


@pytest.mark.parametrize("name", WORK)
def test_ordinary_programs_work(name: str, tmp_path: Path) -> None:
    assert name in {"coreutils", "python"} or shutil.which(name), f"these tests need {name}"
    result = confined("sh", "-ec", f"cd {tmp_path}; {WORK[name]}")
    assert (result.stdout, result.stderr) == ("done\n", "")
