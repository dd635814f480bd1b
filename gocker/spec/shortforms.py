"""Reads the short forms of ports, volumes, devices and commands.

Each function returns plain values in the long form or raises ValueError.
"""

from __future__ import annotations

import posixpath

from gocker.spec.unique import split_spec
from gocker.spec.units import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROTOCOLS = ("tcp", "udp", "sctp")
# Hints for macOS; Linux has one kind of bind mount, and the reference drops them, too.
CONSISTENCIES = ("cached", "delegated", "consistent")
_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


def ports(spec: str) -> list[dict[str, Any]]:
    """Return the ports in ``[ip:][published:]target[/protocol]``, ranges expanded.

    Source: docker/go-connections nat.ParsePortSpec. One target with a range of published ports
    stays one entry with the range as text.
    """
    parts = spec.split(":")
    host_ip, published = ":".join(parts[:-2]), parts[-2] if len(parts) > 1 else ""
    target, _, protocol = parts[-1].partition("/")
    protocol = (protocol.partition("/")[0] or "tcp").lower()
    if not target:
        raise ValueError(f"no port specified in {shorten(spec)}")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid protocol {shorten(protocol)} in port {shorten(spec)}")
    if host_ip.startswith("[") and host_ip.endswith("]"):
        host_ip = host_ip[1:-1]
    if host_ip and not is_ip(host_ip):
        raise ValueError(f"invalid IP address {shorten(host_ip)} in port {shorten(spec)}")
    first, last = _range(target, "container", spec)
    made = {"mode": "ingress", "protocol": protocol}
    if host_ip:
        made["host_ip"] = host_ip
    if not published:
        return [{**made, "target": port} for port in _as_text(first, last)]
    host_first, host_last = _range(published, "host", spec)
    if first == last:
        text = str(host_first) if host_first == host_last else f"{host_first}-{host_last}"
        return [{**made, "target": first, "published": text}]
    if last - first != host_last - host_first:
        raise ValueError(f"ranges of different length in port {shorten(spec)}")
    return [
        {**made, "target": port, "published": str(host_first + port - first)}
        for port in _as_text(first, last)
    ]


def _as_text(first: int, last: int) -> list[int]:
    """Return the ports in the reference's order, which is that of their texts."""
    return sorted(range(first, last + 1), key=str)


def _range(text: str, what: str, spec: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(end.isascii() and end.isdigit() and len(end) < 10 for end in ends):
        raise ValueError(f"invalid {what} port {shorten(text)} in {shorten(spec)}")
    low, high = int(ends[0]), int(ends[1])
    if high > 65535 or high < low:
        raise ValueError(f"{what} port {shorten(text)} is out of range in {shorten(spec)}")
    return low, high


def is_ip(text: str) -> bool:
    """Return whether `text` is an IPv4 or IPv6 address as Go's net.ParseIP reads them."""
    import socket  # rarely needed

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def volume(spec: str) -> dict[str, Any]:
    """Return the mount in ``[source:]target[:options]``.

    A source that starts with ``.``, ``/`` or ``~`` is a path, anything else a volume's name:
    one letter is no Windows drive here, and an unknown option is an error.
    """
    if not spec:
        raise ValueError("empty volume")
    if len(spec.encode()) <= 2:
        return {"type": "volume", "target": posixpath.normpath(spec)}
    parts = split_spec(spec)
    if "" in parts:
        raise ValueError(f"empty section between colons in volume {shorten(spec)}")
    if len(parts) > 3:
        raise ValueError(f"too many colons in volume {shorten(spec)}")
    source = parts[0] if len(parts) > 1 else ""
    made: dict[str, Any] = {"type": "volume"}
    if source:
        made["source"] = source
    made["target"] = clean(parts[1] if source else parts[0])
    if len(parts) == 3:
        _volume_options(parts[2], made, spec)
    if source[:1] in (".", "/", "~") and source:
        made["type"] = "bind"
        made.setdefault("bind", {})["create_host_path"] = True
    else:
        made.setdefault("volume", {})
    return made


def _volume_options(text: str, made: dict[str, Any], spec: str) -> None:
    for option in text.split(","):
        if option in ("ro", "rw"):
            made.pop("read_only", None)
            if option == "ro":
                made["read_only"] = True
        elif option == "nocopy":
            made["volume"] = {"nocopy": True}
        elif option in _PROPAGATIONS:
            made.setdefault("bind", {})["propagation"] = option
        elif option in ("z", "Z"):
            made.setdefault("bind", {})["selinux"] = option
        elif option not in CONSISTENCIES:
            raise ValueError(f"unknown option {shorten(option)} in volume {shorten(spec)}")


def clean(path: str) -> str:
    """Return a path as Go's ``path.Clean``."""
    made = posixpath.normpath(path) if path else "."
    # POSIX lets two leading slashes mean something else; Go and Linux do not.
    return made[1:] if made.startswith("//") else made


def device(spec: str) -> dict[str, Any]:
    """Return the device in ``source[:target[:permissions]]``."""
    parts = spec.split(":")
    if len(parts) > 3:
        raise ValueError(f"confusing device mapping {shorten(spec)}, use the long form")
    source = parts[0]
    target = parts[1] if len(parts) > 1 and parts[1] else source
    return {
        "source": source, "target": target,
        "permissions": parts[2] if len(parts) > 2 else "rwm",
    }  # fmt: skip


def command(line: str) -> list[str]:
    """Split a command line into words, without a shell (mattn/go-shellwords).

    Unquoted ``;``, ``&``, ``|``, ``<`` and ``>`` are an error: there is no shell that could
    give them a meaning, and dropping the rest, as the reference does, hides a mistake.
    """
    return _Words(line).split()


class _Words:
    def __init__(self, line: str) -> None:
        self.line = line
        self.words: list[str] = []
        self.word: list[str] = []
        self.started = False
        self.quote = ""  # the open quote: ', ", ` or )

    def split(self) -> list[str]:
        escaped = False
        for char in self.line:
            if escaped:
                self.take({"t": "\t", "n": "\n"}.get(char, char))
                escaped = False
            elif char == "\\" and self.quote != "'":
                escaped = True
            elif char in " \t\r\n":
                self.space(char)
            else:
                self.character(char)
        if escaped or self.quote:
            raise ValueError(f"invalid command line {shorten(self.line)}: unterminated quote")
        self.finish()
        return self.words

    def take(self, char: str) -> None:
        self.word.append(char)
        self.started = True

    def space(self, char: str) -> None:
        if self.quote:
            self.word.append(char)
        else:
            self.finish()

    def finish(self) -> None:
        if self.started:
            self.words.append("".join(self.word))
        self.word, self.started = [], False

    def character(self, char: str) -> None:
        if char in "'\"":
            if self.quote in ("", char):
                self.quote = "" if self.quote else char
                self.started = self.started or not self.quote
                return
        elif char == "`":
            if self.quote in ("", "`"):
                self.quote = "" if self.quote else "`"
        elif char in "()":
            self.parenthesis(char)
            return
        elif char in ";&|<>" and not self.quote:
            raise ValueError(
                f"unquoted {char!r} in {shorten(self.line)}: there is no shell; quote it, or use "
                "[sh, -c, ...]"
            )
        self.take(char)

    def parenthesis(self, char: str) -> None:
        if self.quote in ("'", '"', "`"):
            self.take(char)
        elif char == ")" and self.quote == ")":
            self.quote = ""
            self.take(char)
        elif char == "(" and not self.quote and self.word[-1:] == ["$"]:
            self.quote = ")"
            self.word.append(char)
        else:
            raise ValueError(f"invalid command line {shorten(self.line)}: unquoted {char!r}")
