"""Device rules of cgroup v2: a small eBPF program instead of a file. Pure.

The kernel runs it on each open and mknod of a device; 1 allows, 0 is EPERM.
Source: cgroup-v2.rst "Device controller"; struct bpf_cgroup_dev_ctx in include/uapi/linux/bpf.h;
Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import struct

from gocker.cgroup.devices import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.cgroup.devices import Rule

# access_type is (access << 16) | type: BPF_DEVCG_DEV_*, BPF_DEVCG_ACC_*.
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}

_LDX_W = 0x61  # dst = *(u32 *)(src + offset)
_AND_K = 0x54  # 32-bit
_RSH_K = 0x74
_MOV_K = 0xB7
_MOV_X = 0xBF
_JEQ_K = 0x15
_JNE_K = 0x55  # if dst != imm: pc += offset
_EXIT = 0x95

# Registers: 0 result, 1 context, 2 type, 3 access, 4 major, 5 minor, 6 scratch.


def _instruction(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    # struct bpf_insn has the register nibbles in the byte order of the machine.
    registers = dst | src << 4 if _LITTLE else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, imm)


_LITTLE = struct.pack("=H", 1) == b"\x01\x00"


def build(exceptions: list[Rule], *, everything: bool = False) -> bytes:
    """Return the instructions that allow these devices and deny all others.

    With `everything` the other way round: all are allowed but these.
    """
    code = [
        _instruction(_LDX_W, 2, 1, 0),
        _instruction(_AND_K, 2, imm=0xFFFF),
        _instruction(_LDX_W, 3, 1, 0),
        _instruction(_RSH_K, 3, imm=16),
        _instruction(_LDX_W, 4, 1, 4),
        _instruction(_LDX_W, 5, 1, 8),
    ]
    for rule in exceptions:
        code += _block(rule)
    result = _instruction(_MOV_K, 0, imm=int(everything))
    return b"".join([*code, result, _instruction(_EXIT)])


def _block(rule: Rule) -> list[bytes]:
    """Return a test that leaves with the rule's word if it holds, or goes on behind it."""
    # Instructions before a comparison, the one that goes on, its register and value.
    tests: list[tuple[list[bytes], int, int, int]] = [([], _JNE_K, 2, _TYPES[rule.type])]
    mask = sum(_ACCESS[letter] for letter in rule.access)
    if mask != 7:
        # All of what is asked for has to be in what is allowed: O_RDWR asks for both. One of it
        # is enough for a denial.
        bits, jump = (7 & ~mask, _JNE_K) if rule.allow else (mask, _JEQ_K)
        masked = [_instruction(_MOV_X, 6, 3), _instruction(_AND_K, 6, imm=bits)]
        tests.append((masked, jump, 6, 0))
    if rule.major != ANY:
        tests.append(([], _JNE_K, 4, rule.major))
    if rule.minor != ANY:
        tests.append(([], _JNE_K, 5, rule.minor))
    length = sum(len(before) + 1 for before, *_ in tests) + 2
    block: list[bytes] = []
    for before, jump, register, value in tests:
        block += before
        # Relative to the next instruction.
        block.append(_instruction(jump, register, offset=length - len(block) - 1, imm=value))
    return [*block, _instruction(_MOV_K, 0, imm=int(rule.allow)), _instruction(_EXIT)]
