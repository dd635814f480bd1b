"""Networks and published ports as runs tell them, and the inside of a container's network.

No process is asked: a run's log has what was made, and /proc has what a process sees.
"""

from __future__ import annotations

import _socket as socket
import struct

from gocker.state import runlog
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker.state.run import Run

_RTF_UP, _RTF_GATEWAY = 1, 2


@dataclass(frozen=True, slots=True)
class NetworkState:
    """A network of a run that is under way."""

    name: str
    key: str
    driver: str
    subnets: tuple[str, ...]
    internal: bool
    project: str
    run: str


@dataclass(frozen=True, slots=True)
class PortState:
    """A published port."""

    service: str
    instance: str
    protocol: str
    host: str
    published: int
    target: int


def networks(run: Run) -> list[NetworkState]:
    """Return a run's networks, as its log tells."""
    return [
        NetworkState(it["network"], it["key"], it["driver"], tuple(it["subnets"]), it["internal"],
                     run.project, run.id)
        for it in _events(run, "network.created")
    ]  # fmt: skip


def ports(run: Run) -> list[PortState]:
    """Return a run's published ports, as its log tells."""
    names = PortState.__match_args__
    return [
        PortState(**{name: it[name] for name in names}) for it in _events(run, "port.published")
    ]


def _events(run: Run, name: str) -> Iterator[dict[str, Any]]:
    with run.opened() as fd:
        for record in runlog.read("run.jsonl", dir_fd=fd):
            if record["event"] == name:
                yield record


# -- what a process sees, proc(5) ------------------------------------------------------------------


def addresses(pid: int) -> list[tuple[str, str]]:
    """Return interface and address of a process's network; that of an IPv4 address is unknown."""
    found = [("", address) for address in _local4(_read(pid, "fib_trie"))]
    for line in _read(pid, "if_inet6").splitlines():
        digits, _, length, _, _, name = line.split()
        found.append((name, f"{_address6(digits)}/{int(length, 16)}"))
    return found


def routes(pid: int) -> list[tuple[str, str, str]]:
    """Return destination, gateway (perhaps empty) and interface of a process's routes."""
    found = []
    for line in _read(pid, "route").splitlines()[1:]:
        name, destination, gateway, flags, _, _, _, mask, *_ = line.split()
        if int(flags, 16) & _RTF_UP:
            via = _address4(gateway) if int(flags, 16) & _RTF_GATEWAY else ""
            length = bin(int(mask, 16)).count("1")
            found.append((f"{_address4(destination)}/{length}", via, name))
    for line in _read(pid, "ipv6_route").splitlines():
        destination, length6, _, _, gateway, *_, flags, name = line.split()
        if name != "lo" and int(flags, 16) & _RTF_UP:
            via = _address6(gateway) if int(flags, 16) & _RTF_GATEWAY else ""
            found.append((f"{_address6(destination)}/{int(length6, 16)}", via, name))
    return found


def _local4(text: str) -> list[str]:
    """Return the addresses before the lines ``/32 host LOCAL`` of fib_trie."""
    found: list[str] = []
    last = ""
    for line in text.splitlines():
        if "|--" in line:
            last = line.rpartition(" ")[2]
        elif "/32 host LOCAL" in line and last not in found:
            found.append(last)
    return found


def _read(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/net/{name}") as file:
            return file.read()
    except OSError:
        return ""  # IPv6 may be off, the process may be gone


def _address4(digits: str) -> str:
    return socket.inet_ntoa(struct.pack("=I", int(digits, 16)))


def _address6(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def interfaces(pid: int) -> list[str]:
    """Return the interfaces of a process's network."""
    return [line.partition(":")[0].strip() for line in _read(pid, "dev").splitlines()[2:]]
