"""The rules of linux.resources.devices, in a form that both drivers can enforce.

Source: OCI config-linux.md "Allowed Device list"; cgroup-v1/devices.rst.
"""

from __future__ import annotations

from gocker.errors import ConfigError
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: type ``a``, ``b`` or ``c``; major and minor -1 for any; access sorted."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


ANY = -1
_ACCESS = "rwm"


def parse(rules: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Return OCI rules as `Rule`s.

    Raises:
        ConfigError: for an unknown type or access letter.
    """
    parsed = []
    for index, rule in enumerate(rules):
        kind = rule.get("type") or "a"
        access = rule.get("access") or _ACCESS
        where = f"linux.resources.devices[{index}]"
        if kind not in ("a", "b", "c", "u", "p"):
            raise ConfigError(f"{where}: unknown type {kind!r}", hint="use a, b or c")
        if set(access) - set(_ACCESS):
            raise ConfigError(f"{where}: unknown access {access!r}", hint="use letters of rwm")
        # mknod(1) calls an unbuffered character device u; a FIFO (p) is no device at all.
        kind = {"u": "c", "p": None}.get(kind, kind)
        if kind is None:
            raise ConfigError(f"{where}: a FIFO is not a device", hint="use a, b or c")
        major, minor = (_number(rule.get(key), where, key) for key in ("major", "minor"))
        parsed.append(Rule(bool(rule["allow"]), kind, major, minor, _sorted(access)))
    return parsed


def _number(value: Any, where: str, key: str) -> int:
    if value is None or value == ANY:
        return ANY
    if isinstance(value, int) and value >= 0:
        return value
    raise ConfigError(f"{where}.{key}: {value!r} is not a device number")


def _sorted(access: str) -> str:
    return "".join(letter for letter in _ACCESS if letter in access)


def is_everything(rule: Rule) -> bool:
    """Return whether a rule speaks of every device and access."""
    return (rule.type, rule.major, rule.minor, rule.access) == ("a", ANY, ANY, _ACCESS)


def lists(rules: list[Rule]) -> tuple[bool, list[Rule]]:
    """Return whether all is allowed, and the exceptions to it: the form that v1 has.

    A rule for everything sets the default and forgets the exceptions. Not every order of rules
    can be kept: a rule that takes back a part of an earlier exception has no form here, and its
    write would have no effect.

    Raises:
        ConfigError: for such a list.
    """
    everything, exceptions = True, dict[tuple[str, int, int], str]()
    for rule in rules:
        if is_everything(rule):
            everything, exceptions = rule.allow, {}
            continue
        for kind in ("b", "c") if rule.type == "a" else (rule.type,):
            key = (kind, rule.major, rule.minor)
            old = exceptions.get(key, "")
            if rule.allow != everything:
                exceptions[key] = _sorted(old + rule.access)
                continue
            _check_taking_back(rule, key, exceptions)
            exceptions[key] = "".join(letter for letter in old if letter not in rule.access)
    found = [Rule(not everything, *key, access) for key, access in exceptions.items() if access]
    return everything, found


def _check_taking_back(
    rule: Rule, key: tuple[str, int, int], exceptions: dict[tuple[str, int, int], str]
) -> None:
    """Refuse a rule that overlaps with an exception of another extent."""
    kind, major, minor = key
    for other, access in exceptions.items():
        if other == key or other[0] != kind or not set(access) & set(rule.access):
            continue
        if _overlap(major, other[1]) and _overlap(minor, other[2]):
            raise ConfigError(
                f"device rule {text(rule)!r} takes back a part of an earlier rule",
                hint="cgroup v1 cannot express it: list only what is allowed",
            )


def _overlap(one: int, other: int) -> bool:
    return one == other or ANY in (one, other)


def text(rule: Rule) -> str:
    """Return the kernel's form: ``c 1:3 rwm``, ``b *:* m``."""
    major = "*" if rule.major == ANY else rule.major
    minor = "*" if rule.minor == ANY else rule.minor
    return f"{rule.type} {major}:{minor} {rule.access}"
