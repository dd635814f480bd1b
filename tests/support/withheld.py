"""A kernel without some system call: a seccomp filter answers for it."""

from __future__ import annotations

from collections.abc import Callable

from gocker.linux import process, seccomp
from gocker.linux.calls import Calls
from gocker.runtime.seccomp import program


def withhold(names: list[str], number: int) -> Callable[[], None]:
    """Return what makes the calls fail with an errno, in this process and all that it starts."""
    code, flags = program({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number}],
    })  # fmt: skip

    def install() -> None:
        calls = Calls()
        calls.add("prctl", process.PR_SET_NO_NEW_PRIVS, 1, phase="withhold")
        seccomp.add_install(calls, code, flags)
        failure = calls.run()
        if failure is not None:
            raise failure

    return install
