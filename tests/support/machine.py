"""What the machine holds: processes, cgroups, mounts, namespaces, descriptors.

Everything is attributed to the asking process, so that other work on the machine is not mistaken
for ours: it is a subreaper, so what gocker leaves behind becomes its child and nobody else's;
and gocker runs in cgroups of the test's own, so all it makes is below them.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from gocker.cgroup import mounts
from gocker.linux import process

# The VM of the v2 host emulates its CPU.
PATIENCE_S = float(
    os.environ.get("GOCKER_TEST_PATIENCE_S") or (900.0 if os.environ.get("VMHOST") else 30.0)
)
_NAMESPACES = ("mnt", "net", "uts", "ipc", "pid", "cgroup", "user", "time")


_subreapers = 0


def count_subreaper(change: int) -> None:
    """Get the orphans of all descendants (prctl(2), PR_SET_CHILD_SUBREAPER) while anyone asks."""
    global _subreapers  # noqa: PLW0603  # a property of the process
    _subreapers += change
    process.prctl(process.PR_SET_CHILD_SUBREAPER, int(_subreapers > 0))


def parents() -> dict[int, int]:
    """Return the parent of every process, dead ones included.

    Not from /proc/PID/task/TID/children, which skips some while others end (proc(5)).
    """
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            found[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass  # it was reaped
    return found


def children(pid: int) -> list[int]:
    return [child for child, parent in parents().items() if parent == pid]


def descendants(pid: int) -> set[int]:
    """Return all below a process. One whose parent ends meanwhile may be missing."""
    below: dict[int, list[int]] = {}
    for child, parent in parents().items():
        below.setdefault(parent, []).append(child)
    found: set[int] = set()
    todo = [pid]
    while todo:
        fresh = below.get(todo.pop(), [])
        found.update(fresh)
        todo += fresh
    return found


def describe(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[:120]
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid} (gone)"
    return f"{pid} {name} {state} {command.decode(errors='replace')}"


def wait_ended(pid: int, timeout_s: float) -> bool:
    """Wait on a pidfd until a process has ended; it may still be a zombie."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], max(0.0, timeout_s))[0])
    finally:
        os.close(fd)


def left_processes(before: set[int], timeout_s: float = PATIENCE_S) -> list[str]:
    """Return our descendants that are not in `before` and do not end in time.

    Orphans come to us and are reaped here, each at once: a PID namespace's first process ends
    only after everything else in it was reaped, also what entered it from outside.
    """
    deadline = time.monotonic() + timeout_s
    # Nothing is left only if two looks in a row show nothing.
    while left := (descendants(os.getpid()) - before or descendants(os.getpid()) - before):
        reaped = [pid for pid in set(children(os.getpid())) & left if _reap(pid)]
        if reaped:
            continue
        if time.monotonic() > deadline:
            return [describe(pid) for pid in sorted(left)]
        _wait_for_any(left, deadline - time.monotonic())
    return []


def _reap(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None


def _wait_for_any(pids: set[int], timeout_s: float) -> None:
    """Wait until one of these processes has ended."""
    fds = []
    poll = select.poll()
    try:
        for pid in pids:
            fds.append(os.pidfd_open(pid))
            poll.register(fds[-1], select.POLLIN)
        # Zombies whose parent lives are ready at once: then look again in a moment.
        if poll.poll(max(0.0, timeout_s) * 1000):
            time.sleep(0.001)
    except ProcessLookupError:
        pass  # one was reaped meanwhile: look again
    finally:
        for fd in fds:
            os.close(fd)


def kill_left(before: set[int]) -> None:
    """End what a failed test left, so that the next one is not blamed for it."""
    for pid in descendants(os.getpid()) - before:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    left_processes(before)


def mountinfo() -> set[str]:
    """Return the mounts of this process's mount namespace, without their numbers."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split(" ", 2)[2] for line in lines}


def now_ticks() -> float:
    """Return the time in the unit of `start_ticks`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")


def start_ticks(pid: int) -> float:
    """Return when a process started, in clock ticks since the boot (proc_pid_stat(5))."""
    return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def members(namespaces: set[str], before: float, nest: str) -> list[str]:
    """Return the processes of this machine in one of these namespaces.

    Only those started before `before`: the kernel uses the numbers of namespaces again. And not
    those in cgroups of another test than that of `nest`, which may run beside this one: they make
    namespaces after their start.
    """
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            mine = namespaces_of(pid) & namespaces and start_ticks(pid) < before
            if mine and not _is_in_another_nest(pid, nest):
                found.append(describe(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    return found


def _is_in_another_nest(pid: int, nest: str) -> bool:
    text = Path(f"/proc/{pid}/cgroup").read_text()
    return "/gocker-test-" in text and f"/{nest}" not in text


def namespaces_of(pid: int) -> set[str]:
    found = set()
    for name in _NAMESPACES:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
        except OSError:
            pass  # it has ended
    return found


def open_fds() -> dict[int, str]:
    """Return this process's descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the directory that was just listed
    return found


class Nest:
    """A cgroup of one test's own in every v1 hierarchy, below this process's.

    gocker makes its cgroups below its own, so here. On pure v2 there is none: a cgroup with
    processes cannot have controlled children there.
    """

    def __init__(self, name: str) -> None:
        layout = mounts.read()
        hierarchies = {} if layout.mode == "v2" else layout.v1
        self.directories: dict[str, str] = {}
        for controller, hierarchy in hierarchies.items():
            if "=" not in controller and hierarchy.directory is not None:
                self.directories[controller] = f"{hierarchy.directory.rstrip('/')}/{name}"
        for directory in sorted(set(self.directories.values())):
            os.mkdir(directory)
        if "cpuset" in self.directories:
            _inherit_cpuset(self.directories["cpuset"])
        flags = os.O_WRONLY | os.O_CLOEXEC
        self._tasks = [
            os.open(f"{path}/tasks", flags) for path in sorted(set(self.directories.values()))
        ]

    def enter(self) -> None:
        """Join; for the child of a fork that is about to execute gocker."""
        for fd in self._tasks:
            os.write(fd, b"0")

    def add(self, pid: int) -> None:
        """Move a process in that has one thread."""
        for fd in self._tasks:
            os.write(fd, str(pid).encode())

    def content(self) -> list[str]:
        """Return every cgroup below, parents first."""
        found = []
        for directory in sorted(set(self.directories.values())):
            for path, names, _ in os.walk(directory):
                found += [f"{path}/{name}" for name in names]
        return found

    def close(self) -> None:
        """Remove it with everything below."""
        for fd in self._tasks:
            os.close(fd)
        for path in reversed(self.content()):
            os.rmdir(path)
        for directory in set(self.directories.values()):
            os.rmdir(directory)


def _inherit_cpuset(directory: str) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        value = Path(directory, "..", name).read_text()
        Path(directory, name).write_text(value)


def cgroups_of(run_ids: Iterable[str]) -> list[str]:
    """Return every cgroup of these runs, wherever it is in any hierarchy."""
    wanted = tuple(run_ids)
    layout = mounts.read()
    tops = {hierarchy.mount for hierarchy in layout.v1.values()}
    if layout.v2 is not None:
        tops.add(layout.v2.mount)
    found = []
    for top in tops:
        for path, names, _ in os.walk(top):
            found += [f"{path}/{name}" for name in names if name.startswith(wanted)]
    return found if wanted else []
