"""The rules of linux.resources.devices, in a form that both drivers can enforce.

Source: OCI config-linux.md "Allowed Device list"; cgroup-v1/devices.rst.
"""

from __future__ import annotations

from collections import namedtuple

from gocker.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

Rule = namedtuple("Rule", "allow type major minor access")
Rule.__doc__ = (
    """One rule: type ``a``, ``b`` or ``c``; major and minor -1 for any; access sorted."""
)

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
    return rule[1:] == ("a", ANY, ANY, _ACCESS)


def allow_list(rules: list[Rule]) -> list[Rule] | None:
    """Return the rules as a list of allowed devices on top of "deny all"; None: all allowed.

    cgroup v1 holds a default and exceptions to it, so not every order of rules can be kept: a
    denial inside a wider permission has no form there, and its write would have no effect.

    Raises:
        ConfigError: for such a list.
    """
    everything, allowed = True, dict[tuple[str, int, int], str]()
    for rule in rules:
        if is_everything(rule):
            everything, allowed = rule.allow, {}
            continue
        if everything:
            if rule.allow:
                continue
            raise ConfigError(
                f"device rule {text(rule)!r} denies before any rule denied everything",
                hint='begin with {"allow": false, "access": "rwm"} and list what is allowed',
            )
        for kind in ("b", "c") if rule.type == "a" else (rule.type,):
            key = (kind, rule.major, rule.minor)
            old = allowed.get(key, "")
            if rule.allow:
                allowed[key] = _sorted(old + rule.access)
                continue
            _check_denial(rule, key, allowed)
            allowed[key] = "".join(letter for letter in old if letter not in rule.access)
    if everything:
        return None
    return [Rule(True, *key, access) for key, access in allowed.items() if access]


def _check_denial(
    rule: Rule, key: tuple[str, int, int], allowed: dict[tuple[str, int, int], str]
) -> None:
    """Refuse a denial that overlaps with a permission of another extent."""
    kind, major, minor = key
    for other, access in allowed.items():
        if other == key or other[0] != kind or not set(access) & set(rule.access):
            continue
        if _overlap(major, other[1]) and _overlap(minor, other[2]):
            raise ConfigError(
                f"device rule {text(rule)!r} denies a part of what an earlier rule allows",
                hint="cgroup v1 cannot express it: list only what is allowed",
            )


def _overlap(one: int, other: int) -> bool:
    return one == other or ANY in (one, other)


def text(rule: Rule) -> str:
    """Return the kernel's form: ``c 1:3 rwm``, ``b *:* m``."""
    major = "*" if rule.major == ANY else rule.major
    minor = "*" if rule.minor == ANY else rule.minor
    return f"{rule.type} {major}:{minor} {rule.access}"
