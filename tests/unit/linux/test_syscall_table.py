from __future__ import annotations

import pytest

from gocker.linux import syscall_table


@pytest.mark.parametrize("machine", sorted(syscall_table.NATIVE_ARCH))
def test_every_number_is_used_once(machine: str) -> None:
    numbers = syscall_table.numbers(machine)
    assert len(set(numbers.values())) == len(numbers)


def test_the_architectures_share_what_came_after_linux_5_1() -> None:
    tables = [syscall_table.numbers(machine) for machine in ("x86_64", "aarch64")]
    later = [{name: n for name, n in table.items() if n >= 424} for table in tables]
    assert later[0] == later[1]
    assert later[0]["file_setattr"] == max(later[0].values()) == 469
    assert sorted(later[0].values()) == list(range(424, 470))


@pytest.mark.parametrize(
    ("machine", "name", "number"),
    [
        ("x86_64", "read", 0), ("x86_64", "seccomp", 317), ("x86_64", "clone3", 435),
        ("aarch64", "read", 63), ("aarch64", "seccomp", 277), ("aarch64", "newfstatat", 79),
    ],
)  # fmt: skip
def test_known_numbers(machine: str, name: str, number: int) -> None:
    assert syscall_table.numbers(machine)[name] == number


def test_no_architecture_stands_in_for_another() -> None:
    with pytest.raises(KeyError):
        syscall_table.numbers("riscv64")
