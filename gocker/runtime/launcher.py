"""The launcher: clones every container, reaps it, reports. Single-threaded, small, stdlib only.

It starts before the front has read the spec, and serves the requests of `gocker.wire`. End of
file on its socket means that the front is gone: it kills everything, cleans up and exits; what is
to outlive the front it holds for the next one (`gocker.runtime.holding`).

Events it sends, beside ``t``:

``ready``        ``pid``, ``cgroup``: v1, v2 or hybrid, ``controllers``: those that can be used,
                 ``cgroups``: names of all gocker's;
                 ``landlock``: its ABI; ``read_only``: whether the interpreter is
``started``      ``id``, ``pid``, ``start_time``, ``start_s``, ``applied``, ``skipped``: limits
``failed``       ``id``, ``error``
``exited``       ``id``, ``code``, ``signal``, ``duration_s``, ``stats``; ``upper``: the directory
                 of what it wrote to its root, if it was started with ``keep``
``signalled``    ``id``, ``signal``: what was sent in the end
``joined``       ``id``: a container of another launcher that ``exec`` can name now
``copied``       ``copy_id``, ``skipped``, ``broken``, or ``error``
``exec_started`` ``exec_id``, ``pid``: the program was executed, if ``report`` was asked for
``exec_exited``  ``exec_id``, ``code``, ``signal``, ``timed_out``, or ``error``
``swept``        ``removed``: names of what was left by others
``names``        ``names``: numbers of this machine's system calls by name
``checked``      the host can set the limits asked about; ``failed`` if not
"""

from __future__ import annotations

import _socket
import gc
import os
import sys
import time

from gocker import cgroup
from gocker.errors import ConfigError, GockerError
from gocker.linux import needed, syscall_table
from gocker.runtime import imports, interpreter, landlock, netfork, prepare, report, rootfs
from gocker.runtime.executions import Executions
from gocker.runtime.holding import Holding
from gocker.runtime.layers import Layers
from gocker.runtime.server import Server, begin
from gocker.runtime.start import Starter
from gocker.tree import remove_path
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.cgroup.base import Manager
    from gocker.runtime.container import Container
    from gocker.wire import Message


# Dead containers that may wait for their removal while others keep the launcher busy.
MAX_GARBAGE = 32


class Launcher(Server):
    """State of the launcher; `serve` is its only loop."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._containers: dict[str, Container] = {}
        self._executions = Executions(self._containers, self._watch, self._unwatch, self._emit)
        self._holding = Holding(self._watch, self._unwatch, self._adopted)
        self._garbage: list[Container] = []
        # Dead containers whose files the front still wants.
        self._kept: dict[str, Container] = {}
        self._pidns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._scratch = ""
        # What was prepared, to be taken down at the end.
        self._closings: list[Callable[[], None]] = []
        self._manager: Manager
        # The one in use, and those of the same name in other places.
        self._managers: list[Manager] = []
        self._layers: Layers
        self._kept_fds: list[int] = []
        # System calls that cannot be made here.
        self.missing: dict[str, int] = {}
        self._network_fd = -1
        self._starter: Starter
        self._handlers = {
            "init": self._init, "define": self._define, "start": self._start,
            "signal": self._signal, "kill": self._kill, "freeze": self._freeze,
            "join": self._executions.join, "exec": self._executions.exec,
            "usage": self._executions.usage,
            "exec_signal": self._executions.signal, "copy": self._executions.copy,
            "sweep": self._sweep, "release": self._release, "check": self._check,
            "names": self._names, "network": self._network, "stdio": prepare.stdio,
            "hold": self._holding.hold, "let_go": self._holding.let_go,
        }  # fmt: skip

    def serve(self) -> None:
        """Serve until the front is gone and the last container with it."""
        self._watch(self._connection.fileno(), self._receive)
        while not self._closing or self._containers or self._executions.busy():
            timeout = 0 if self._garbage else self._executions.seconds_to_deadline()
            if not self._dispatch(timeout):
                self._idle()
            elif len(self._garbage) > MAX_GARBAGE:
                self._collect()
        self._garbage += self._kept.values()
        while self._garbage:
            self._collect()
        if self._network_fd >= 0:
            self._network_ended()
        for close in self._closings:
            report.attempt("clean-up", close)

    def _close_managers(self) -> None:
        """Also those that containers with a parent cgroup of their own have added."""
        for manager in self._managers:
            report.attempt("clean-up", manager.close)

    # -- the loop's own ------------------------------------------------------------------------

    def _give_up(self) -> None:
        self._holding.drop()
        super()._give_up()

    def _emit(self, event: str, **fields: Any) -> None:
        if not self._holding.alone:
            super()._emit(event, **fields)

    def _idle(self) -> None:
        self._executions.time_out()
        if self._garbage:
            self._collect()

    def _make_room(self) -> None:
        """What a dead container wrote is no other one's trouble where the disk is nearly full."""
        while self._garbage and self._layers.short_of_space():
            self._collect()

    def _collect(self) -> None:
        """Remove one dead container's traces, when nothing else is to be done."""
        container = self._garbage.pop()
        report.attempt(container.id, lambda: container.remove(self._layers))

    def _close(self) -> None:
        """The front is gone: no container may outlive it, but for those that are held."""
        self._unwatch(self._connection.fileno())
        self._executions.client_gone()
        held = self._holding.ids()
        if self._holding.stays(self._containers):
            self._connection.close()
            self._holding.orphaned()
        else:
            self._closing = True
            self._holding.drop()
        for container in self._containers.values():
            if self._closing or container.id not in held:
                container.kill()

    def _adopted(self, connection: Connection) -> None:
        """There is another front: go on as before."""
        self._connection = connection
        self._watch(connection.fileno(), self._receive)
        try:
            self._holding.hand_over(connection, self._kept_fds[0])
        except OSError:
            self._close()  # it is gone as well

    # -- requests ------------------------------------------------------------------------------

    def _init(self, message: Message, fds: list[int]) -> None:
        """Prepare for containers; fds: locks to hold while this process lives.

        ``scratch``: a directory to mount on; ``layers``: where upper layers are made, with
        names that begin with ``prefix``; ``cgroup``: name of all containers' parent cgroup,
        looked for ``everywhere`` and not only where this process is, to sweep it; ``vfork``:
        whether children may share memory with this process until they execute; ``programs``:
        where compiled seccomp programs are kept.
        """
        prepare.refuse(self.missing)
        self._kept_fds = [os.dup(fd) for fd in fds]
        self._scratch = message["scratch"]
        spawners = prepare.spawners() if message["vfork"] else None
        host_mount_fd = prepare.scratch(self._scratch)
        self._layers = Layers(message["layers"], message["prefix"], rootfs.ROOTFS)
        self._closings.append(self._layers.close)
        self._manager = cgroup.open_manager(name=message["cgroup"])
        self._managers = [self._manager]
        if message.get("everywhere"):
            self._managers += cgroup.other_managers(self._manager)
        self._closings.append(self._close_managers)
        self._starter = Starter(
            self._manager, self._layers, self._scratch, spawners, self._pidns, host_mount_fd
        )
        self._starter.managers = self._managers
        self._starter.programs = message.get("programs")
        imports.forget_imports()
        # What lives now lives for ever: a collection must not touch (and copy) its pages.
        gc.freeze()
        names = {name for manager in self._managers for name in manager.names()}
        self._emit("ready", pid=os.getpid(), cgroup=self._manager.mode, cgroups=sorted(names),
                   controllers=sorted(self._manager.directories),
                   landlock=landlock.ABI, read_only=interpreter.is_read_only())  # fmt: skip

    def _network(self, _: Message, fds: list[int]) -> None:
        """Start the project's network; it answers on the first of its sockets, ``fds``."""
        self._network_fd = netfork.fork(fds)
        self._watch(self._network_fd, self._network_ended)

    def _network_ended(self) -> None:
        self._unwatch(self._network_fd)
        netfork.reap(self._network_fd)
        self._network_fd = -1

    def _define(self, message: Message, _: list[int]) -> None:
        """Keep a ``value`` that many requests name by its ``key``; compile a seccomp profile."""
        self._starter.define(message["key"], message["name"], message["value"])

    def _start(self, message: Message, fds: list[int]) -> None:
        self._make_room()
        container = self._starter.start(message, fds)
        self._containers[container.id] = container
        self._watch(container.pidfd, lambda: self._exited(container))
        if container.status_fd >= 0:
            self._watch(container.status_fd, lambda: self._executed(container))
        else:
            self._report_start(container)

    def _executed(self, container: Container) -> None:
        """The status pipe ended: the program was executed, or the first process said why not."""
        self._unwatch(container.status_fd)
        container.read_status()
        self._report_start(container)

    def _report_start(self, container: Container) -> None:
        if container.error is not None:
            self._emit("failed", id=container.id, error=container.error)
            return
        fields = report.started(container)
        self._holding.started(container.id, fields)
        self._emit("started", **fields)

    def _exited(self, container: Container) -> None:
        if container.status_fd >= 0:
            self._executed(container)
        self._unwatch(container.pidfd)
        code, number = container.wait()
        now = time.monotonic()
        del self._containers[container.id]
        stats = report.stats(container)
        if container.started is None:
            self._garbage.append(container)
            self._give_back(container)
            return
        upper = {}
        if container.keep and container.layer is not None:
            self._kept[container.id] = container
            report.attempt(container.id, container.layer.gather)
            upper["upper"] = container.layer.upper
        else:
            self._garbage.append(container)
        fields = {"id": container.id, "code": code, "signal": number, "stats": stats,
                  "duration_s": round(now - container.started, 6), **upper}  # fmt: skip
        self._holding.exited(container.id, fields)
        self._emit("exited", **fields)
        self._give_back(container)
        if self._holding.alone and not self._holding.stays(self._containers):
            self._holding.end()
            self._closing = True

    def _give_back(self, container: Container) -> None:
        """Let what is as good as new serve again, before the next start is looked at."""
        report.attempt(container.id, lambda: container.give_network_back(self._starter.networks))
        if container.id not in self._kept:
            report.attempt(container.id, lambda: container.give_layer_back(self._layers))

    def _release(self, message: Message, _: list[int]) -> None:
        """Let go of the files of a container that was started with ``keep`` and has ended."""
        container = self._kept.pop(message["id"], None)
        if container is not None:
            self._garbage.append(container)

    def _signal(self, message: Message, _: list[int]) -> None:
        container = self._containers.get(message["id"])
        if container is not None:
            or_kill = message.get("or_kill", False)
            sent = container.send_signal(message["signal"], or_kill=or_kill)
            self._emit("signalled", id=container.id, signal=sent)

    def _kill(self, message: Message, _: list[int]) -> None:
        container = self._containers.get(message["id"])
        if container is not None:
            container.kill()

    def _freeze(self, message: Message, _: list[int]) -> None:
        self._containers[message["id"]].cgroup.freeze(message["frozen"])

    def _names(self, _: Message, __: list[int]) -> None:
        """Tell this machine's system calls, for reports: only this half has the tables."""
        self._emit("names", names=syscall_table.numbers(os.uname().machine))

    def _check(self, message: Message, _: list[int]) -> None:
        """Look whether this host has what limits need.

        ``resources``: a list of [OCI's resources, names of those that may be missing].
        """
        for resources, optional in message["resources"]:
            try:
                self._manager.check(resources, optional)
            except ConfigError:
                pass  # the value's fault and not the host's: the container's start says so
        self._emit("checked")

    def _sweep(self, message: Message, _: list[int]) -> None:
        """Remove what dead runs left: cgroups by their ``names``, ``directories``.

        Cgroups of ``unknown`` runs are removed if no launcher lives that could have made them.
        """
        names, unknown = set(message["names"]), set(message["unknown"])
        dry_run = message.get("dry_run", False)
        removed: list[str] = []
        for manager in self._managers:
            removed += manager.sweep(names.__contains__, unknown.__contains__, dry_run=dry_run)
        removed = sorted(set(removed))
        failure: GockerError | None = None
        for directory in message["directories"]:
            try:
                if not dry_run:
                    remove_path(directory)
                removed.append(directory)
            except GockerError as error:  # the others go all the same
                failure = error
        if failure is not None:
            raise failure
        self._emit("swept", removed=removed)


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    fd = int(sys.argv[1])
    missing = needed.missing()
    # Without close_range nothing is ever started: `prepare.refuse` says why.
    begin(fd, "gocker-launcher", close_others="close_range" not in missing)
    gc.disable()
    # What lives now lives for ever: a collection must not touch (and copy) its pages. The front
    # is still reading its spec: nobody waits for this.
    gc.collect()
    gc.freeze()
    try:
        launcher = Launcher(Connection(_socket.socket(fileno=fd)))
        launcher.missing = missing
        launcher.serve()
    except Exception as error:  # its children die with it
        report.complain("end", error)
        sys.exit(70)
