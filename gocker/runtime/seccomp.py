"""OCI `linux.seccomp` to a classic BPF program.

The program looks the system call number up by binary search, so a call costs about eight
compares however long the profile is, and an answer that no argument decides uses only the
instructions that the kernel's bitmap of always-allowed calls understands (Linux 5.11: such
calls then skip the filter altogether).

Of several rules for one system call the first that matches wins (libseccomp has an order of its
own where rules with different answers overlap); the arguments of a rule are ANDed. As in runc
and crun, a rule that tests one argument twice is an OR of its tests.
Source: config-linux.md "Seccomp"; seccomp(2); Documentation/userspace-api/seccomp_filter.rst;
include/uapi/linux/{seccomp,filter,bpf_common}.h.
"""

from __future__ import annotations

import os

from gocker import jsontext
from gocker.errors import ConfigError
from gocker.linux import syscall_table
from gocker.linux.seccomp import NEW_LISTENER
from gocker.runtime import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker import oci

# include/uapi/linux/seccomp.h, SECCOMP_RET_*.
RET_KILL_PROCESS = 0x80000000
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_MAX_ERRNO = 4095
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_WAIT_KILLABLE = 32
_OPERATORS = {
    f"SCMP_CMP_{name}": name for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
}
_WORD64 = 0xFFFFFFFFFFFFFFFF
_PERMISSIVE = frozenset((0x7FFC0000, 0x7FFF0000))
_SOCKETCALL = """
    socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom
    shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg
"""  # include/uapi/linux/net.h, from 1 on
_IPC = {
    "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12,
    "msgget": 13, "msgctl": 14, "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
}  # fmt: skip  # include/uapi/linux/ipc.h
# Calls of i386 that can be made through another one: its name, and its first argument then.
MUXED = {
    **{name: ("socketcall", number) for number, name in enumerate(_SOCKETCALL.split(), 1)},
    **{name: ("ipc", number) for name, number in _IPC.items()},
}


def cache_key(seccomp: oci.Seccomp, machine: str | None = None) -> str:
    """Return a text that is equal for equal profiles of one machine, and for no others."""
    machine = machine or os.uname().machine
    return machine + jsontext.dumps(seccomp, sort_keys=True)


def known() -> dict[str, list[str]]:
    """Return the names of actions, operators and flags, by their properties in features.md."""
    flags = sorted(_FLAGS)
    return {
        "actions": sorted(_ACTIONS), "operators": sorted(_OPERATORS), "knownFlags": flags,
        "supportedFlags": flags,
    }  # fmt: skip


def program(
    seccomp: oci.Seccomp, machine: str | None = None, foreign: int = RET_KILL_PROCESS
) -> tuple[bytes, int]:
    """Return an array of struct sock_filter and the flags for seccomp(2).

    Calls of an architecture other than the machine's own, x32 among them, get `foreign`:
    a SECCOMP_RET_ value, libseccomp's choice by default.

    Raises:
        ConfigError: an action, operator, flag or architecture that is unknown or unsupported,
            a machine without a table, or more than 4096 instructions.
    """
    machine = machine or os.uname().machine
    if machine not in syscall_table.NATIVE_ARCH:
        raise _error(f"seccomp: no system call table for {machine!r}")
    listed = seccomp.get("architectures") or []
    _check_architectures(listed)
    numbers = syscall_table.numbers(machine)
    others = {
        name: syscall_table.numbers(table)
        for name, table in syscall_table.COMPAT_OF[machine].items()
        if name in listed
    }
    x32 = others.pop("SCMP_ARCH_X32", None)
    native_leaves = _leaves(seccomp, numbers)
    if x32 is not None:
        shifted = {name: n | syscall_table.X32_SYSCALL_BIT for name, n in x32.items()}
        native_leaves |= _leaves(seccomp, shifted)
    assembler = bpf.Assembler()
    intervals = _intervals(native_leaves, machine, foreign, x32=x32 is not None)
    native = assembler.load(bpf.NR, assembler.search(intervals))
    otherwise = assembler.answer(foreign)
    for name, table in others.items():
        leaves = _leaves(seccomp, table, muxed=name == "SCMP_ARCH_X86")
        found = assembler.load(bpf.NR, assembler.search(_intervals(leaves, name, foreign)))
        audit = syscall_table.COMPAT_ARCH[name]
        otherwise = assembler.jump(bpf.JEQ, audit, found, otherwise)
    arch = syscall_table.AUDIT_ARCH[syscall_table.NATIVE_ARCH[machine]]
    start = assembler.jump(bpf.JEQ, arch, native, otherwise)
    assembler.load(bpf.ARCH, start)
    code = assembler.assemble()
    if len(code) > 8 * bpf.BPF_MAXINSNS:
        raise _error(f"seccomp: {len(code) // 8} instructions, the kernel takes 4096")
    return code, _flags(seccomp)


def _error(message: str) -> ConfigError:
    return ConfigError(message, phase="seccomp")


def _check_architectures(names: Iterable[str]) -> None:
    """Refuse unknown names. The native one is always filtered, a compat one always refused."""
    for name in names:
        known = (syscall_table.AUDIT_ARCH, syscall_table.COMPAT_ARCH, syscall_table.FOREIGN_ARCH)
        if not any(name in names for names in known):
            raise _error(f"seccomp: unknown architecture {name!r}")


def _flags(seccomp: oci.Seccomp) -> int:
    flags = _FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]
    for name in seccomp.get("flags") or []:
        if name not in _FLAGS:
            raise _error(f"seccomp: unsupported flag {name!r}")
        flags |= _FLAGS[name]
    if notifies(seccomp):
        # Of the one thread there is; with a listener TSYNC would have another result.
        flags = flags & ~_FLAGS["SECCOMP_FILTER_FLAG_TSYNC"] | NEW_LISTENER
    elif flags & _WAIT_KILLABLE:
        raise _error("seccomp: WAIT_KILLABLE_RECV without a rule SCMP_ACT_NOTIFY")
    return flags


def notifies(seccomp: oci.Seccomp) -> bool:
    """Return whether another process is to be asked about calls.

    Raises:
        ConfigError: without a socket for it, or about calls that the set-up itself makes.
    """
    rules = [rule for rule in seccomp.get("syscalls") or [] if rule["action"] == "SCMP_ACT_NOTIFY"]
    if seccomp["defaultAction"] == "SCMP_ACT_NOTIFY":
        raise _error("seccomp: SCMP_ACT_NOTIFY cannot be the default: it would ask about write")
    if any("write" in rule["names"] for rule in rules):
        raise _error("seccomp: SCMP_ACT_NOTIFY cannot be used for write, with which we ask")
    if rules and not seccomp.get("listenerPath"):
        raise _error("seccomp: SCMP_ACT_NOTIFY needs listenerPath")
    return bool(rules)


def _action(name: str, errno: int | None, where: str) -> int:
    """Return the SECCOMP_RET_ value, with EPERM where an errno is possible and none given."""
    if name not in _ACTIONS:
        raise _error(f"seccomp: unsupported action {name!r} ({where})")
    if name not in _WITH_ERRNO:
        # config-linux.md: "When the action doesn't support an errno, the runtime MUST print
        # and error and fail." Zero is what encoders write for "not set".
        if errno:
            raise _error(f"seccomp: {name} takes no errno, {errno} given ({where})")
        return _ACTIONS[name]
    errno = 1 if errno is None else errno
    if not 0 <= errno <= _MAX_ERRNO:
        raise _error(f"seccomp: errno {errno} is not in 0..4095 ({where})")
    return _ACTIONS[name] | errno


def _leaves(
    seccomp: oci.Seccomp, numbers: dict[str, int], *, muxed: bool = False
) -> dict[int, bpf.Leaf]:
    """Return what to answer per system call number; -1 holds the answer to all others.

    A name that this architecture does not have is skipped, as libseccomp does.
    """
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"), "default")
    rules: dict[int, list[tuple[tuple[bpf.Test, ...], int]]] = {}
    for rule in seccomp.get("syscalls") or []:
        where = rule["names"][0] if rule["names"] else "no name"
        action = _action(rule["action"], rule.get("errnoRet"), where)
        alternatives = [(tests, action) for tests in _alternatives(rule, where)]
        for name in rule["names"]:
            if name in numbers:
                rules.setdefault(numbers[name], []).extend(alternatives)
            if muxed and name in MUXED:
                through, which = MUXED[name]
                if not rule.get("args"):
                    test = (0, "EQ", which, _WORD64)
                    rules.setdefault(numbers[through], []).append(((test,), action))
                elif action not in _PERMISSIVE:
                    # The arguments are in memory: what may be refused is.
                    test = (0, "EQ", which, _WORD64)
                    rules.setdefault(numbers[through], []).append(((test,), action))
    leaves: dict[int, bpf.Leaf] = {-1: (((), default),)}
    for number, entries in rules.items():
        end = next((i for i, (tests, _) in enumerate(entries) if not tests), len(entries))
        leaves[number] = (*entries[:end], entries[end] if end < len(entries) else ((), default))
    return leaves


def _alternatives(rule: oci.SeccompRule, where: str) -> list[tuple[bpf.Test, ...]]:
    """Return the conjunctions of tests that a rule is the OR of; an empty one always holds."""
    args = rule.get("args") or []
    tests = [_test(arg, where) for arg in args]
    if len({arg["index"] for arg in args}) < len(args):
        return [() if _always(test) else (test,) for test in tests]
    return [tuple(test for test in tests if not _always(test))]


def _always(test: bpf.Test) -> bool:
    _, operator, value, mask = test
    return not mask or (operator == "GE" and not value)


def _test(arg: oci.SeccompArg, where: str) -> bpf.Test:
    """Return a test; for MASKED_EQ `value` is the mask and `valueTwo` what to compare with."""
    operator = _OPERATORS.get(arg["op"])
    value, other = arg["value"], arg.get("valueTwo", 0)
    if operator is None:
        raise _error(f"seccomp: unknown operator {arg['op']!r} ({where})")
    if not (0 <= arg["index"] <= 5 and 0 <= value <= _WORD64 and 0 <= other <= _WORD64):
        raise _error(f"seccomp: argument out of range: {arg} ({where})")
    if operator == "MASKED_EQ":
        return arg["index"], "EQ", value & other, value
    return arg["index"], operator, value, _WORD64


def _intervals(
    leaves: dict[int, bpf.Leaf], machine: str, foreign: int, *, x32: bool = False
) -> list[tuple[int, bpf.Leaf]]:
    """Return the numbers from 0 to 2**32-1 as intervals of one leaf, each by its first number."""
    default = leaves.pop(-1)
    points = dict(leaves)
    for number in leaves:
        points.setdefault(number + 1, default)
    points.setdefault(0, default)
    if machine == "x86_64":
        if x32:
            points.setdefault(syscall_table.X32_SYSCALL_BIT, default)
        else:
            points[syscall_table.X32_SYSCALL_BIT] = (((), foreign),)
        # A tracer's "skip this call" is the number -1: no x32 call (as libseccomp 2.5 has it).
        points[0xFFFFFFFF] = default
    intervals: list[tuple[int, bpf.Leaf]] = []
    for number in sorted(points):
        if not intervals or intervals[-1][1] != points[number]:
            intervals.append((number, points[number]))
    return intervals
