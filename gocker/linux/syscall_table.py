"""Architectures as seccomp(2) sees them, and the way to their system call numbers.

The tables have a module each: a process loads only its own, and only to compile a filter.
"""

from __future__ import annotations

# include/uapi/linux/audit.h: ELF machine, __AUDIT_ARCH_64BIT and __AUDIT_ARCH_LE.
AUDIT_ARCH = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
}
# What a machine runs besides its own, if a profile lists it; refused otherwise: through the
# numbers of i386, `socketcall` evades rules for `socket`.
COMPAT_ARCH = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_ARM": 0x40000028,
    # x32 has the architecture of x86_64 and a bit in the number.
    "SCMP_ARCH_X32": 0xC000003E,
}
# Of a machine (uname(2)): architectures whose calls it takes, too, and their tables.
COMPAT_OF = {
    "x86_64": {"SCMP_ARCH_X86": "x86", "SCMP_ARCH_X32": "x32"},
    "aarch64": {"SCMP_ARCH_ARM": "arm"},
}
# Known to libseccomp; no call of theirs is ever made on the machines above.
FOREIGN_ARCH = frozenset(
    f"SCMP_ARCH_{name}"
    for name in (
        "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64",
        "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH",
        "SHEB",
    )
)  # fmt: skip
X32_SYSCALL_BIT = 0x40000000  # arch/x86/include/uapi/asm/unistd.h

# uname(2) machine -> OCI's name of the architecture.
NATIVE_ARCH = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def numbers(machine: str) -> dict[str, int]:
    """Return the system call numbers of a machine (uname(2)) by name; also of x86, x32, arm.

    Raises:
        KeyError: if there is no table. No other architecture's table may stand in for it.
    """
    if machine == "x86_64":
        from gocker.linux.syscall_table_x86_64 import NUMBERS
    elif machine == "aarch64":
        from gocker.linux.syscall_table_aarch64 import NUMBERS
    elif machine == "x86":
        from gocker.linux.syscall_table_x86 import NUMBERS
    elif machine == "x32":
        from gocker.linux.syscall_table_x32 import NUMBERS
    elif machine == "arm":
        from gocker.linux.syscall_table_arm import NUMBERS
    else:
        raise KeyError(machine)
    return NUMBERS
