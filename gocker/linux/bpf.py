"""bpf(2), as far as device rules of cgroup v2 need it: load, attach, list and detach a program.

Source: bpf(2), include/uapi/linux/bpf.h (union bpf_attr).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from gocker.errors import SyscallError

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2

# arch/*/entry/syscalls; 280 is asm-generic's, for every newer architecture.
_NUMBERS = {
    "x86_64": 321, "i686": 357, "armv7l": 386, "ppc64le": 361, "s390x": 351,
    "aarch64": 280, "riscv64": 280, "loongarch64": 280,
}  # fmt: skip
_MAX_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS in include/linux/bpf-cgroup.h

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong]


def _bpf(command: int, name: str, attr: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:  # never another architecture's number: it is some other call
        raise SyscallError("bpf", errno.ENOSYS, None, command=name)
    result = int(_syscall(number, command, ctypes.addressof(attr), len(attr)))
    if result < 0:
        raise SyscallError("bpf", ctypes.get_errno(), None, command=name)
    return result


def _attr(layout: str, *fields: int) -> ctypes.Array[ctypes.c_char]:
    data = struct.pack(layout, *fields)
    return ctypes.create_string_buffer(data, len(data))


def prog_load(prog_type: int, instructions: bytes) -> int:
    """Load a program; return its descriptor, which the kernel makes close-on-exec.

    Args:
        prog_type: BPF_PROG_TYPE_*.
        instructions: of 8 bytes each, struct bpf_insn.

    Raises:
        SyscallError: EPERM without CAP_BPF and what the type asks for; EACCES or EINVAL from the
            verifier.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    # Helpers marked GPL-only are not called, so the licence is our own.
    licence = ctypes.create_string_buffer(b"MIT")
    attr = _attr(
        "=IIQQIIQII", prog_type, len(instructions) // 8, ctypes.addressof(code),
        ctypes.addressof(licence), 0, 0, 0, 0, 0,
    )  # fmt: skip
    return _bpf(BPF_PROG_LOAD, "BPF_PROG_LOAD", attr)


def prog_attach(target_fd: int, prog_fd: int, attach_type: int, flags: int) -> None:
    """Attach a program to a cgroup, `target_fd` a descriptor of its directory (not O_PATH)."""
    attr = _attr("=IIII", target_fd, prog_fd, attach_type, flags)
    _bpf(BPF_PROG_ATTACH, "BPF_PROG_ATTACH", attr)


def prog_detach(target_fd: int, prog_fd: int, attach_type: int) -> None:
    """Detach a program from a cgroup."""
    attr = _attr("=IIII", target_fd, prog_fd, attach_type, 0)
    _bpf(BPF_PROG_DETACH, "BPF_PROG_DETACH", attr)


def prog_query(target_fd: int, attach_type: int) -> list[int]:
    """Return the ids of the programs attached to a cgroup itself."""
    ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attr = _attr("=IIIIQI4x", target_fd, attach_type, 0, 0, ctypes.addressof(ids), _MAX_PROGRAMS)
    _bpf(BPF_PROG_QUERY, "BPF_PROG_QUERY", attr)
    (count,) = struct.unpack_from("=I", attr.raw, 24)
    return list(ids[:count])


def prog_get_fd_by_id(program_id: int) -> int:
    """Return a descriptor, close-on-exec, of a loaded program.

    Raises:
        SyscallError: ENOENT if it is gone; EPERM without CAP_SYS_ADMIN.
    """
    return _bpf(BPF_PROG_GET_FD_BY_ID, "BPF_PROG_GET_FD_BY_ID", _attr("=III", program_id, 0, 0))
