"""The front's end of a project's network: asks for namespaces ahead, tells who runs.

Nobody waits: namespaces are made while the launcher starts others, and what cannot be sent at
once is queued. Requests and answers: `gocker.runtime.network`; names: `gocker.runtime.names`.
"""

from __future__ import annotations

import _socket as socket
import os
import selectors
import time
from collections import deque

from gocker.digest import hexdigest
from gocker.errors import ContainerError, HostError, from_wire
from gocker.state.sockets import listen
from gocker.wire import Connection, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker import oci
    from gocker.network.model import Attachment, NetworkPlan
    from gocker.plan.model import Plan
    from gocker.scheduler.launcher import Launcher
    from gocker.state.run import Run
    from gocker.wire import Message

# In the run's directory: where other commands ask the network's process.
SOCKET = "network"
# Namespaces made before anybody asks for them: about 60 KiB of kernel memory each.
AHEAD = 64


class Channel:
    """A socket to a process of ours that is never waited for; owns it."""

    def __init__(self, sock: socket.socket) -> None:
        self.connection = Connection(sock)
        self._socket = sock
        self._outgoing: deque[bytes] = deque()
        self._selector: selectors.BaseSelector | None = None
        self._turn: Callable[[], None]
        self._writing = False

    def watch(self, selector: selectors.BaseSelector, turn: Callable[[], None]) -> None:
        """Call `turn` when there is something to read, and never wait from now on."""
        self._socket.setblocking(False)
        self._selector, self._turn = selector, turn
        selector.register(self.connection, selectors.EVENT_READ, self._on_event)

    def _on_event(self) -> None:
        self._flush()
        self._turn()

    def send(self, message: Message) -> None:
        """Queue a message and send what the socket takes."""
        self._outgoing.append(encode(message))
        self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            try:
                self.connection.send_encoded(self._outgoing[0])
            except BlockingIOError:
                break
            except (BrokenPipeError, ConnectionResetError):
                pass  # reading says so
            self._outgoing.popleft()
        if self._selector is not None and bool(self._outgoing) != self._writing:
            self._writing = bool(self._outgoing)
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._writing else 0)
            self._selector.modify(self.connection, mask, self._on_event)

    def close(self) -> None:
        """Close the socket: the other side ends."""
        if self._selector is not None:
            self._selector.unregister(self.connection)
            self._selector = None
        self.connection.close()


class _Prepared:
    """A namespace that was asked for."""

    __slots__ = ("error", "fd", "key", "then", "unit")

    def __init__(self, unit: str, key: str) -> None:
        self.unit = unit
        self.key = key
        self.fd = -1
        self.error: dict[str, Any] | None = None
        self.then: Callable[[_Prepared], None] | None = None


class ProjectNetwork:
    """A plan's networks, in a process that `launcher` starts."""

    def __init__(self, plan: Plan, run: Run, launcher: Launcher) -> None:
        """Ask for everything; `ready` waits for it.

        Raises:
            HostError: if the launcher is gone.
        """
        assert plan.network is not None  # noqa: S101  # for the type checker
        kind = socket.SOCK_SEQPACKET
        control, theirs = socket.socketpair(socket.AF_UNIX, kind)
        names, resolvers = socket.socketpair(socket.AF_UNIX, kind)
        self._begin(plan, plan.network, control, names)
        given = [theirs, resolvers]
        try:
            given.append(listen(run, SOCKET))
            launcher.ask({"op": "network"}, tuple(sock.fileno() for sock in given))
        finally:
            for sock in given:
                sock.close()
        self._control.send(self._up(run.id) | {"directory": run.path})

    def _begin(
        self, plan: Plan, network: NetworkPlan, control: socket.socket, names: socket.socket
    ) -> None:  # fmt: skip
        self._plan = plan
        self._network = network
        self._control, self._names = Channel(control), Channel(names)
        self._serial = 0
        self._ahead: dict[str, _Prepared] = {}
        self._keys: dict[str, _Prepared] = {}
        # Attempt's id -> its namespace's key; unit -> a descriptor that others share.
        self._running: dict[str, str] = {}
        self._shared_fds: dict[str, int] = {}
        attachments = [made.network for made in plan.containers.values() if made.network]
        self._sharing = {it.share for it in attachments if it.share}
        self.answer: Message = {}

    def _up(self, run_id: str) -> Message:
        names = ("key", "driver", "bridge", "mac", "gateways", "subnets", "mtu", "internal", "icc",
                 "masquerade", "parent", "mode")  # fmt: skip
        given: dict[str, list[str]] = {it.key: [] for it in self._network.networks}
        for made in self._plan.containers.values():
            for endpoint in made.network.endpoints if made.network is not None else ():
                given[endpoint.network] += endpoint.addresses
        ports = ("protocol", "host", "first", "last", "target", "address", "path", "unit")
        return {
            "op": "up",
            "id": hexdigest(run_id.encode())[:10],
            "networks": [{name: getattr(it, name) for name in names} | {"reserved": given[it.key]}
                         for it in self._network.networks],
            "ports": [{name: getattr(it, name) for name in ports}
                      for it in self._network.publications],
            "access": self._network.access,
        }  # fmt: skip

    def ready(self) -> Message:
        """Wait until the project's namespace is there; return the answer.

        Raises:
            GockerError: what cannot be had, as a port that is taken.
        """
        try:
            received = self._control.connection.receive()
        except ConnectionResetError:
            received = None
        if received is None:
            raise lost()
        answer, _ = received
        if "error" in answer:
            raise from_wire(answer["error"])
        self.answer = answer
        return answer

    def watch(
        self, selector: selectors.BaseSelector, on_lost: Callable[[HostError], None],
        after: Callable[[], object],
    ) -> None:  # fmt: skip
        """Join the loop, and ask for the namespaces of the first containers.

        Args:
            selector: the loop's.
            on_lost: called when a process of the network is gone.
            after: called after each answer.
        """
        self._on_lost, self._after = on_lost, after
        self._control.watch(selector, self._receive)
        self._names.watch(selector, self._resolver_lost)
        running = {key.rpartition("/")[0] for key in self._running.values()}
        wanted = [
            name for name in self._plan.units
            if self._own(name) is not None and name not in running
        ]  # fmt: skip
        for unit in wanted[:AHEAD]:
            self._ahead[unit] = self._ask(unit)

    def _own(self, unit: str) -> Attachment | None:
        attachment = self._plan.containers[unit].network
        return None if attachment is None or attachment.share else attachment

    def _ask(self, unit: str) -> _Prepared:
        self._serial += 1
        prepared = _Prepared(unit, f"{unit}/{self._serial}")
        self._keys[prepared.key] = prepared
        made = self._plan.containers[unit]
        attachment = made.network
        assert attachment is not None  # noqa: S101  # `_own` has looked
        self._control.send({
            "op": "attach", "key": prepared.key,
            "sysctl": [*_sysctls(made.config), *attachment.sysctl],
            "endpoints": [_endpoint(it) for it in attachment.endpoints],
        })  # fmt: skip
        return prepared

    def _receive(self) -> None:
        while True:
            try:
                received = self._control.connection.receive()
            except BlockingIOError:
                return
            except ConnectionResetError:
                received = None
            if received is None:
                self._on_lost(lost())
                return
            self._take(*received)
            self._after()

    def _take(self, message: Message, fds: list[int]) -> None:
        prepared = self._keys.get(message.get("key") or "")
        if message["event"] != "attached" or prepared is None:
            for fd in fds:
                os.close(fd)
            return
        prepared.error = message.get("error")
        prepared.fd = fds[0] if fds else -1
        if prepared.error is None:
            self._know(prepared)
        if prepared.then is not None:
            prepared.then(prepared)

    def _resolver_lost(self) -> None:
        try:
            if self._names.connection.receive() is not None:
                return
        except BlockingIOError:
            return
        except ConnectionResetError:
            pass
        self._on_lost(lost("resolver"))

    def _know(self, prepared: _Prepared) -> None:
        attachment = self._plan.containers[prepared.unit].network
        assert attachment is not None  # noqa: S101  # it was asked for
        if attachment.endpoints:
            self._names.send({
                "op": "know", "key": prepared.key, "dns": attachment.dns,
                "links": dict(attachment.links),
                "endpoints": [
                    {"network": it.network, "names": it.names, "domain": it.domain,
                     "addresses": [address.partition("/")[0] for address in it.addresses]}
                    for it in attachment.endpoints
                ],
            })  # fmt: skip

    # -- another supervisor ----------------------------------------------------------------------

    def copies(self) -> dict[str, int]:
        """Return copies of the sockets by role, for who goes on when we cannot; the caller's."""
        return {"network": os.dup(self._control.connection.fileno()),
                "names": os.dup(self._names.connection.fileno())}  # fmt: skip

    def key(self, attempt: str) -> str | None:
        """Return the key of a container's namespace, None if it has none of its own."""
        return self._running.get(attempt)

    @classmethod
    def resumed(cls, plan: Plan, fds: dict[str, int], kept: dict[str, str]) -> ProjectNetwork:
        """Return the network whose sockets `copies` gave; own them.

        Args:
            plan: of the project.
            fds: the sockets by role.
            kept: keys of containers that run on by their ids; others are forgotten.
        """
        assert plan.network is not None  # noqa: S101  # it has sockets
        self = cls.__new__(cls)
        self._begin(plan, plan.network, *(
            socket.socket(fileno=fds[role]) for role in ("network", "names")
        ))  # fmt: skip
        self._running = dict(kept)
        for key in kept.values():
            self._keys[key] = _Prepared(key.rpartition("/")[0], key)
        # Beyond every number of the one before: answers to it may be on their way.
        self._serial = time.monotonic_ns() // 1_000_000
        for channel in (self._control, self._names):
            channel.send({"op": "retain", "keys": [*kept.values()]})
        return self

    def shares(self, unit: str, fd: int) -> None:
        """Note the namespace of a unit that runs on, for those who share it; own `fd`."""
        self._shared_fds[unit] = fd

    def shared(self) -> set[str]:
        """Return the units whose namespaces others share."""
        return self._sharing

    # -- for the loop ----------------------------------------------------------------------------

    def attach(self, unit: str, attempt: str, then: Callable[..., None]) -> None:
        """Have a container started in its namespace.

        Args:
            unit: whose it is.
            attempt: the container's identifier.
            then: called with the namespace's descriptor, which it owns, and None; or with -1
                and an error; at once if the namespace is ready. ``shared=True`` if others have
                it, too.
        """
        attachment = self._plan.containers[unit].network
        if attachment is not None and attachment.share:
            fd = self._shared_fds.get(attachment.share, -1)
            if fd >= 0:
                then(os.dup(fd), None, shared=True)
                return
            text = f"{attachment.share!r}, whose network {unit!r} has, is not running"
            then(-1, ContainerError(text, phase="network"))
            return
        prepared = self._ahead.pop(unit, None) or self._ask(unit)

        def ready(prepared: _Prepared) -> None:
            if prepared.error is not None:
                del self._keys[prepared.key]
                then(-1, from_wire(prepared.error))
                return
            self._running[attempt] = prepared.key
            if unit in self._sharing:
                self._forget_shared(unit)
                self._shared_fds[unit] = os.dup(prepared.fd)
            fd, prepared.fd = prepared.fd, -1
            then(fd, None, shared=unit in self._sharing)

        if prepared.fd >= 0 or prepared.error is not None:
            ready(prepared)
        else:
            prepared.then = ready

    def adopt(self, plan: Plan, renew: set[str]) -> None:
        """Go on with another plan of the same networks; `renew` have other places in them."""
        self._plan = plan
        for unit in renew & self._ahead.keys():
            prepared = self._ahead.pop(unit)
            prepared.then = None
        attachments = [made.network for made in plan.containers.values() if made.network]
        self._sharing = {it.share for it in attachments if it.share}

    def started(self, attempt: str) -> None:
        """Show the container's names: it runs."""
        key = self._running.get(attempt)
        if key is not None and self._has_names(key):
            self._names.send({"op": "add", "key": key})

    def ended(self, attempt: str) -> None:
        """Forget a container, whatever became of it."""
        key = self._running.pop(attempt, None)
        if key is None:
            return
        del self._keys[key]
        if self._has_names(key):
            self._names.send({"op": "remove", "key": key})
        self._control.send({"op": "detach", "key": key})

    def _has_names(self, key: str) -> bool:
        attachment = self._plan.containers[key.rpartition("/")[0]].network
        return attachment is not None and bool(attachment.endpoints)

    def _forget_shared(self, unit: str) -> None:
        fd = self._shared_fds.pop(unit, -1)
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Let everything go: the processes end, and the kernel removes what they had."""
        for prepared in self._keys.values():
            if prepared.fd >= 0:
                os.close(prepared.fd)
        for unit in list(self._shared_fds):
            self._forget_shared(unit)
        self._control.close()
        self._names.close()


def _sysctls(config: oci.Config) -> list[tuple[str, str]]:
    """Return the network's part of a container's sysctls, as path below /proc/sys and value."""
    found = config["linux"].get("sysctl", {})
    return [
        (name.replace(".", "/"), value) for name, value in found.items() if name.startswith("net.")
    ]


def _endpoint(endpoint: Any) -> dict[str, Any]:
    names = ("network", "interface", "mac", "addresses", "gateways", "link_local")
    return {name: getattr(endpoint, name) for name in names}


def lost(what: str = "network") -> HostError:
    """Return the error for a network whose process, or whose resolver's, is gone."""
    return HostError(
        f"the process of the project's {what} is gone",
        hint="see the kernel's log (dmesg) for an OOM kill; nothing of it is left",
    )
