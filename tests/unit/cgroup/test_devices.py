from __future__ import annotations

import struct
from typing import Any

import pytest

from gocker.cgroup import device_program, devices, v1_limits
from gocker.errors import ConfigError

DENY_ALL = {"allow": False, "access": "rwm"}


def rule(allow: bool, text: str) -> dict[str, Any]:
    kind, numbers, access = text.split()
    major, minor = (None if part == "*" else int(part) for part in numbers.split(":"))
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def allowed(*rules: dict[str, Any]) -> list[str] | None:
    everything, exceptions = devices.lists(devices.parse(rules))
    if everything:
        assert exceptions == []
        return None
    return [devices.text(entry) for entry in exceptions]


def test_no_access_and_no_numbers_mean_all() -> None:
    assert allowed(DENY_ALL, {"allow": True, "type": "c"}) == ["c *:* rwm"]


def test_access_of_equal_devices_is_merged() -> None:
    assert allowed(DENY_ALL, rule(True, "c 1:3 w"), rule(True, "c 1:3 r")) == ["c 1:3 rw"]


def test_a_denial_of_the_same_device_takes_access_away() -> None:
    assert allowed(DENY_ALL, rule(True, "c 1:3 rwm"), rule(False, "c 1:3 m")) == ["c 1:3 rw"]


def test_deny_all_forgets_what_was_before() -> None:
    assert allowed(rule(True, "c 1:3 r"), DENY_ALL, rule(True, "b *:* m")) == ["b *:* m"]


def test_type_a_is_both_types() -> None:
    assert allowed(DENY_ALL, rule(True, "a 7:* rw")) == ["b 7:* rw", "c 7:* rw"]


def test_everything_allowed() -> None:
    assert allowed({"allow": True}) is None
    assert allowed(DENY_ALL, {"allow": True}) is None


@pytest.mark.parametrize(
    "rules",
    [
        [DENY_ALL, rule(True, "c *:* m"), rule(False, "c 1:3 m")],
        [DENY_ALL, rule(True, "c 1:3 r"), rule(False, "c 1:* r")],
        [rule(False, "c 1:3 rw"), rule(True, "c 1:* r")],
    ],
)
def test_rules_without_a_form_are_refused(rules: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError):
        devices.lists(devices.parse(rules))


def test_denials_of_single_devices_leave_all_others() -> None:
    rules = devices.parse([rule(False, "c 1:3 rw"), rule(False, "b 8:* w"), rule(True, "c 1:3 w")])
    everything, exceptions = devices.lists(rules)
    assert (everything, [devices.text(each) for each in exceptions]) == (
        True, ["c 1:3 r", "b 8:* w"],
    )  # fmt: skip
    assert v1_limits.device_writes(rules) == [
        ("devices.allow", "a"), ("devices.deny", "c 1:3 r"), ("devices.deny", "b 8:* w"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bad", [{"type": "x"}, {"type": "p"}, {"access": "rx"}, {"type": "c", "major": -2}]
)
def test_a_rule_that_is_none_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"devices\[0\]"):
        devices.parse([{"allow": True, **bad}])


def test_v1_denies_all_and_then_allows() -> None:
    rules = devices.parse([DENY_ALL, rule(True, "c 1:3 rwm")])
    assert v1_limits.device_writes(rules) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
    ]


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Interpret the instructions that device_program uses, as the kernel would."""
    context = {0: access << 16 | kind, 4: major, 8: minor}
    registers = [0] * 11
    pc = 0
    while True:
        opcode, pair, offset, imm = struct.unpack_from("<BBhi", program, pc * 8)
        dst, src = pair & 15, pair >> 4
        pc += 1
        if opcode == 0x61:
            registers[dst] = context[offset]
        elif opcode == 0x54:
            registers[dst] &= imm
        elif opcode == 0x74:
            registers[dst] >>= imm
        elif opcode == 0xB7:
            registers[dst] = imm
        elif opcode == 0xBF:
            registers[dst] = registers[src]
        elif opcode == 0x55:
            pc += offset if registers[dst] != imm else 0
        elif opcode == 0x15:
            pc += offset if registers[dst] == imm else 0
        else:
            assert opcode == 0x95
            return registers[0]


BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4


@pytest.mark.parametrize(
    ("kind", "access", "major", "minor", "verdict"),
    [
        (CHAR, READ | WRITE, 1, 3, 1),
        (CHAR, MKNOD, 1, 3, 1),
        (CHAR, READ, 1, 5, 1),
        (CHAR, WRITE, 1, 5, 0),
        (CHAR, READ | WRITE, 1, 5, 0),
        (CHAR, READ, 1, 8, 0),
        (CHAR, WRITE, 136, 77, 1),
        (BLOCK, READ, 1, 3, 0),
        (BLOCK, MKNOD, 8, 0, 1),
        (BLOCK, READ, 8, 0, 0),
    ],
)
@pytest.mark.skipif(struct.pack("=H", 1) != b"\x01\x00", reason="the interpreter is little-endian")
def test_the_program_decides(kind: int, access: int, major: int, minor: int, verdict: int) -> None:
    texts = ("c 1:3 rwm", "c 1:5 r", "c 136:* rwm", "b *:* m")
    rules = devices.parse([DENY_ALL, *(rule(True, text) for text in texts)])
    everything, listed = devices.lists(rules)
    assert not everything
    assert run(device_program.build(listed), kind, access, major, minor) == verdict


@pytest.mark.parametrize(
    ("kind", "access", "major", "minor", "verdict"),
    [
        (CHAR, READ, 1, 3, 1),
        (CHAR, WRITE, 1, 3, 0),
        (CHAR, READ | WRITE, 1, 3, 0),
        (CHAR, WRITE, 1, 5, 1),
        (BLOCK, READ, 8, 7, 0),
        (BLOCK, READ, 9, 7, 1),
    ],
)
@pytest.mark.skipif(struct.pack("=H", 1) != b"\x01\x00", reason="the interpreter is little-endian")
def test_the_program_denies(kind: int, access: int, major: int, minor: int, verdict: int) -> None:
    everything, listed = devices.lists(
        devices.parse([rule(False, "c 1:3 w"), rule(False, "b 8:* rwm")])
    )
    program = device_program.build(listed, everything=everything)
    assert run(program, kind, access, major, minor) == verdict
