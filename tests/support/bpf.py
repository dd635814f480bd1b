"""The kernel's view of a seccomp filter: its checks, and its interpreter as a pure function.

Source: kernel/seccomp.c (seccomp_check_filter), net/core/filter.c (bpf_check_classic).
"""

from __future__ import annotations

import struct

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
X86_64 = 0xC000003E
AARCH64 = 0xC00000B7

_LD, _AND, _RET, _JA = 0x20, 0x54, 0x06, 0x05
_COMPARE = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}


def errno(value: int) -> int:
    """Return SECCOMP_RET_ERRNO with a number."""
    return 0x00050000 | value


def run(
    program: bytes, number: int, args: tuple[int, ...] = (), arch: int = X86_64
) -> tuple[int, int]:
    """Return what a filter answers and how many instructions that took."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    position = steps = accumulator = 0
    while True:
        operation, yes, no, k = code[position]
        position += 1
        steps += 1
        if operation == _RET:
            return k, steps
        if operation == _LD:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif operation == _AND:
            accumulator &= k
        elif operation == _JA:
            position += k
        else:
            position += yes if _COMPARE[operation](accumulator, k) else no


def check(program: bytes) -> None:
    """Fail where the kernel would refuse to load the program."""
    code = list(struct.iter_unpack("=HBBI", program))
    assert 0 < len(code) <= 4096
    assert code[-1][0] == _RET
    for position, (operation, yes, no, k) in enumerate(code):
        assert operation in {_LD, _AND, _RET, _JA, *_COMPARE}
        if operation == _LD:
            assert k % 4 == 0
            assert k < 64
        if operation in _COMPARE:
            assert position + 1 + max(yes, no) < len(code)
        if operation == _JA:
            assert position + 1 + k < len(code)
