"""Failpoints of the launcher and of containers' first processes; see `gocker.failpoints`.

Imported by a launcher only if ``GOCKER_FAILPOINTS`` was set for the command: the front hands it
over, since a launcher's environment is empty.
"""

from __future__ import annotations

import os
import signal
import struct

from gocker import failpoints
from gocker.linux import process
from gocker.linux.calls import Calls
from gocker.linux.syscall_table import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.failpoints import Fault

HELPERS = frozenset({"confine", "reaper"})
_PR_SET_SECCOMP, _SECCOMP_MODE_STRICT = 22, 1  # include/uapi/linux/prctl.h, seccomp.h
_SET_MODE_FILTER = 1
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_RET_ERRNO, _RET_ALLOW, _RET_KILL_PROCESS = 0x00050000, 0x7FFF0000, 0x80000000


def arm(text: str) -> None:
    """Arm what the variable's text names for this launcher and its children."""
    faults = failpoints.parse(text)
    failpoints.Fault.kill = staticmethod(_kill)
    failpoints.arm(faults, back=True)
    calls = {fault.name.partition(".")[2]: fault for fault in faults
             if fault.name.startswith("call.")}  # fmt: skip
    if calls:
        _arm_calls(calls)


def _kill() -> None:
    """Die of SIGKILL, which the first process of a PID namespace cannot send to itself.

    In seccomp's strict mode the kernel kills the process at its next call (seccomp(2)).
    """
    try:
        process.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_STRICT)
    except OSError:
        pass  # a filter is in force already: this is no container's first process
    os.kill(os.getpid(), signal.SIGKILL)


def _arm_calls(faults: dict[str, Fault]) -> None:
    original = Calls.add

    def add(calls: Calls, name: str, *arguments: int, **keywords: Any) -> None:
        # Helpers of the launcher's confine themselves by calls of their own.
        phases = {keywords["phase"], *(label[1] for label in calls._labels)}
        fault = None if phases & HELPERS else faults.get(name)
        if fault is not None and fault.due():
            _spoil(calls, name, fault, original, keywords["phase"])
        original(calls, name, *arguments, **keywords)

    Calls.add = add  # type: ignore[method-assign, assignment]  # what a failpoint is


def _spoil(calls: Calls, name: str, fault: Fault, add: Any, phase: str) -> None:
    """Put calls before the one that is to fail, so that the kernel makes it fail."""
    if fault.kind == "raise":
        raise RuntimeError(f"failpoint {fault.name}")
    if fault.kind == "hang":
        duration = struct.pack("qq", int(fault.seconds), int(fault.seconds % 1 * 1e9))
        add(calls, "clock_nanosleep", 1, 0, calls.buffer(duration), 0, phase=phase)
    else:
        number = numbers(os.uname().machine)[name]
        # Strict mode is not to be had once a filter is there: this death is by SIGSYS.
        answer = _RET_KILL_PROCESS if fault.kind == "kill" else _RET_ERRNO | fault.errno
        # The status pipe is written, too: only the one byte for a cgroup's file is meant.
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (_LOAD, 0, 0, 0),  # struct seccomp_data: the number comes first
                (_JUMP_IF_EQUAL, 0, 3 if name == "write" else 1, number),
                *(((_LOAD, 0, 0, 32), (_JUMP_IF_EQUAL, 0, 1, 1)) if name == "write" else ()),
                (_RETURN, 0, 0, answer),
                (_RETURN, 0, 0, _RET_ALLOW),
            )
        )
        add(calls, "prctl", process.PR_SET_NO_NEW_PRIVS, 1, phase=phase)
        fprog = calls.buffer(struct.pack("H6xQ", len(program) // 8, calls.buffer(program)))
        add(calls, "seccomp", _SET_MODE_FILTER, 0, fprog, phase=phase)
