"""2.H: the kernel's surface, asked from inside a container that `up` made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import seccomp_table as table
from tests.support.command import Gocker

pytestmark = pytest.mark.root

ROWS = table.rows()
# The catalogue's id of each row of the table.
H1 = [name for name in ROWS if name.startswith(("clone", "unshare", "setns"))]
H2 = [name for name in ROWS if name.startswith(("i386", "x32"))]
H3 = [name for name in table.REFUSED.split() if name not in H1]
H4 = ["unix", "inet", "family as int", "netlink route", "netlink xfrm", "netlink audit",
      "netlink netfilter", "netlink uevent", "packet", "alg", "vsock", "xdp", "socketpair unix",
      "socketpair tipc"]  # fmt: skip
H5 = ["unknown call", "call -1", "clone3", "getpid"]
TERMINAL = ["TIOCSTI", "TIOCSTI as int", "TIOCLINUX", "TCGETS", "other ioctl"]


@pytest.fixture(scope="module")
def answers(rootfs: Path, probe: Path) -> dict[str, str]:
    """Ask everything once, in a container with the default posture."""
    gocker = Gocker(image=f"rootfs:{rootfs}")
    try:
        command = ["/p/probe", *[text for text, _ in ROWS.values()]]
        result = gocker.job(*command, volumes=[f"{probe.parent}:/p:ro"])
        assert result.code == 0, result.err
        found = dict(zip(ROWS, result.log().splitlines(), strict=True))
        gocker.check()
    finally:
        gocker.close()
    return found


@pytest.mark.parametrize("label", H1)
def test_h01_no_namespace_can_be_made(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == ROWS[label][1]


@pytest.mark.parametrize("label", H2)
def test_h02_no_foreign_abi(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == "signal 31"


@pytest.mark.parametrize("label", H3)
def test_h03_a_dangerous_call_is_refused(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == "1"


@pytest.mark.parametrize("label", H4)
def test_h04_socket_families(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == ROWS[label][1]


@pytest.mark.parametrize("label", H5)
def test_h05_what_is_unknown_is_enosys(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == ROWS[label][1]


@pytest.mark.parametrize("label", TERMINAL)
def test_a11_nothing_can_be_typed_into_a_terminal(label: str, answers: dict[str, str]) -> None:
    assert answers[label] == ROWS[label][1]


def test_every_row_has_an_id() -> None:
    rest = {"personality query", "personality linux32", "ADDR_NO_RANDOMIZE"}
    assert set(ROWS) == {*H1, *H2, *H3, *H4, *H5, *TERMINAL, *rest}


def test_h06_the_filter_is_there_before_running_is_reported(gocker: Gocker) -> None:
    running = gocker.start({"services": {"job": {"command": ["sleep", "1000"]}}})
    pid = running.wait_for("container.started")["process.pid"]
    status = dict(
        line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )  # fmt: skip
    running.send(15)
    running.finish()
    assert (status["Seccomp"], status["Seccomp_filters"], status["NoNewPrivs"]) == ("2", "1", "1")


@pytest.mark.parametrize("vfork", ["", "1"], ids=["vfork", "clone3"])
def test_h06_a_filter_that_cannot_be_loaded_ends_the_start(
    gocker: Gocker, tmp_path: Path, vfork: str
) -> None:
    """gocker itself runs below a filter that refuses seccomp(2): the job must not run."""
    source = tmp_path / "refuse.c"
    source.write_text(REFUSE)
    subprocess.run(["gcc", "-o", tmp_path / "refuse", source], check=True)
    result = gocker.up(
        {"services": {"job": {"command": ["echo", "ran"]}}},
        wrapper=[str(tmp_path / "refuse")], environ={"GOCKER_NO_VFORK": vfork},
    )  # fmt: skip
    assert result.verdict() == "start_failed"
    assert result.event("container.failed")["error"]["context"]["phase"] == "seccomp"
    assert "ran" not in result.log()


REFUSE = r"""
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 9;
    execvp(argv[1], argv + 1);
    return 9;
}
"""
