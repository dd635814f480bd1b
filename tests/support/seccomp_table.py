"""What the default profile answers, as arguments of syscall_probe.c: one table for all runtimes.

Only answers that no capability or missing kernel feature changes: a refusal by the filter, or
a call that works for anyone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from gocker.linux import syscall_table

EPERM, EBADF, EFAULT, EINVAL, ENOSYS, SIGSYS = "1", "9", "14", "22", "38", "signal 31"
NUMBERS = syscall_table.numbers(os.uname().machine)
CLONE_NEW = {
    "NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000,
    "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000,
}  # fmt: skip
SIGCHLD = 17
MINUS_ONE = 0xFFFFFFFFFFFFFFFF
REFUSED = """
    unshare setns mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick
    mount_setattr sethostname setdomainname quotactl fanotify_init ptrace process_vm_readv
    process_vm_writev process_madvise kcmp pidfd_getfd userfaultfd bpf perf_event_open syslog
    name_to_handle_at open_by_handle_at memfd_secret reboot chroot init_module finit_module
    delete_module mbind set_mempolicy move_pages acct settimeofday clock_settime io_uring_setup
    io_uring_enter io_uring_register keyctl add_key request_key kexec_load swapon swapoff
"""


def call(name: str, *arguments: int) -> str:
    """Return the probe's argument for a call by its name here."""
    return ",".join(str(value) for value in (NUMBERS[name], *arguments))


def rows() -> dict[str, tuple[str, str]]:
    """Return label -> (argument of the probe, answer)."""
    table = {name: (call(name, *[MINUS_ONE] * 6), EPERM) for name in REFUSED.split()}
    for name, flag in CLONE_NEW.items():
        table[f"clone {name}"] = (call("clone", flag | SIGCHLD), EPERM)
        table[f"unshare {name}"] = (call("unshare", flag), EPERM)
    table |= {
        "getpid": (call("getpid"), "ok"),
        "clone": (call("clone", SIGCHLD), "ok"),
        "clone3": (call("clone3", 0, 0), ENOSYS),
        "unknown call": ("9999", ENOSYS),
        "call -1": (str(MINUS_ONE), ENOSYS),
        "unix": (call("socket", 1, 1, 0), "ok"),
        "inet": (call("socket", 2, 1, 0), "ok"),
        "family as int": (call("socket", 0x1_0000_0001, 1, 0), "ok"),
        "netlink route": (call("socket", 16, 3, 0), "ok"),
        "netlink xfrm": (call("socket", 16, 3, 6), EPERM),
        "netlink audit": (call("socket", 16, 3, 9), EPERM),
        "netlink netfilter": (call("socket", 16, 3, 12), EPERM),
        "netlink uevent": (call("socket", 16, 3, 15), EPERM),
        "packet": (call("socket", 17, 3, 0), EPERM),
        "alg": (call("socket", 38, 5, 0), EPERM),
        "vsock": (call("socket", 40, 1, 0), EPERM),
        "xdp": (call("socket", 44, 3, 0), EPERM),
        "socketpair unix": (call("socketpair", 1, 1, 0, 0), EFAULT),
        "socketpair tipc": (call("socketpair", 30, 1, 0, 0), EPERM),
        "TIOCSTI": (call("ioctl", 0, 0x5412, 0), EPERM),
        "TIOCSTI as int": (call("ioctl", 0, 0x1_0000_5412, 0), EPERM),
        "TIOCLINUX": (call("ioctl", 0, 0x541C, 0), EPERM),
        "TCGETS": (call("ioctl", 999, 0x5401, 0), EBADF),
        "other ioctl": (call("ioctl", 999, 0xFFFF_0000_5413, 0), EBADF),
        "personality query": (call("personality", MINUS_ONE), "ok"),
        "personality linux32": (call("personality", 8), "ok"),
        "ADDR_NO_RANDOMIZE": (call("personality", 0x40000), EPERM),
    }
    if os.uname().machine == "x86_64":
        table |= {
            "i386 getpid": ("i386:20", SIGSYS),
            "i386 socketcall": ("i386:102", SIGSYS),
            "x32 getpid": (str(0x40000000 + NUMBERS["getpid"]), SIGSYS),
        }
    return table


def compile_probe(directory: Path) -> Path:
    """Return the static probe, made in a directory."""
    probe = directory / "probe"
    compiler = shutil.which("gcc")
    assert compiler, "these tests need gcc"
    source = Path(__file__).with_name("syscall_probe.c")
    subprocess.run([compiler, "-static", "-O1", "-o", probe, source], check=True)
    return probe
