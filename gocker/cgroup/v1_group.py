"""One container on cgroup v1. Source: Documentation/admin-guide/cgroup-v1/."""

from __future__ import annotations

import os
import select
import time
from errno import EINVAL, ENOENT

from gocker.cgroup import group, processes, tree, values
from gocker.cgroup.base import KILL_TIMEOUT_S
from gocker.errors import ContainerError, SyscallError

FREEZE_TIMEOUT_S = 2.0
# A charge that fails may have asked for so much at once: MEMCG_CHARGE_BATCH in memcontrol.h.
_CHARGE_BATCH = 64 * values.PAGE_SIZE


class Cgroup(group.Cgroup):
    """See `group.Cgroup`."""

    __slots__ = ()
    _MEMORY_MAX = "memory.limit_in_bytes"

    def dir_fd(self) -> int | None:
        """Return None: CLONE_INTO_CGROUP is of v2 only."""
        return None

    def fds(self) -> list[int]:
        """Return one ``tasks`` file per hierarchy, opened at the first call."""
        if not self._join_fds:
            flags = os.O_WRONLY | os.O_CLOEXEC
            for directory in self.directories:
                fd = os.open(f"{self.path}/tasks", flags, dir_fd=self.manager.fd(directory))
                self._join_fds.append(fd)
        return self._join_fds

    def add(self, pid: int) -> None:
        """Move a process in, all hierarchies one after the other."""
        for directory in self.directories:
            tree.write(f"{self.path}/cgroup.procs", str(pid), self.manager.fd(directory))

    def _write_devices(self, compiled: list[tuple[str, str]]) -> str:
        """Write the rules, one descriptor for all of devices.allow, and compare devices.list."""
        dir_fd = self.manager.fd(self.manager.directories["devices"])
        (file, line), *rest = compiled
        tree.write(f"{self.path}/{file}", line, dir_fd)
        if rest:
            self._except(rest[0][0], [rule for _, rule in rest], dir_fd)
        shown = set((tree.read(f"{self.path}/devices.list", dir_fd) or "").splitlines())
        # What is denied of everything is not shown.
        expected = {rule for _, rule in rest} if file == "devices.deny" else {"a *:* rwm"}
        if shown != expected:
            path = f"{self.path}/devices.list"
            raise SyscallError("write", EINVAL, path, shown=sorted(shown))
        return "devices.list"

    def _except(self, file: str, rules: list[str], dir_fd: int) -> None:
        path = f"{self.path}/{file}"
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            for rule in rules:
                os.write(fd, rule.encode())  # the kernel takes one rule per write(2)
        except OSError as err:
            raise SyscallError("write", err.errno or EINVAL, path, rules=rules) from err
        finally:
            os.close(fd)

    def stats(self) -> dict[str, int | float | None]:
        """Return the cgroup fields of event container.exited; None where the kernel is silent."""
        user, system = self._cpu_time()
        cpu = self._flat("cpu", "cpu.stat")
        throttled = cpu.get("throttled_time")  # nanoseconds
        peak = self._number("memory", "memory.max_usage_in_bytes")
        read_bytes, write_bytes = self._io()
        return {
            "cpu.user_s": user,
            "cpu.system_s": system,
            "cpu.throttled_s": None if throttled is None else throttled / 1e9,
            "cpu.throttled_periods": cpu.get("nr_throttled"),
            "cpu.periods": cpu.get("nr_periods"),
            "memory.limit": self._limit("memory.limit"),
            "memory.peak": peak,
            "memory.failcnt": self._failcnt(peak),
            "memory.oom_kills": self.read_oom(),
            "pids.limit": self._limit("pids.limit"),
            # Not on older kernels, and no honest way there: sampling pids.current misses peaks.
            "pids.peak": self._number("pids", "pids.peak"),
            "pids.denied": self._flat("pids", "pids.events").get("max"),
            "io.read_bytes": read_bytes,
            "io.write_bytes": write_bytes,
        }

    def _cpu_time(self) -> tuple[float | None, float | None]:
        """Return seconds in user mode and in the kernel.

        The sum is exact (cpuacct.usage), its parts are counted in timer ticks: a short job has
        0 and 0. So the sum is divided like the parts, as the kernel does for getrusage(2) and
        for v2's cpu.stat (cputime_adjust() in kernel/sched/cputime.c).
        """
        total = self._number("cpuacct", "cpuacct.usage")  # nanoseconds
        text = self._read("cpuacct", "cpuacct.usage_all")  # per CPU: number, user, system
        if total is None or text is None:
            return None, None
        rows = [line.split() for line in text.splitlines()[1:]]
        user, system = (sum(int(row[column]) for row in rows) for column in (1, 2))
        system_s = total * system / (user + system) / 1e9 if system else 0.0
        return total / 1e9 - system_s, system_s

    def memory_usage(self) -> int | None:
        """See `group.Cgroup`."""
        return self._number("memory", "memory.usage_in_bytes")

    def _failcnt(self, peak: int | None) -> int | None:
        """Return how often a charge met the limit of memory or of memory plus swap."""
        hits = self._number("memory", "memory.failcnt")
        if hits is None or "memory.swap" not in self.limits:
            return hits
        # memory+swap is charged first, so with equal limits only its counter grows; on 6.18 it
        # does not grow either (seen). 0 would be a lie then, once the limit was in reach.
        hits += self._number("memory", "memory.memsw.failcnt") or 0
        limit = self._limit("memory.limit")
        near = limit is not None and peak is not None and peak >= limit - _CHARGE_BATCH
        return None if hits == 0 and near else hits

    def _io(self) -> tuple[int | None, int | None]:
        """Return bytes read and written, or None and None if no device was counted.

        A device is counted from its first throttle rule on (newer kernels; 6.18 seen), so no
        line may mean "not counted" as well as "nothing": we do not know.
        """
        text = self._read("blkio", "blkio.throttle.io_service_bytes_recursive") or ""
        words = [line.split() for line in text.splitlines()]  # "254:0 Read 4096"
        sums = [
            [int(word[2]) for word in words if len(word) == 3 and word[1] == direction]
            for direction in ("Read", "Write")
        ]
        read, written = (sum(column) if column else None for column in sums)
        return read, written

    def read_oom(self) -> int | None:
        """Return how many processes the kernel killed for memory here; None before Linux 4.13."""
        return self._flat("memory", "memory.oom_control").get("oom_kill")

    def watch_oom(self) -> tuple[int, int]:
        """Return an eventfd and POLLIN.

        It also fires when the cgroup is removed, and for every child when a parent runs out of
        memory, so the count decides.

        Raises:
            HostError: without the memory controller.
        """
        if self._oom_fd is None:
            self.manager.need("memory", "watching for OOM kills")
            dir_fd = self.manager.fd(self.manager.directories["memory"])
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

    def clear_oom(self) -> None:
        """Empty the eventfd."""
        if self._oom_fd is not None:
            try:
                os.eventfd_read(self._oom_fd)
            except BlockingIOError:
                return  # nothing came since

    def freeze(self, frozen: bool) -> None:
        """Write freezer.state and, for FROZEN, wait until it is complete.

        Raises:
            HostError: without the freezer controller.
            ContainerError: phase freeze, if a process did not stop in time; all run again then.
        """
        self.manager.need("freezer", "pause")
        if not frozen:
            self._freezer("THAWED")
            return
        until = time.monotonic() + FREEZE_TIMEOUT_S
        self._freezer("FROZEN")
        # v1 has no notification; asking for the state is what completes it.
        while (state := self._read("freezer", "freezer.state")) != "FROZEN\n":
            if time.monotonic() > until:
                self._freezer("THAWED")
                raise ContainerError(
                    f"{self.path}: cannot freeze: still {(state or '').strip()!r}",
                    hint="a process waits in the kernel (state D in ps); try again",
                    phase="freeze", container_id=self.path,
                )  # fmt: skip
            time.sleep(0.0005)

    def is_frozen(self) -> bool:
        """Return what freezer.state says; False without the freezer."""
        return (self._read("freezer", "freezer.state") or "THAWED\n") != "THAWED\n"

    def _freezer(self, state: str, path: str | None = None) -> None:
        fd = self.manager.fd(self.manager.directories["freezer"])
        try:
            tree.write(f"{path or self.path}/freezer.state", state, fd)
        except SyscallError as err:
            if err.errno != ENOENT or state == "FROZEN":  # gone: nothing is frozen any more
                raise

    def kill(self) -> None:
        """Freeze, kill all, thaw: a frozen v1 process takes the signal when thawed."""
        until = time.monotonic() + KILL_TIMEOUT_S
        frozen = self._read("freezer", "freezer.state") is not None
        if frozen:
            self._freezer("FROZEN")
        try:
            # Every hierarchy, as a container that died half way is in some of them only.
            for directory in self.directories:
                processes.kill_all(lambda: self._pids_in(directory), until=until)  # noqa: B023  # called at once
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Let all go on, also what is frozen below: SIGKILL waits for it. Parents first."""
        if self._read("freezer", "freezer.state") is not None:
            fd = self.manager.fd(self.manager.directories["freezer"])
            for name in reversed(tree.walk(self.path, fd)):
                self._freezer("THAWED", name)
