"""Who holds a lock file, as the kernel alone tells: the processes that have it open.

For what is left when the record of the holder is damaged. /proc/locks names the process that
took a flock, not those that inherited it, so the descriptors themselves are looked at.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LAUNCHER = "gocker-launcher"


def signal_holders(name: str, number: int, *, dir_fd: int) -> int:
    """Send a signal to the processes that have the lock open; return to how many.

    Launchers only get SIGKILL: they end by themselves once the front is gone. This process is
    left out. A process is signalled by its pidfd, taken before its descriptors are looked at.
    """
    wanted = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    count = 0
    for pid, pidfd in _others():
        try:
            spared = number != signal.SIGKILL and _name(pid) == LAUNCHER
            if not spared and _has_open(pid, (wanted.st_dev, wanted.st_ino)):
                signal.pidfd_send_signal(pidfd, number)
                count += 1
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            pass  # it has ended, or is another user's, who cannot have our lock open
        finally:
            os.close(pidfd)
    return count


def _others() -> Iterator[tuple[int, int]]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                yield int(entry), os.pidfd_open(int(entry))
            except OSError:
                pass  # it has ended


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().rstrip("\n")


def _has_open(pid: int, identity: tuple[int, int]) -> bool:
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = os.stat(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if (found.st_dev, found.st_ino) == identity:
            return True
    return False
