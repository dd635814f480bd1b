from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gocker import oci
from gocker.errors import ConfigError
from gocker.linux import syscall_table
from gocker.runtime import seccomp
from tests.support import bpf

NUMBERS = syscall_table.numbers("x86_64")
NAMES = ["read", "write", "socket", "ioctl", "clone", "rseq", "pidfd_send_signal", "file_setattr"]
ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
}
# Few values, so that arguments often equal what a rule asks for, in each half of the word.
VALUES = st.sampled_from(
    [high << 32 | low for high in (0, 1, 0xFFFFFFFF) for low in (0, 1, 2, 0x5412, 0xFFFFFFFF)]
)
ARGS = st.fixed_dictionaries(
    {
        "index": st.integers(0, 5),
        "op": st.sampled_from([f"SCMP_CMP_{op}" for op in ("NE", "LT", "LE", "EQ", "GE", "GT")])
        | st.just("SCMP_CMP_MASKED_EQ"),
        "value": VALUES,
        "valueTwo": VALUES,
    }
)
RULES = st.fixed_dictionaries(
    {
        "names": st.lists(st.sampled_from([*NAMES, "no_such_call"]), min_size=1, max_size=3),
        "action": st.sampled_from(sorted(ACTIONS)),
        "args": st.lists(ARGS, max_size=3),
    }
)
PROFILES = st.fixed_dictionaries(
    {"defaultAction": st.sampled_from(sorted(ACTIONS)), "syscalls": st.lists(RULES, max_size=8)}
)


def holds(arg: oci.SeccompArg, actual: int) -> bool:
    value = arg["value"]
    if arg["op"] == "SCMP_CMP_MASKED_EQ":
        return actual & value == arg.get("valueTwo", 0) & value
    return {
        "SCMP_CMP_NE": actual != value,
        "SCMP_CMP_LT": actual < value,
        "SCMP_CMP_LE": actual <= value,
        "SCMP_CMP_EQ": actual == value,
        "SCMP_CMP_GE": actual >= value,
        "SCMP_CMP_GT": actual > value,
    }[arg["op"]]


def answer(action: str) -> int:
    return ACTIONS[action] | (1 if action in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"} else 0)


def expected(profile: oci.Seccomp, name: str, args: tuple[int, ...]) -> int:
    """Evaluate the rules as they are written: the specification of the compiler."""
    for rule in profile["syscalls"]:
        tests = [holds(arg, args[arg["index"]]) for arg in rule.get("args", [])]
        indexes = [arg["index"] for arg in rule.get("args", [])]
        every = len(set(indexes)) == len(indexes)
        if name in rule["names"] and (all(tests) if every else any(tests)):
            return answer(rule["action"])
    return answer(profile["defaultAction"])


@settings(max_examples=400, deadline=None)
@given(PROFILES, st.sampled_from(NAMES), st.tuples(*[VALUES] * 6))
def test_a_program_answers_as_the_rules_are_written(
    profile: oci.Seccomp, name: str, args: tuple[int, ...]
) -> None:
    program, _ = seccomp.program(profile, "x86_64")
    bpf.check(program)
    assert bpf.run(program, NUMBERS[name], args)[0] == expected(profile, name, args)


@settings(max_examples=100, deadline=None)
@given(st.lists(RULES, max_size=4), st.integers(0, 0xFFFFFFFF))
@example([], 0x3FFFFFFF)
@example([], 0x40000000)
@example([], 0xFFFFFFFE)
@example([], 0xFFFFFFFF)
def test_other_numbers_get_the_default_and_x32_is_refused(rules: Any, number: int) -> None:
    profile: oci.Seccomp = {"defaultAction": "SCMP_ACT_LOG", "syscalls": rules}
    program, _ = seccomp.program(profile, "x86_64")
    if number in NUMBERS.values():
        return
    x32 = 0x40000000 <= number < 0xFFFFFFFF
    assert bpf.run(program, number)[0] == (bpf.KILL_PROCESS if x32 else 0x7FFC0000)


def everything(tests: int) -> oci.Seccomp:
    """Return a profile whose program is far longer than a jump's 255 instructions."""
    rules: list[oci.SeccompRule] = []
    for name, number in NUMBERS.items():
        args: list[oci.SeccompArg] = [
            {"index": index, "op": "SCMP_CMP_EQ", "value": number} for index in range(tests)
        ]
        action = "SCMP_ACT_ALLOW" if number % 2 else "SCMP_ACT_LOG"
        rules.append({"names": [name], "action": action, "args": args})
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}


def test_long_programs_jump_right() -> None:
    profile = everything(2)
    program, _ = seccomp.program(profile, "x86_64")
    bpf.check(program)
    assert len(program) > 8 * 2000
    for name, number in NUMBERS.items():
        for args in ((number, number, 0, 0, 0, 0), (number, 0, 0, 0, 0, 0), (0,) * 6):
            assert bpf.run(program, number, args)[0] == expected(profile, name, args)


def test_more_than_4096_instructions_are_refused() -> None:
    with pytest.raises(ConfigError, match="the kernel takes 4096") as error:
        seccomp.program(everything(4), "x86_64")
    assert error.value.context["phase"] == "seccomp"


@pytest.mark.parametrize("arch", [0x40000003, 0x40000028, 0xC00000B7, 0])
def test_an_architecture_that_is_not_listed_is_killed(arch: int) -> None:
    profile: oci.Seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
    }  # fmt: skip
    program, _ = seccomp.program(profile, "x86_64")
    assert bpf.run(program, 39, arch=arch)[0] == bpf.KILL_PROCESS
    assert bpf.run(program, 39)[0] == bpf.ALLOW


def test_the_answer_to_foreign_calls_can_be_an_errno() -> None:
    profile: oci.Seccomp = {"defaultAction": "SCMP_ACT_ALLOW"}
    program, _ = seccomp.program(profile, "x86_64", foreign=bpf.errno(38))
    assert bpf.run(program, 39, arch=0x40000003)[0] == bpf.errno(38)
    assert bpf.run(program, 0x40000000)[0] == bpf.errno(38)


def test_aarch64_has_its_own_numbers_and_no_x32() -> None:
    profile: oci.Seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["getpid", "open"], "action": "SCMP_ACT_ALLOW"}],
    }
    program, _ = seccomp.program(profile, "aarch64")
    allowed = [n for n in range(1100) if bpf.run(program, n, arch=bpf.AARCH64)[0] == bpf.ALLOW]
    assert allowed == [172]
    assert bpf.run(program, 0x40000000, arch=bpf.AARCH64)[0] == bpf.errno(1)
    assert bpf.run(program, 172, arch=bpf.X86_64)[0] == bpf.KILL_PROCESS


def test_errno_values_are_kept() -> None:
    profile: oci.Seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}],
    }
    program, _ = seccomp.program(profile, "x86_64")
    assert bpf.run(program, 0)[0] == bpf.errno(0)
    assert bpf.run(program, 1)[0] == bpf.errno(38)


@pytest.mark.parametrize(
    ("names", "number"),
    [([], 1), (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 7)],
)
def test_flags_become_bits_and_tsync_is_always_set(names: list[str], number: int) -> None:
    profile: oci.Seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "flags": names}
    assert seccomp.program(profile, "x86_64")[1] == number


def rule(**changes: Any) -> dict[str, Any]:
    return {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", **changes}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defaultErrnoRet": 5}, "takes no errno"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "not in 0..4095"),
        ({"architectures": ["SCMP_ARCH_VAX"]}, "unknown architecture 'SCMP_ARCH_VAX'"),
        ({"flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}, "unsupported flag"),
        (rule(action="SCMP_ACT_NOPE"), "unsupported action 'SCMP_ACT_NOPE' .read."),
        (rule(args=[{"index": 0, "value": 1, "op": "EQ"}]), "unknown operator 'EQ'"),
        (rule(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]), "argument out of range"),
        (rule(args=[{"index": 0, "value": 1 << 64, "op": "SCMP_CMP_EQ"}]), "out of range"),
    ],
)
def test_what_cannot_be_honoured_is_refused(change: dict[str, Any], message: str) -> None:
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", **change}
    with pytest.raises(ConfigError, match=message):
        seccomp.program(profile, "x86_64")


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="no system call table for 'riscv64'"):
        seccomp.program({"defaultAction": "SCMP_ACT_ALLOW"}, "riscv64")


def test_cache_keys_differ_by_profile_and_machine_not_by_order_of_keys() -> None:
    one: oci.Seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1}
    same: oci.Seccomp = {"defaultErrnoRet": 1, "defaultAction": "SCMP_ACT_ERRNO"}
    other: oci.Seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 2}
    key = seccomp.cache_key(one, "x86_64")
    assert key == seccomp.cache_key(same, "x86_64")
    assert key != seccomp.cache_key(other, "x86_64")
    assert key != seccomp.cache_key(one, "aarch64")


# -- architectures beside the native one ----------------------------------------------------------

I386, ARM32 = 0x40000003, 0x40000028
X32 = 0x40000000


def listed(*architectures: str, **more: Any) -> oci.Seccomp:
    rules: list[oci.SeccompRule] = [
        {"names": ["read", "socket", "mmap2", "semop"], "action": "SCMP_ACT_ALLOW"}
    ]
    return {"defaultAction": "SCMP_ACT_ERRNO", "architectures": list(architectures),
            "syscalls": rules, **more}  # type: ignore[typeddict-item]  # fmt: skip


def test_calls_of_an_architecture_that_is_listed() -> None:
    program, _ = seccomp.program(listed("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), "x86_64")
    bpf.check(program)
    x86 = syscall_table.numbers("x86")
    answers = {name: bpf.run(program, x86[name], arch=I386)[0]
               for name in ("read", "mmap2", "socket", "write")}  # fmt: skip
    assert answers == {
        "read": bpf.ALLOW, "mmap2": bpf.ALLOW, "socket": bpf.ALLOW, "write": bpf.errno(1),
    }  # fmt: skip
    assert bpf.run(program, NUMBERS["read"])[0] == bpf.ALLOW
    assert bpf.run(program, x86["read"], arch=ARM32)[0] == bpf.KILL_PROCESS
    assert bpf.run(program, X32 | 0)[0] == bpf.KILL_PROCESS


def test_calls_of_i386_through_another_one() -> None:
    program, _ = seccomp.program(listed("SCMP_ARCH_X86"), "x86_64")
    x86 = syscall_table.numbers("x86")
    assert bpf.run(program, x86["socketcall"], (1,), arch=I386)[0] == bpf.ALLOW  # socket
    assert bpf.run(program, x86["socketcall"], (3,), arch=I386)[0] == bpf.errno(1)  # connect
    assert bpf.run(program, x86["ipc"], (1,), arch=I386)[0] == bpf.ALLOW  # semop
    assert bpf.run(program, x86["ipc"], (11,), arch=I386)[0] == bpf.errno(1)


def test_arguments_that_cannot_be_seen_are_refused_rather_than_allowed() -> None:
    profile = listed("SCMP_ARCH_X86")
    family: list[oci.SeccompArg] = [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]
    profile["syscalls"] = [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": family},
        {"names": ["connect"], "action": "SCMP_ACT_KILL", "args": family},
    ]
    program, _ = seccomp.program(profile, "x86_64")
    x86 = syscall_table.numbers("x86")
    assert bpf.run(program, x86["socket"], (2,), arch=I386)[0] == bpf.ALLOW
    assert bpf.run(program, x86["socketcall"], (1,), arch=I386)[0] == bpf.errno(1)
    assert bpf.run(program, x86["socketcall"], (3,), arch=I386)[0] == 0


def test_x32_where_it_is_listed() -> None:
    program, _ = seccomp.program(listed("SCMP_ARCH_X32"), "x86_64")
    bpf.check(program)
    x32 = syscall_table.numbers("x32")
    assert bpf.run(program, X32 | x32["read"])[0] == bpf.ALLOW
    assert bpf.run(program, X32 | x32["write"])[0] == bpf.errno(1)
    assert bpf.run(program, NUMBERS["read"])[0] == bpf.ALLOW
    assert bpf.run(program, 0xFFFFFFFF)[0] == bpf.errno(1)


def test_arm_beside_aarch64() -> None:
    program, _ = seccomp.program(listed("SCMP_ARCH_ARM"), "aarch64")
    arm = syscall_table.numbers("arm")
    assert bpf.run(program, arm["mmap2"], arch=ARM32)[0] == bpf.ALLOW
    assert bpf.run(program, arm["write"], arch=ARM32)[0] == bpf.errno(1)
    assert bpf.run(program, 0, arch=I386)[0] == bpf.KILL_PROCESS


def test_architectures_that_never_run_here_are_taken() -> None:
    program, _ = seccomp.program(listed("SCMP_ARCH_S390X", "SCMP_ARCH_RISCV64"), "x86_64")
    assert bpf.run(program, NUMBERS["read"])[0] == bpf.ALLOW


NOTIFY: oci.SeccompRule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}


def test_a_filter_that_asks() -> None:
    profile = listed(listenerPath="/somewhere", flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    profile["syscalls"] = [NOTIFY]
    program, flags = seccomp.program(profile, "x86_64")
    assert bpf.run(program, NUMBERS["mkdir"])[0] == 0x7FC00000
    assert flags == seccomp.NEW_LISTENER | 32


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"listenerPath": ""}, "needs listenerPath"),
        ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, "write"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "default"),
        ({"syscalls": [], "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, "without a rule"),
    ],
)
def test_asking_that_cannot_be(change: dict[str, Any], word: str) -> None:
    profile = {**listed(listenerPath="/x"), "syscalls": [NOTIFY], **change}
    with pytest.raises(ConfigError, match=word):
        seccomp.program(profile, "x86_64")  # type: ignore[arg-type]  # a profile, changed
