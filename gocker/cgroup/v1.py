"""The v1 driver; also for hybrid hosts (docs/cgroups.md says why the v2 tree is left alone).

Every path is "<container>/<file>" relative to one O_PATH descriptor per hierarchy, held by the
manager: no descriptor per container, no long path lookups.
"""

from __future__ import annotations

import os
import select
import signal
import time
from errno import EBUSY, EEXIST, EINVAL, ENOENT

from gocker.cgroup import devices, processes, tree, v1_limits, values
from gocker.cgroup.limits import Applied, Setting, Skipped, apply, write_read
from gocker.errors import ContainerError, HostError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

# Entered by every container: statistics (memory.peak, pids.peak, cpu.user_s) and the freezer.
# Each costs about 50 us to make, enter and remove (docs/cgroups.md); so cpu, devices, cpuset
# and blkio are entered only when a limit of theirs is asked for.
_ALWAYS = ("memory", "pids", "cpuacct", "freezer")
FREEZE_TIMEOUT_S = 2.0
KILL_TIMEOUT_S = 10.0


class Manager:
    """Makes containers' cgroups below one directory per hierarchy. One per process.

    Args:
        directories: controller -> directory below which containers' cgroups are made;
            co-mounted controllers have the same one.
        mode: ``v1`` or ``hybrid``.
    """

    def __init__(self, directories: dict[str, str], mode: str = "v1") -> None:
        self.mode = mode
        self.directories = directories
        self._fds: dict[str, int] = {}
        self._made: list[str] = []
        # In a fixed order: the hierarchy of a container is known by its directory.
        self._always = tuple(
            dict.fromkeys(directories[name] for name in _ALWAYS if name in directories)
        )

    def check(self, resources: Mapping[str, Any]) -> None:
        """Refuse what this host cannot limit, before anything starts.

        Raises:
            ConfigError: a value or a combination that v1 cannot express.
            HostError: a controller that is not there.
        """
        rules = devices.parse(resources.get("devices") or ())
        if rules:
            v1_limits.device_writes(rules)
            self._need("devices", "devices")
        for setting in v1_limits.settings(resources):
            self._need(setting.controller, setting.limit)

    def _need(self, controller: str, limit: str) -> None:
        if controller not in self.directories:
            raise HostError(
                f"{limit} needs the cgroup controller {controller!r}, which is not mounted here",
                hint=f"mount -t cgroup -o {controller} cgroup /sys/fs/cgroup/{controller}",
                controller=controller,
            )

    def create(
        self, container_path: str, resources: Mapping[str, Any], *, best_effort: bool = False
    ) -> Cgroup:
        """Make a container's cgroups and put its limits in force; nothing is left on failure.

        Raises:
            ConfigError, HostError: as `check`.
            ContainerError: phase cgroup; the name exists, or the kernel refused a limit.
        """
        tree.check_name(container_path)
        settings = v1_limits.settings(resources)
        rules = devices.parse(resources.get("devices") or ())
        if not best_effort:
            if rules:
                self._need("devices", "devices")
            for setting in settings:
                self._need(setting.controller, setting.limit)
        group = Cgroup(self, container_path, self._always)
        try:
            for directory in self._always:
                group.make(directory)
            group.limit(settings, rules, best_effort)
        except BaseException:
            group.remove()
            raise
        return group

    def fd(self, directory: str) -> int:
        """Return an O_PATH descriptor of a hierarchy's directory, made if it is missing."""
        fd = self._fds.get(directory)
        if fd is None:
            made = tree.makedirs(directory)
            self._made += made
            for path in made:
                self._prepare(directory, path)
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._fds[directory] = fd
        return fd

    def reopen(self, directory: str) -> int:
        """Make a directory again that another gocker removed while we held it."""
        os.close(self._fds.pop(directory))
        return self.fd(directory)

    def _prepare(self, directory: str, path: str) -> None:
        """Make a new parent fit for children, in the hierarchies whose children start empty."""
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if directory == self.directories.get("cpuset"):
                for file in ("cpuset.cpus", "cpuset.mems"):
                    with open(os.path.join(os.path.dirname(path), file)) as parent:
                        tree.write(file, parent.read().strip(), fd)
                # From here on the kernel copies cpus and mems to each child: no write of ours.
                tree.write("cgroup.clone_children", "1", fd)
            # Always 1 since Linux 5.11; before, limits of a parent did not bind its children.
            if directory == self.directories.get("memory") and (
                tree.read("memory.use_hierarchy", fd) == "0\n"
            ):
                tree.write("memory.use_hierarchy", "1", fd)
        finally:
            os.close(fd)

    def sweep(self, dead: Callable[[str], bool]) -> list[str]:
        """Remove the cgroups directly below the parent whose name is `dead`; kill what is inside.

        Reads the kernel alone, no state on disk. Returns the names removed completely.
        """
        names: set[str] = set()
        present = set(self.directories.values())
        for directory in present:
            if os.path.isdir(directory):
                names.update(filter(dead, tree.children(".", self.fd(directory))))
        removed = []
        for name in sorted(names):
            group = Cgroup(self, name, tuple(present))
            group.kill()
            if group.wait_empty(KILL_TIMEOUT_S) and group.remove():
                removed.append(name)
        return removed

    def close(self) -> None:
        """Close the descriptors and remove the parents that were made here and are empty."""
        while self._fds:
            os.close(self._fds.popitem()[1])
        while self._made:
            try:
                os.rmdir(self._made.pop())
            except OSError as err:
                # In use by another gocker, or removed by it.
                if err.errno not in (EBUSY, ENOENT):
                    raise


class Cgroup:
    """The cgroups of one container, one in each hierarchy it entered."""

    __slots__ = (
        "_join_fds", "_limits", "_manager", "_oom_fd", "applied", "directories", "path", "skipped",
    )  # fmt: skip

    def __init__(self, manager: Manager, path: str, directories: Iterable[str]) -> None:
        self._manager = manager
        self.path = path
        self.directories = list(directories)
        self.applied: list[Applied] = []
        self.skipped: list[Skipped] = []
        self._limits: dict[str, int] = {}
        self._join_fds: list[int] = []
        self._oom_fd: int | None = None

    # -- making and limiting ---------------------------------------------------------------

    def make(self, directory: str) -> None:
        """Make this container's cgroup in one more hierarchy."""
        manager = self._manager
        try:
            try:
                tree.mkdir(self.path, manager.fd(directory))
            except SyscallError as err:
                if err.errno != ENOENT:
                    raise
                tree.mkdir(self.path, manager.reopen(directory))
        except SyscallError as err:
            # Not ours: a failed create must not remove another container's cgroup.
            self.directories = self.directories[: self.directories.index(directory)]
            hint = "run as root, or in a cgroup delegated to you"
            if err.errno == EEXIST:
                hint = "a container of this name runs, or died with its gocker: run gocker down"
            raise ContainerError(
                f"{self.path}: cannot make a cgroup in {directory!r}: {err.message}",
                hint=hint, phase="cgroup", container_id=self.path,
            ) from err  # fmt: skip

    def set(self, resources: Mapping[str, Any], *, best_effort: bool = False) -> None:
        """Change limits while the container runs; `applied` and `skipped` grow.

        A hierarchy not entered so far is entered now, by every process, frozen meanwhile.

        Raises:
            as `Manager.create`. Limits written before the one that failed stay.
        """
        if not best_effort:
            self._manager.check(resources)
        rules = devices.parse(resources.get("devices") or ())
        self.limit(v1_limits.settings(resources), rules, best_effort)

    def limit(self, settings: list[Setting], rules: list[devices.Rule], best_effort: bool) -> None:
        """Write settings and device rules, entering the hierarchies they need."""
        possible = []
        for setting in settings:
            reason = self._enter(setting.controller)
            if reason is None:
                possible.append(setting)
            else:
                self.skipped.append(Skipped(setting.limit, setting.requested, reason))
        applied, skipped = apply(possible, self._write, self.path, best_effort)
        self.applied += applied
        self.skipped += skipped
        for entry in applied:
            self._limits[entry.limit] = entry.effective
        if rules:
            self._limit_devices(rules, best_effort)

    def _enter(self, controller: str) -> str | None:
        """Make the cgroup of a controller if it is not yet; return why that is impossible."""
        directory = self._manager.directories.get(controller)
        if directory is None:
            return f"no cgroup controller {controller!r}"
        if directory in self.directories:
            return None
        members = self._first_fd() is not None and self.pids()
        self.directories.append(directory)
        self.make(directory)
        if members:
            self._move_all(directory)
        return None

    def _move_all(self, directory: str) -> None:
        """Move a running container into a new hierarchy; frozen, so that no fork is missed."""
        self.freeze(True)
        try:
            for pid in self.pids():
                tree.write(f"{self.path}/cgroup.procs", str(pid), self._manager.fd(directory))
        finally:
            self.freeze(False)

    def _write(self, setting: Setting) -> str:
        directory = self._manager.directories[setting.controller]
        return write_read(self._manager.fd(directory), f"{self.path}/{setting.file}", setting.value)

    def _limit_devices(self, rules: list[devices.Rule], best_effort: bool) -> None:
        reason = self._enter("devices")
        if reason is None:
            try:
                self._write_devices(rules)
            except SyscallError as err:
                reason = err.message
                if not best_effort:
                    raise ContainerError(
                        f"{self.path}: cannot set the device rules: {reason}",
                        hint="a rule cannot allow what the parent cgroup denies: see devices.list",
                        phase="cgroup", container_id=self.path, controller="devices",
                    ) from err  # fmt: skip
        count = len(rules)
        if reason is None:
            self.applied.append(Applied("devices", count, count, "devices.list"))
        else:
            self.skipped.append(Skipped("devices", count, reason))

    def _write_devices(self, rules: list[devices.Rule]) -> None:
        """Write the rules, one descriptor for all of devices.allow, and compare devices.list."""
        dir_fd = self._manager.fd(self._manager.directories["devices"])
        writes = v1_limits.device_writes(rules)
        first, *rest = writes
        tree.write(f"{self.path}/{first[0]}", first[1], dir_fd)
        if rest:
            path = f"{self.path}/devices.allow"
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                for _, line in rest:
                    # The kernel takes one rule per write(2).
                    os.write(fd, line.encode())
            except OSError as err:
                raise SyscallError("write", err.errno or EINVAL, path) from err
            finally:
                os.close(fd)
        shown = (tree.read(f"{self.path}/devices.list", dir_fd) or "").splitlines()
        expected = {line for _, line in rest} if first[0] == "devices.deny" else {"a *:* rwm"}
        if set(shown) != expected:
            raise SyscallError("write", EINVAL, f"{self.path}/devices.allow", shown=shown)

    # -- entering --------------------------------------------------------------------------

    def dir_fd(self) -> int | None:
        """Return None: CLONE_INTO_CGROUP is of v2 only."""
        return None

    def fds(self) -> list[int]:
        """Return descriptors, close-on-exec, through which a process enters: see `join`.

        Opened at the first call, owned by this object until `close_fds`.
        """
        if not self._join_fds:
            flags = os.O_WRONLY | os.O_CLOEXEC
            for directory in self.directories:
                fd = os.open(f"{self.path}/tasks", flags, dir_fd=self._manager.fd(directory))
                self._join_fds.append(fd)
        return self._join_fds

    @staticmethod
    def join(fds: Iterable[int]) -> None:
        """Enter, called by the single-threaded child itself, before it makes its cgroup namespace.

        "0" to ``tasks`` means the writing thread. The kernel then needs no lock against forks of
        the whole machine (cgroup_procs_write_start() in kernel/cgroup/cgroup.c): 18 us instead
        of 39 for a PID written to cgroup.procs from outside, and no RCU grace period where
        favordynmods is off.

        Raises:
            SyscallError: a hierarchy that refuses, ENOSPC for a cpuset without CPUs.
        """
        for fd in fds:
            try:
                os.write(fd, b"0")
            except OSError as err:
                raise SyscallError("write", err.errno or EINVAL, "tasks", value="0") from err

    def mounts(self) -> list[tuple[str, str]]:
        """Return (name below /sys/fs/cgroup, directory) of what the container may see."""
        shared: dict[str, list[str]] = {}
        for controller, directory in self._manager.directories.items():
            shared.setdefault(directory, []).append(controller)
        return [
            (",".join(shared[directory]), f"{directory}/{self.path}")
            for directory in self.directories
        ]

    def add(self, pid: int) -> None:
        """Move a process of another thread group, as exec and restore need it."""
        for directory in self.directories:
            tree.write(f"{self.path}/cgroup.procs", str(pid), self._manager.fd(directory))

    def close_fds(self) -> None:
        """Close what `fds` opened."""
        while self._join_fds:
            os.close(self._join_fds.pop())

    # -- looking ---------------------------------------------------------------------------

    def _read(self, controller: str, file: str) -> str | None:
        directory = self._manager.directories.get(controller)
        if directory is None or directory not in self.directories:
            return None
        return tree.read(f"{self.path}/{file}", self._manager.fd(directory))

    def _number(self, controller: str, file: str) -> int | None:
        text = self._read(controller, file)
        return None if text is None else values.number(text)

    def stats(self) -> dict[str, int | float | None]:
        """Return the cgroup fields of event container.exited; None where the kernel is silent."""
        user = self._number("cpuacct", "cpuacct.usage_user")  # nanoseconds, Linux 4.7
        system = self._number("cpuacct", "cpuacct.usage_sys")
        cpu = values.flat(self._read("cpu", "cpu.stat") or "")
        throttled = cpu.get("throttled_time")  # nanoseconds
        limit, pids_limit = self._limits.get("memory.limit"), self._limits.get("pids.limit")
        read_bytes, write_bytes = self._io()
        return {
            "cpu.user_s": None if user is None else user / 1e9,
            "cpu.system_s": None if system is None else system / 1e9,
            "cpu.throttled_s": None if throttled is None else throttled / 1e9,
            "cpu.throttled_periods": cpu.get("nr_throttled"),
            "cpu.periods": cpu.get("nr_periods"),
            "memory.limit": None if limit == -1 else limit,
            "memory.peak": self._number("memory", "memory.max_usage_in_bytes"),
            "memory.failcnt": self._number("memory", "memory.failcnt"),
            "memory.oom_kills": self.read_oom(),
            "pids.limit": None if pids_limit == -1 else pids_limit,
            # Since Linux 6.11; before, no honest way: sampling pids.current misses the peak.
            "pids.peak": self._number("pids", "pids.peak"),
            "pids.denied": values.flat(self._read("pids", "pids.events") or "").get("max"),
            "io.read_bytes": read_bytes,
            "io.write_bytes": write_bytes,
        }

    def _io(self) -> tuple[int | None, int | None]:
        # Counted for every device and scheduler, unlike blkio.bfq.io_service_bytes.
        text = self._read("blkio", "blkio.throttle.io_service_bytes_recursive")
        if text is None:
            return None, None
        sums = {"Read": 0, "Write": 0}
        for line in text.splitlines():
            words = line.split()  # "254:0 Read 4096", at the end "Total 4096"
            if len(words) == 3 and words[1] in sums:
                sums[words[1]] += int(words[2])
        return sums["Read"], sums["Write"]

    def read_oom(self) -> int | None:
        """Return how many processes the kernel killed for memory here; None before Linux 4.13."""
        text = self._read("memory", "memory.oom_control")
        return None if text is None else values.flat(text).get("oom_kill")

    def watch_oom(self) -> tuple[int, int]:
        """Return (descriptor, poll mask): ready when memory ran out; then ask `read_oom`.

        An eventfd: read it to arm it again. It also fires when the cgroup is removed, and for
        every child when a parent runs out of memory, so the count decides. Owned by this object.

        Raises:
            HostError: without the memory controller.
        """
        if self._oom_fd is None:
            self._manager._need("memory", "watching for OOM kills")
            dir_fd = self._manager.fd(self._manager.directories["memory"])
            event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            path = f"{self.path}/memory.oom_control"
            control = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                tree.write(f"{self.path}/cgroup.event_control", f"{event} {control}", dir_fd)
            except SyscallError:
                os.close(event)
                raise
            finally:
                os.close(control)  # the kernel keeps what it needs
            self._oom_fd = event
        return self._oom_fd, select.POLLIN

    def _first_fd(self) -> int | None:
        """Return the hierarchy whose lists of processes count: the freezer's, or any."""
        directory = self._manager.directories.get("freezer")
        if directory in self.directories:
            return self._manager.fd(directory)
        for directory in self.directories:
            return self._manager.fd(directory)
        return None

    def pids(self) -> list[int]:
        """Return every process inside, also in cgroups that the container made."""
        fd = self._first_fd()
        return [] if fd is None else tree.pids(self.path, fd)

    # -- acting ----------------------------------------------------------------------------

    def _has_freezer(self) -> bool:
        return self._manager.directories.get("freezer") in self.directories

    def freeze(self, frozen: bool) -> None:
        """Stop or continue every process; returns when it is so.

        Raises:
            HostError: without the freezer controller.
            ContainerError: phase freeze, if a process did not stop in time; all run again then.
        """
        self._manager._need("freezer", "pause")
        if not frozen:
            self._freezer("THAWED")
            return
        until = time.monotonic() + FREEZE_TIMEOUT_S
        self._freezer("FROZEN")
        # Asking for the state is what completes it; v1 has no notification.
        while (state := self._read("freezer", "freezer.state")) != "FROZEN\n":
            if time.monotonic() > until:
                self._freezer("THAWED")
                raise ContainerError(
                    f"{self.path}: cannot freeze: still {(state or '').strip()!r}",
                    hint="a process waits in the kernel (state D in ps); try again",
                    phase="freeze", container_id=self.path,
                )  # fmt: skip
            time.sleep(0.0005)

    def _freezer(self, state: str) -> None:
        fd = self._manager.fd(self._manager.directories["freezer"])
        tree.write(f"{self.path}/freezer.state", state, fd)

    def kill(self) -> None:
        """Send SIGKILL to every process, forks under way included; they die soon after.

        Needed when a container shares its PID namespace; otherwise killing its PID 1 does.
        A frozen v1 process takes the signal when thawed: freeze, kill all, thaw.
        """
        until = time.monotonic() + KILL_TIMEOUT_S
        frozen = self._has_freezer() and self._exists("freezer")
        if frozen:
            self._freezer("FROZEN")
        try:
            for directory in self._process_lists():
                fd = self._manager.fd(directory)
                processes.kill_all(lambda fd=fd: tree.pids(self.path, fd), until=until)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        finally:
            if frozen:
                self._thaw_tree()

    def _exists(self, controller: str) -> bool:
        return self._read(controller, "cgroup.procs") is not None

    def _process_lists(self) -> list[str]:
        """Return every hierarchy, the freezer first: one may hold what another does not.

        A container that died half way into its cgroups is in some hierarchies only.
        """
        freezer = self._manager.directories.get("freezer")
        return sorted(self.directories, key=lambda directory: directory != freezer)

    def _thaw_tree(self) -> None:
        """Thaw also what was frozen below by the container itself: SIGKILL waits for it."""
        fd = self._manager.fd(self._manager.directories["freezer"])
        for name in reversed(tree.walk(self.path, fd)):
            try:
                tree.write(f"{name}/freezer.state", "THAWED", fd)
            except SyscallError as err:
                if err.errno != ENOENT:
                    raise

    def signal_all(self, signum: int) -> None:
        """Send a signal to every process inside at this moment; SIGKILL means `kill`."""
        if signum == signal.SIGKILL:
            self.kill()
            return
        processes.signal_once(self.pids, signum)

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no process is inside; return False after `timeout_s`."""
        until = time.monotonic() + timeout_s
        for directory in self.directories:
            fd = self._manager.fd(directory)
            if not processes.wait_empty(lambda fd=fd: tree.pids(self.path, fd), until=until):  # type: ignore[misc]  # mypy cannot infer a lambda's default
                return False
        return True

    def remove(self) -> bool:
        """Close descriptors and remove the cgroups, nested ones first.

        False: a process is still inside (a zombie counts for a moment): call again on its exit.
        """
        self.close_fds()
        if self._oom_fd is not None:
            os.close(self._oom_fd)
            self._oom_fd = None
        self.directories = [
            directory
            for directory in self.directories
            if not tree.remove(self.path, self._manager.fd(directory))
        ]
        return not self.directories
