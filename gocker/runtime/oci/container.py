"""A container as its state directory and the kernel show it."""

from __future__ import annotations

import os
from errno import ESRCH

from gocker.errors import ContainerError, SyscallError
from gocker.linux import process
from gocker.runtime.oci import bundle, cgroups, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cgroup.group import Cgroup
    from gocker.runtime.oci.state import Directory


class Container:
    """One that exists. Owns its directory's descriptor; use it in a ``with`` statement.

    `record`: what state.json holds; {} if the runtime was killed before it wrote it.
    """

    __slots__ = ("directory", "record")

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.record: dict[str, Any] = directory.read(state.STATE) or {}

    @classmethod
    def open(cls, root: str, container_id: str, *, lock: bool = False) -> Container:
        """Open a container, perhaps with its lock.

        Raises:
            ContainerError: there is none, or it stays busy.
        """
        directory = state.Directory.open(root, container_id)
        try:
            if lock:
                directory.lock()
            return cls(directory)
        except BaseException:
            directory.close()
            raise

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.close()

    @property
    def id(self) -> str:
        """The container's name."""
        return self.directory.id

    @property
    def pid(self) -> int:
        """The first process's PID, or 0 if it has none any more."""
        pid: int = self.record.get("pid", 0)
        return pid if pid and state.start_time(pid) == self.record["start_time"] else 0

    def status(self) -> str:
        """Return one of OCI's states, or ``paused``."""
        pid = self.pid
        if not pid:
            return state.CREATING if self._is_being_made() else state.STOPPED
        if state.waits_for_start(pid, self.record["program"]):
            return state.PAUSED if self.frozen() else state.CREATED
        return state.PAUSED if self.frozen() else state.RUNNING

    def _is_being_made(self) -> bool:
        """Return whether ``create`` still works on it: then it has the lock."""
        if self.record.get("pid"):
            return False
        probe = state.Directory(
            self.directory.path.rpartition("/")[0], self.id,
            os.open(self.directory.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        )  # fmt: skip
        try:
            return not probe.try_lock()
        finally:
            probe.close()

    def cgroup(self) -> Cgroup | None:
        """Return its cgroups; None if it has none."""
        return cgroups.find(self.record.get("cgroup"))

    def frozen(self) -> bool:
        """Return whether its processes are frozen."""
        record = self.record.get("cgroup")
        if record is None:
            return False
        where = cgroups.paths(record)
        if record["mode"] == "v2":
            return _content(f"{where['']}/cgroup.freeze") == "1"
        return _content(f"{where.get('freezer')}/freezer.state") not in ("THAWED", "")

    def config(self) -> dict[str, Any]:
        """Return the configuration that it was created with."""
        config: dict[str, Any] | None = self.directory.read(state.CONFIG)
        if config is None:
            raise ContainerError(f"container {self.id} was never completely created")
        return config

    def oci_state(self, status: str | None = None) -> dict[str, Any]:
        """Return the state as the specification has it (runtime.md "State")."""
        status = status or self.status()
        # In runc's order, which callers have been seen to rely on.
        found: dict[str, Any] = {
            "ociVersion": self.record.get("ociVersion", bundle.VERSION),
            "id": self.id,
            "pid": 0 if status == state.STOPPED else self.record.get("pid", 0),
            "status": status,
            "bundle": self.record.get("bundle", ""),
        }
        found["annotations"] = self.record.get("annotations", {})
        return found

    def pidfd(self) -> int:
        """Return a pidfd of its first process.

        Raises:
            ContainerError: it does not run.
        """
        pid = self.record.get("pid", 0)
        if pid:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                pass
            else:
                # The PID may be someone else's by now; not after its pidfd is held.
                if state.start_time(pid) == self.record["start_time"]:
                    return fd
                os.close(fd)
        raise not_running(self.id)


def not_running(container_id: str) -> ContainerError:
    """Return the error that callers look for when a process is gone."""
    return ContainerError(f"container {container_id}: container not running", not_running=True)


def send_signal(pidfd: int, number: int) -> bool:
    """Send a signal; return False if the process is gone."""
    try:
        process.pidfd_send_signal(pidfd, number)
    except SyscallError as error:
        if error.errno != ESRCH:
            raise
        return False
    return True


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""
