"""Who holds a run: a process that cannot be mistaken for a later one with its pid.

A pid alone names whoever has it now. With the start time, the boot and the pid namespace it
names one process for ever; signals then go through a pidfd opened before the check.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import select

from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class Holder:
    """A process: `start_time` in clock ticks since boot, `pid_namespace` an inode number."""

    pid: int
    start_time: int
    boot_id: str
    pid_namespace: int

    @classmethod
    def current(cls) -> Holder:
        """Return this process."""
        pid = os.getpid()
        started = start_time(pid)
        if started is None:
            raise ProcessLookupError(f"/proc/{pid}/stat cannot be read")
        return cls(pid, started, boot_id(), os.stat("/proc/self/ns/pid").st_ino)

    def as_json(self) -> dict[str, int | str]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Any) -> Holder | None:
        """Return the holder that `as_json` described, or None for anything else."""
        match value:
            case {
                "pid": int(pid),
                "start_time": int(started),
                "boot_id": str(boot),
                "pid_namespace": int(namespace),
            }:
                return cls(pid, started, boot, namespace)
        return None

    def open_pidfd(self) -> int | None:
        """Return a pidfd of this very process, or None if it is gone or its pid is another's.

        The pidfd comes first: if the start time then fits, the pidfd's process is the one meant,
        because a reused pid would show a later start.
        """
        if self.pid <= 0 or self.boot_id != boot_id():
            return None
        try:
            if os.stat("/proc/self/ns/pid").st_ino != self.pid_namespace:
                return None
            pidfd = os.pidfd_open(self.pid)
        except (OSError, OverflowError):
            return None
        if start_time(self.pid) != self.start_time:
            os.close(pidfd)
            return None
        return pidfd

    def signal(self, number: int) -> bool:
        """Send a signal; False if the process is gone."""
        pidfd = self.open_pidfd()
        if pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)
        return True

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until the process has ended; False if it has not within `timeout_s`."""
        pidfd = self.open_pidfd()
        if pidfd is None:
            return True
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        try:
            return bool(poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000))
        finally:
            os.close(pidfd)


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if it is not there.

    Source: proc_pid_stat(5), field 22. The command in field 2 may hold spaces and brackets, so
    fields are counted from the last one.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str:
    """Return the kernel's identifier of this boot. Source: random(4)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
