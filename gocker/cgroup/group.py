"""What both drivers' cgroups share: limits, processes, removal."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import time
from errno import EEXIST

from gocker.cgroup import processes, tree, values
from gocker.cgroup.limits import Applied, Skipped, apply, write_read
from gocker.errors import ContainerError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from gocker.cgroup.base import Manager
    from gocker.cgroup.limits import Setting


class Cgroup:
    """The cgroups of one container, one in each hierarchy it entered.

    `applied` and `skipped` say what was asked for and what is in force. `fds` are descriptors
    for `join`, `dir_fd` is one for CLONE_INTO_CGROUP; which of them exists is the driver's.
    """

    __slots__ = ("_join_fds", "_oom_fd", "applied", "directories", "limits", "manager", "path",
                 "skipped")  # fmt: skip
    # The file of the limit of memory.
    _MEMORY_MAX = "memory.max"

    def __init__(self, manager: Manager, path: str, directories: Iterable[str]) -> None:
        self.manager = manager
        self.path = path
        self.directories = list(directories)
        self.applied: list[Applied] = []
        self.skipped: list[Skipped] = []
        self.limits: dict[str, int] = {}
        self._join_fds: list[int] = []
        self._oom_fd: int | None = None

    # What a driver defines.

    def dir_fd(self) -> int | None:
        """Return a descriptor for CLONE_INTO_CGROUP, owned by this object; None on v1."""
        raise NotImplementedError

    def fds(self) -> list[int]:
        """Return descriptors for `join`, close-on-exec, owned by this object (`close_fds`)."""
        raise NotImplementedError

    def add(self, pid: int) -> None:
        """Move another process in, with all its threads."""
        raise NotImplementedError

    def stats(self) -> dict[str, int | float | None]:
        """Return the cgroup fields of event container.exited; None where the kernel is silent."""
        raise NotImplementedError

    def read_oom(self) -> int | None:
        """Return how many processes the kernel killed for memory here; None if it does not say."""
        raise NotImplementedError

    def watch_oom(self) -> tuple[int, int]:
        """Return (descriptor, poll mask): ready when memory ran out; then ask `read_oom`."""
        raise NotImplementedError

    def clear_oom(self) -> None:
        """Arm the descriptor of `watch_oom` again."""
        raise NotImplementedError

    def freeze(self, frozen: bool) -> None:
        """Stop or continue every process; returns when it is so.

        Raises:
            ContainerError: phase freeze, if a process did not stop in time; all run again then.
        """
        raise NotImplementedError

    def is_frozen(self) -> bool:
        """Return whether its processes are stopped, or about to be, by `freeze` or from above."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let frozen processes take the SIGKILL that was sent to them, where that is needed."""

    def kill(self) -> None:
        """Send SIGKILL to every process, forks under way included; they die soon after.

        Needed when a container shares its PID namespace; otherwise killing its PID 1 does.
        """
        raise NotImplementedError

    def _write_devices(self, compiled: Any) -> str:
        """Put compiled device rules in force; return the file or program for the report."""
        raise NotImplementedError

    # The common part.

    def mounts(self) -> list[tuple[str, str]]:
        """Return (name below /sys/fs/cgroup, directory) of what the container may see of it.

        The only hierarchy of v2 has the name "".
        """
        if self.manager.mode == "v2":
            return [("", f"{directory}/{self.path}") for directory in self.directories]
        shared: dict[str, list[str]] = {}
        for controller, directory in self.manager.directories.items():
            shared.setdefault(directory, []).append(controller)
        return [(",".join(shared[item]), f"{item}/{self.path}") for item in self.directories]

    @staticmethod
    def join(fds: Iterable[int]) -> None:
        """Enter, called by the single-threaded child itself, before it makes its cgroup namespace.

        "0" means the writer. On v1 the file is ``tasks``: the kernel then takes no lock against
        forks (cgroup_attach_lock() in kernel/cgroup/cgroup.c), 18 us instead of 39 for a PID
        written to cgroup.procs from outside.

        Raises:
            SyscallError: a hierarchy that refuses; ENOSPC from a cpuset without CPUs.
        """
        for fd in fds:
            try:
                os.write(fd, b"0")
            except OSError as err:
                raise SyscallError("write", err.errno or 0, "tasks", value="0") from err

    def make(self, directory: str) -> None:
        """Make this container's cgroup in one more hierarchy."""
        try:
            self.manager.mkdir(directory, self.path)
        except SyscallError as err:
            hint = "run as root, or in a cgroup delegated to you"
            if err.errno == EEXIST:
                if self.manager.reuse and not self._pids_in(directory):
                    self.directories.append(directory)
                    return
                hint = "a container of this name runs, or its gocker died: run gocker down"
            raise ContainerError(
                f"{self.path}: cannot make a cgroup in {directory!r}: {err.message}",
                hint=hint, phase="cgroup", container_id=self.path,
            ) from err  # fmt: skip
        # Only now: a failed create must not remove another container's cgroup.
        self.directories.append(directory)

    def set(self, resources: Mapping[str, Any], *, best_effort: bool = False) -> None:
        """Change limits while the container runs; `applied` and `skipped` grow.

        A hierarchy not entered so far is entered now, by every process, frozen meanwhile.

        Raises:
            as `Manager.create`. Limits written before the one that failed stay.
        """
        if not best_effort:
            self.manager.check(resources)
        if (resources.get("memory") or {}).get("checkBeforeUpdate"):
            self._check_memory(resources["memory"])
        settings = self.manager.settings(resources)
        rules = resources.get("devices") or ()
        if not self.manager.enforces_devices:
            rules = ()
        self.limit(settings, rules, best_effort=best_effort, running=True)

    def usage(self) -> dict[str, int | float | None]:
        """Return `stats` with what is in use now: ``memory.usage`` in bytes, ``pids.current``.

        The limits are those of the kernel's files, whoever wrote them.
        """
        memory = self._number("memory", self._MEMORY_MAX)
        tasks = self._number("pids", "pids.max")
        return {
            **self.stats(),
            "memory.usage": self.memory_usage(),
            "memory.limit": None if memory is None else _limited(values.whole_pages(memory)),
            "pids.current": self._number("pids", "pids.current"),
            "pids.limit": None if tasks is None else _limited(tasks),
        }

    def memory_usage(self) -> int | None:
        """Return the bytes in use; None without the memory controller. The driver's."""
        raise NotImplementedError

    def _check_memory(self, memory: Mapping[str, Any]) -> None:
        """Refuse a limit below what is in use (config-linux.md, checkBeforeUpdate).

        Raises:
            ContainerError: phase cgroup.
        """
        limit, usage = memory.get("limit"), self.memory_usage()
        if limit and 0 < limit < (usage or 0):
            raise ContainerError(
                f"{self.path}: memory.limit {limit} is below the {usage} bytes in use",
                hint="choose a higher limit, or do without checkBeforeUpdate",
                phase="cgroup", container_id=self.path, limit="memory.limit",
            )  # fmt: skip

    def limit(
        self,
        settings: list[Setting],
        rules: Sequence[Mapping[str, Any]],
        *,
        best_effort: bool = False,
        running: bool = False,
    ) -> None:
        """Write settings and device rules, entering the hierarchies they need."""
        possible = []
        for setting in settings:
            reason = self._enter(setting.controller, running)
            if reason is None:
                possible.append(setting)
            else:
                self.skipped.append(Skipped(setting.limit, setting.requested, reason))
        applied, skipped = apply(possible, self._write, self.path, best_effort)
        self.applied += applied
        self.skipped += skipped
        for entry in applied:
            self.limits[entry.limit] = entry.effective
        if rules:
            self._limit_devices(rules, best_effort, running)

    def _enter(self, controller: str, running: bool) -> str | None:
        """Make the cgroup of a controller if it is not yet; return why that is impossible."""
        directory = self.manager.directories.get(controller)
        if directory is None:
            return f"no cgroup controller {controller!r}"
        if directory not in self.directories:
            self.make(directory)
            if running:
                self._move_all(directory)
        return None

    def _move_all(self, directory: str) -> None:
        """Move a running container into a new hierarchy; frozen, so that no fork is missed."""
        self.freeze(True)
        try:
            for pid in self.pids():
                tree.write(f"{self.path}/cgroup.procs", str(pid), self.manager.fd(directory))
        finally:
            self.freeze(False)

    def _write(self, setting: Setting) -> str:
        fd = self.manager.fd(self.manager.directories[setting.controller])
        return write_read(fd, f"{self.path}/{setting.file}", setting.value)

    def _limit_devices(
        self, rules: Sequence[Mapping[str, Any]], best_effort: bool, running: bool
    ) -> None:
        compiled = self.manager.rules(rules)
        reason = self._enter("devices", running)
        count, file = len(rules), ""
        if reason is None:
            try:
                file = self._write_devices(compiled)
            except SyscallError as err:
                reason = err.message
                if not best_effort:
                    raise ContainerError(
                        f"{self.path}: cannot set the device rules: {reason}",
                        hint="a rule cannot allow what the parent cgroup denies",
                        phase="cgroup", container_id=self.path, controller="devices",
                    ) from err  # fmt: skip
        if reason is None:
            self.applied.append(Applied("devices", count, count, file))
        else:
            self.skipped.append(Skipped("devices", count, reason))

    def close_fds(self) -> None:
        """Close what `fds` opened."""
        while self._join_fds:
            os.close(self._join_fds.pop())

    def _read(self, controller: str, file: str) -> str | None:
        """Return a file's text; None if the controller or the file is not there."""
        directory = self.manager.directories.get(controller)
        if directory is None or directory not in self.directories:
            return None
        return tree.read(f"{self.path}/{file}", self.manager.fd(directory))

    def _number(self, controller: str, file: str) -> int | None:
        text = self._read(controller, file)
        return None if text is None else values.number(text)

    def _flat(self, controller: str, file: str) -> dict[str, int]:
        return values.flat(self._read(controller, file) or "")

    def _limit(self, name: str) -> int | None:
        """Return the limit in force, or None for none."""
        return _limited(self.limits.get(name, -1))

    def child(self, name: str) -> Cgroup:
        """Make a cgroup below this one, for a part of its processes; return it.

        In one hierarchy, without controllers or limits of its own: enough to kill them by.
        """
        directory = self._main() or self.directories[0]
        path = f"{self.path}/{name}"
        tree.mkdir(path, self.manager.fd(directory))
        return self.manager.group(path, [directory])

    def _main(self) -> str | None:
        """Return the hierarchy whose list of processes counts: the freezer's, or any."""
        freezer = self.manager.directories.get("freezer")
        if freezer in self.directories:
            return freezer
        return self.directories[0] if self.directories else None

    def _pids_in(self, directory: str) -> list[int]:
        return tree.pids(self.path, self.manager.fd(directory))

    def pids(self) -> list[int]:
        """Return every process inside, also in cgroups that the container made."""
        directory = self._main()
        return [] if directory is None else self._pids_in(directory)

    def signal_all(self, signum: int) -> None:
        """Send a signal to every process inside at this moment; SIGKILL means `kill`."""
        if signum == signal.SIGKILL:
            self.kill()
        else:
            processes.signal_once(self.pids, signum)

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no process is inside; return False after `timeout_s`."""
        until = time.monotonic() + timeout_s
        return all(
            processes.wait_empty(lambda: self._pids_in(directory), until=until)  # noqa: B023  # called at once
            for directory in self.directories
        )

    def remove(self) -> bool:
        """Close descriptors and remove the cgroups, nested ones first.

        False: a process is still inside (a zombie counts for a moment): call again on its exit.
        """
        self.close_fds()
        if self._oom_fd is not None:
            os.close(self._oom_fd)
            self._oom_fd = None
        manager = self.manager
        self.directories = [
            directory
            for directory in self.directories
            if not tree.remove(self.path, manager.fd(directory))
        ]
        return not self.directories


def _limited(limit: int) -> int | None:
    return None if limit < 0 else limit
