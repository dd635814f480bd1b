"""One container as the launcher sees it: from clone3 to the removal of its last trace."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import time
from errno import ESRCH

from gocker import jsontext
from gocker.errors import GockerError, SyscallError
from gocker.linux import process, syscall_table
from gocker.linux.seccomp import NEW_LISTENER
from gocker.runtime import clone, init, listener
from gocker.runtime.failure import explain
from gocker.tree import remove_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import resource
    from typing import Any

    from gocker.cgroup.group import Cgroup
    from gocker.linux.vfork import Spawner
    from gocker.runtime.layers import Layer, Layers
    from gocker.runtime.netpool import Network, Pool

REMOVE_TIMEOUT_S = 1.0


class Container:
    """A started container. Owns its pidfd, its status pipe and its cgroup."""

    __slots__ = (
        "cgroup", "config", "directories", "entered", "error", "id", "keep", "layer", "namespaces",
        "network", "own_network", "pid", "pidfd", "program", "requested", "started", "status_fd",
        "usage",
    )  # fmt: skip

    def __init__(  # the container's parts, put together in one place
        self, container_id: str, setup: init.Setup, cgroup: Cgroup, layer: Layer | None,
        spawners: tuple[Spawner, Spawner] | None, own_pidns: int,
    ) -> None:  # fmt: skip
        """Start the container's first process.

        With `spawners` the program has been executed when this returns, or `error` says why
        not. Without, the status pipe ends when it is: see `read_status`.

        Raises:
            SyscallError: if there is no process; cgroup and layer stay the caller's then.
        """
        self.id = container_id
        self.config = setup.config
        self.layer = layer
        # Of its anonymous volumes, removed with it.
        self.directories: list[str] = []
        # Whether its files are wanted after its end.
        self.keep = False
        # Whether its network namespace was made for it alone, though not by it.
        self.own_network = False
        # The launcher's own, to be used again.
        self.network: Network | None = None
        self.cgroup = cgroup
        self.program = setup.seccomp
        # CLONE_NEW* of those made for it, and of all that a further process has to enter.
        self.namespaces = setup.namespaces
        self.entered = setup.spaces.entered
        self.requested = time.monotonic()
        self.started: float | None = None
        # Of the first process and all that it, or the end of its PID namespace, waited for.
        self.usage: resource.struct_rusage | None = None
        self.error: dict[str, Any] | None = None
        self.status_fd = -1
        with clone.InPidNamespace(setup, own_pidns):
            if spawners is not None and clone.can_share_memory(setup):
                self._spawn(spawners, setup)
            else:
                self._fork(setup)

    def _spawn(self, spawners: tuple[Spawner, Spawner], setup: init.Setup) -> None:
        self.pid, self.pidfd, error = clone.spawn(spawners, setup, self.cgroup.dir_fd())
        if error is None:
            self.started = time.monotonic()
        else:
            self.error = explain(error, setup.phase)

    def _fork(self, setup: init.Setup) -> None:
        asks = setup.seccomp is not None and bool(setup.seccomp[1] & NEW_LISTENER)
        self.status_fd, setup.status_fd = listener.pair() if asks else os.pipe2(os.O_CLOEXEC)
        try:
            self.pid, self.pidfd = clone.fork(setup, self.cgroup.dir_fd())
        except SyscallError:
            os.close(self.status_fd)
            raise
        finally:
            os.close(setup.status_fd)
        if asks:
            self._serve_listener()

    def _serve_listener(self) -> None:
        """Give the filter's listener away; the process waits for that."""
        state = {
            "ociVersion": self.config["ociVersion"], "id": self.id, "status": "creating",
            "pid": self.pid, "bundle": "", "annotations": self.config.get("annotations", {}),
        }  # fmt: skip
        profile = self.config["linux"]["seccomp"]
        try:
            error = listener.serve(self.status_fd, self.pidfd, self.pid, profile, state)
        except GockerError as failure:
            self.error = explain(failure, "seccomp")
            process.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        else:
            self.error = jsontext.loads(error) if error else None

    def read_status(self) -> None:
        """Read the status pipe to its end: the program was executed, or `error` says why not."""
        data = b""
        while chunk := os.read(self.status_fd, 65536):
            data += chunk
        os.close(self.status_fd)
        self.status_fd = -1
        if data:
            self.error = jsontext.loads(data)
        elif self.error is None:
            self.started = time.monotonic()

    def send_signal(self, number: int, *, or_kill: bool = False) -> int:
        """Send a signal to the first process; return the signal that was sent.

        With `or_kill` it is SIGKILL if a PID 1 could not receive `number`: the kernel drops
        signals without a handler for the first process of a PID namespace (pid_namespaces(7)).
        """
        if or_kill and self.namespaces & process.CLONE_NEWPID and not self._receives(number):
            number = signal.SIGKILL
        try:
            process.pidfd_send_signal(self.pidfd, number)
        except SyscallError as error:
            if error.errno != ESRCH:
                raise
        return number

    def _receives(self, number: int) -> bool:
        """Return whether PID 1 has a handler for a signal, or blocks it to wait for it.

        Inside sigwait(3), as our own init and tini are, the mask is lifted and shows nothing;
        the system call does.
        """
        try:
            return self._has_mask(number) or self._waits() or self._has_mask(number)
        except OSError:
            return True  # it is gone, or not ours to look at: its grace period decides

    def _has_mask(self, number: int) -> bool:
        with open(f"/proc/{self.pid}/status", "rb") as status:
            masks = [line[7:] for line in status if line.startswith((b"SigBlk:", b"SigCgt:"))]
        return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)

    def _waits(self) -> bool:
        machine = os.uname().machine
        if machine not in syscall_table.NATIVE_ARCH:
            return False
        with open(f"/proc/{self.pid}/syscall", "rb") as file:
            number = file.read().split()[0]  # "running" outside of any
        return number == b"%d" % syscall_table.numbers(machine)["rt_sigtimedwait"]

    def kill(self) -> None:
        """Kill every process of the container."""
        self.send_signal(signal.SIGKILL)
        if self.namespaces & process.CLONE_NEWPID:
            self.cgroup.thaw()
        else:
            self.cgroup.kill()

    def wait(self) -> tuple[int | None, int | None]:
        """Reap the first process, which has ended; return (exit code, signal), one of them None."""
        _, status, self.usage = os.wait4(self.pid, 0)
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        return (code, None) if code >= 0 else (None, -code)

    def give_network_back(self, networks: Pool) -> None:
        """Let the network serve again once the first process, and so every one, is gone."""
        if self.network is not None:
            network, private = self.network, self.shares_nothing()
            self.network, self.own_network = None, True
            networks.give_back(network, private=private)

    def give_layer_back(self, layers: Layers) -> None:
        """Let an untouched layer serve again once the first process, and so every one, is gone.

        Any other layer stays for `remove`, which nobody waits for.
        """
        if self.layer is not None and layers.keep(self.layer, private=self.shares_nothing()):
            self.layer = None

    def remove(self, layers: Layers) -> None:
        """Remove what a dead container left; whatever fails, the rest is tried.

        Raises:
            OSError, GockerError: for the last thing that could not be removed.
        """
        try:
            # Busy for a moment if a process that was executed in it is not reaped yet.
            if not self.cgroup.remove() and self.cgroup.wait_empty(REMOVE_TIMEOUT_S):
                self.cgroup.remove()
        finally:
            try:
                for directory in self.directories:
                    remove_path(directory)
            finally:
                if self.layer is not None:
                    layers.give_back(self.layer, private=self.shares_nothing())

    def shares_nothing(self) -> bool:
        """Return whether no other container could have got a descriptor from this one."""
        own = process.CLONE_NEWNS | process.CLONE_NEWPID
        if not self.own_network and self.network is None:
            own |= process.CLONE_NEWNET
        binds = any(entry.get("type") == "bind" for entry in self.config.get("mounts", ()))
        return self.namespaces & own == own and not binds
