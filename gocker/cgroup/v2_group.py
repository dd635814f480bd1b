"""One container on cgroup v2. Source: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import os
import select
import time
from errno import ENOENT

from gocker.cgroup import group, processes, tree, values
from gocker.cgroup.base import KILL_TIMEOUT_S
from gocker.errors import ContainerError, SyscallError
from gocker.linux import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker.cgroup.v2 import Manager

FREEZE_TIMEOUT_S = 2.0


class Cgroup(group.Cgroup):
    """See `group.Cgroup`."""

    __slots__ = ("_dir_fd", "_program")
    manager: Manager

    def __init__(self, manager: Manager, path: str, directories: Iterable[str]) -> None:
        super().__init__(manager, path, directories)
        self._dir_fd: int | None = None
        self._program: bytes | None = None  # the device program attached through this object

    def _fd(self) -> int:
        return self.manager.fd(self.manager.directories["cgroup"])

    def dir_fd(self) -> int:
        """Return a descriptor for CLONE_INTO_CGROUP (Linux 5.7); closed by `close_fds`."""
        if self._dir_fd is None:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._dir_fd = os.open(self.path, flags, dir_fd=self._fd())
        return self._dir_fd

    def fds(self) -> list[int]:
        """Return ``cgroup.procs``, for kernels without CLONE_INTO_CGROUP."""
        if not self._join_fds:
            path = f"{self.path}/cgroup.procs"
            self._join_fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._fd()))
        return self._join_fds

    def close_fds(self) -> None:
        """Close what `fds` and `dir_fd` opened."""
        super().close_fds()
        if self._dir_fd is not None:
            os.close(self._dir_fd)
            self._dir_fd = None

    def add(self, pid: int) -> None:
        """Move a process in."""
        tree.write(f"{self.path}/cgroup.procs", str(pid), self._fd())

    def _enter(self, controller: str, running: bool) -> str | None:
        reason = super()._enter(controller, running)
        if reason is None and controller not in ("cgroup", "devices"):
            self.manager.enable(controller, self.path)
        return reason

    def _write_devices(self, compiled: bytes | None) -> str:
        """Attach the program and detach the ones before it, in this order: never without."""
        kind = bpf.BPF_CGROUP_DEVICE
        if compiled is not None and compiled == self._program:
            return "BPF_CGROUP_DEVICE"  # EINVAL if attached twice
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd())
        try:
            before = bpf.prog_query(fd, kind)
            if compiled is not None:
                # With MULTI every program up to the root has to agree, and the container may
                # have programs of its own below.
                bpf.prog_attach(fd, self.manager.program(compiled), kind, bpf.BPF_F_ALLOW_MULTI)
            for program_id in before:
                old = bpf.prog_get_fd_by_id(program_id)
                try:
                    bpf.prog_detach(fd, old, kind)
                finally:
                    os.close(old)
        finally:
            os.close(fd)
        self._program = compiled
        return "BPF_CGROUP_DEVICE"

    def stats(self) -> dict[str, int | float | None]:
        """Return the cgroup fields of event container.exited; None where the kernel is silent."""
        cpu = self._flat("cgroup", "cpu.stat")  # user and system even without the controller
        memory, pids = self._flat("memory", "memory.events"), self._flat("pids", "pids.events")
        read_bytes, write_bytes = self._io()
        return {
            "cpu.user_s": _seconds(cpu.get("user_usec")),
            "cpu.system_s": _seconds(cpu.get("system_usec")),
            "cpu.throttled_s": _seconds(cpu.get("throttled_usec")),
            "cpu.throttled_periods": cpu.get("nr_throttled"),
            "cpu.periods": cpu.get("nr_periods"),
            "memory.limit": self._limit("memory.limit"),
            # Linux 5.19. Before: no honest way, what is in use at the end is not the peak.
            "memory.peak": self._number("memory", "memory.peak"),
            "memory.failcnt": memory.get("max"),
            "memory.oom_kills": memory.get("oom_kill"),
            "pids.limit": self._limit("pids.limit"),
            "pids.peak": self._number("pids", "pids.peak"),  # not on older kernels
            "pids.denied": pids.get("max"),
            "io.read_bytes": read_bytes,
            "io.write_bytes": write_bytes,
        }

    def _io(self) -> tuple[int | None, int | None]:
        text = self._read("io", "io.stat")
        if text is None:
            return None, None
        sums = {"rbytes": 0, "wbytes": 0}
        for word in text.split():  # "254:0 rbytes=4096 wbytes=0 rios=1 …"
            key, _, value = word.partition("=")
            if key in sums:
                sums[key] += int(value)
        return sums["rbytes"], sums["wbytes"]

    def memory_usage(self) -> int | None:
        """See `group.Cgroup`."""
        return self._number("memory", "memory.current")

    def read_oom(self) -> int | None:
        """Return how many processes the kernel killed for memory here; None without memory."""
        return self._flat("memory", "memory.events").get("oom_kill")

    def watch_oom(self) -> tuple[int, int]:
        """Return ``memory.events`` and POLLPRI: any of its counters grew.

        Raises:
            HostError: without the memory controller.
        """
        if self._oom_fd is None:
            self.manager.need("memory", "watching for OOM kills")
            flags = os.O_RDONLY | os.O_CLOEXEC
            self._oom_fd = os.open(f"{self.path}/memory.events", flags, dir_fd=self._fd())
            self.clear_oom()  # only what comes after a read is news
        return self._oom_fd, select.POLLPRI

    def clear_oom(self) -> None:
        """Read the file."""
        if self._oom_fd is not None:
            os.pread(self._oom_fd, 4096, 0)

    def _wait_event(self, key: str, value: int, until: float) -> bool:
        """Wait for a line of cgroup.events; True also if the cgroup is gone."""
        try:
            fd = os.open(
                f"{self.path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd()
            )
        except FileNotFoundError:
            return True
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            while values.flat(os.pread(fd, 4096, 0).decode()).get(key) != value:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                poll.poll(left * 1000)
        finally:
            os.close(fd)
        return True

    def freeze(self, frozen: bool) -> None:
        """Write cgroup.freeze (Linux 5.2) and wait until it is complete."""
        tree.write(f"{self.path}/cgroup.freeze", str(int(frozen)), self._fd())
        if self._wait_event("frozen", int(frozen), time.monotonic() + FREEZE_TIMEOUT_S):
            return
        tree.write(f"{self.path}/cgroup.freeze", "0", self._fd())
        raise ContainerError(
            f"{self.path}: cannot freeze: a process does not stop",
            hint="a process waits in the kernel (state D in ps); try again",
            phase="freeze", container_id=self.path,
        )  # fmt: skip

    def is_frozen(self) -> bool:
        """Return whether cgroup.freeze is set here, or all processes are frozen from above."""
        asked = self._number("cgroup", "cgroup.freeze") == 1
        return asked or self._flat("cgroup", "cgroup.events").get("frozen") == 1

    def kill(self) -> None:
        """Write cgroup.kill (Linux 5.14); before, kill what is listed until nothing is."""
        try:
            tree.write(f"{self.path}/cgroup.kill", "1", self._fd())
        except SyscallError as err:
            if err.errno != ENOENT:
                raise
            until = time.monotonic() + KILL_TIMEOUT_S
            processes.kill_all(self.pids, until=until)  # [] if the cgroup itself is gone

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no process is inside; return False after `timeout_s`."""
        return self._wait_event("populated", 0, time.monotonic() + timeout_s)


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
