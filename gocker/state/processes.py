"""The processes of running containers, read from the host's /proc: no program of an image runs.

A process belongs to a container if one of its cgroups is the container's or below it, which it
cannot leave and nobody else gets into.
"""

from __future__ import annotations

import os
from time import CLOCK_BOOTTIME, clock_gettime, time

from gocker.nested import in_user_namespace
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `pid`, `parent`, `uid` as the host sees them; `own_pid` as the container does.

    `cpu_s` and `started` (since 1970) in seconds, `rss` in bytes. `command` is what the process
    says, so anything; ``[name]`` if it says nothing.
    """

    container: str
    pid: int
    parent: int
    own_pid: int
    uid: int
    state: str
    terminal: str
    threads: int
    rss: int
    cpu_s: float
    started: float
    command: str


def processes(containers: Mapping[str, int]) -> list[Process]:
    """Return the processes of containers, by PID.

    `containers`: by their cgroups' names, the PIDs of their first processes.
    """
    wanted = {name.strip("/").encode(): name for name in containers}
    spaces = _pid_namespaces(containers) if in_user_namespace() else {}
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        try:
            container = _container(pid, wanted) or (spaces and spaces.get(_pid_namespace(pid)))
            if container:
                found.append(_process(pid, container))
        except (OSError, ValueError, IndexError):
            continue  # it has ended
    return found


def _pid_namespace(pid: int | str) -> int:
    return os.stat(f"/proc/{pid}/ns/pid").st_ino


def _pid_namespaces(containers: Mapping[str, int]) -> dict[int, str]:
    """Return the PID namespaces that containers have for themselves.

    An ordinary user's containers may have no cgroups; their processes have that, then.
    """
    found = {}
    for name, pid in containers.items():
        try:
            found[_pid_namespace(pid)] = name
        except OSError:
            continue  # it has ended
    found.pop(_pid_namespace("self"), None)
    return found


def _container(pid: int, wanted: dict[bytes, str]) -> str | None:
    with open(f"/proc/{pid}/cgroup", "rb") as file:
        text = file.read().replace(b"\n", b"/\n")
    for name, container in wanted.items():
        if b"/%s/" % name in text:
            return container
    return None


def _process(pid: int, container: str) -> Process:
    with open(f"/proc/{pid}/stat", "rb") as file:
        head, _, tail = file.read().rpartition(b")")
    name = head.partition(b"(")[2].decode("utf-8", "surrogateescape")
    fields = tail.split()  # from field 3 of proc_pid_stat(5) on
    with open(f"/proc/{pid}/status", "rb") as file:
        status = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read(4096).rstrip(b"\0").replace(b"\0", b" ")
    boot = time() - clock_gettime(CLOCK_BOOTTIME)
    return Process(
        container=container,
        pid=pid,
        parent=int(fields[1]),
        own_pid=int(status.get(b"NSpid", b"%d" % pid).split()[-1]),
        uid=int(status[b"Uid"].split()[0]),
        state=fields[0].decode(),
        terminal=_terminal(int(fields[4])),
        threads=int(fields[17]),
        rss=int(fields[21]) * _PAGE,
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        started=boot + int(fields[19]) / _TICKS,
        command=command.decode("utf-8", "surrogateescape") or f"[{name}]",
    )


def _terminal(number: int) -> str:
    """Return the name of a terminal by its device number (proc_pid_stat(5), tty_nr)."""
    number &= 0xFFFFFFFF
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if number == 0:
        return "?"
    return f"pts/{minor}" if major == 136 else f"{major}:{minor}"
