"""The way out of an ordinary user's project: slirp4netns(1) in the place of a link to the host.

It speaks TCP and UDP for the project's namespace with sockets of the user's own, and forwards
published ports, which the rules of the project lead on as they do for a link. Nothing changes on
the host. IPv4 only; source addresses of clients are slirp's own.
"""

from __future__ import annotations

import _socket as socket
import json
import os
import select
import signal

from gocker import nested
from gocker.errors import HostError
from gocker.linux import process
from gocker.runtime import hostside
from gocker.runtime.netrules import OUT, Link
from gocker.runtime.uplink import HOST4, reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from gocker.runtime.hostside import Stayer
    from gocker.wire import Message

PROGRAM = "slirp4netns"
# Its own choice within it: .2 is the host, .100 the namespace.
_NETWORK, _HOST, _PROJECT = "169.254.2.0/24", "169.254.2.2", "169.254.2.100"
_API = "slirp"
_PATIENCE_S = 30.0


class Uplink:
    """As `gocker.runtime.uplink.Uplink`. Made in the host's namespace, which it never sees again.

    Args:
        ports: what is published.
        outward: whether a network leads out.
        directory: where the socket by which slirp4netns is told of ports may be.
        access: whether containers may connect to the host's own 127.0.0.1.
    """

    def __init__(
        self, ports: list[dict[str, Any]], directory: str, *, outward: bool, access: bool
    ) -> None:
        """Take the published ports.

        Raises:
            HostError: one is taken; or there is no slirp4netns.
        """
        self.published, self._reserved = reserve(ports)
        for port in self.published:
            if ":" in port.host or ":" in port.address:
                raise HostError(
                    f"cannot publish [{port.host}]:{port.port}: slirp4netns forwards IPv4 only",
                    hint="publish on an IPv4 address, or run gocker as root",
                )
        self.links: list[Link] = []
        self._directory = directory
        self._ended_fd = -1
        self._child: Stayer | None = None
        if outward:
            program = _find()
            self._child = hostside.Stayer(
                lambda message, fds: _execute(program, message, fds, access=access)
            )

    def lead_out(self, home: int) -> None:
        """Have slirp4netns make its interface in the project's namespace `home`, and wait for it.

        Raises:
            HostError: with what it says.
        """
        if self._child is None:
            return
        ready_fd, ready = os.pipe2(os.O_CLOEXEC)
        ended, self._ended_fd = os.pipe2(os.O_CLOEXEC)
        said_fd, said = os.pipe2(os.O_CLOEXEC)
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        given = [ready, ended, said, directory, home]
        try:
            self._child.tell({"pid": os.getpid()}, given)
        finally:
            for fd in given[:-1]:
                os.close(fd)
        with open(ready_fd, "rb") as answer, open(said_fd, "rb") as errors:
            select.select([answer], [], [], _PATIENCE_S)
            if not select.select([answer], [], [], 0)[0] or not answer.read(1):
                os.kill(self._child.pid, signal.SIGKILL)  # our child, not reaped
                text = errors.read(4096).decode("utf-8", "replace").strip()
                raise HostError(
                    f"slirp4netns gives the project no way out: {text.splitlines()[-1:]}",
                    hint="see that /dev/net/tun is there and can be opened: chmod 666 /dev/net/tun",
                )
        self.links = [Link(PROGRAM, 4, _HOST, _PROJECT, forwarded=True)]

    def publish(self) -> None:
        """Have the published ports forwarded.

        Raises:
            HostError: one is taken by now.
        """
        if not self.links:
            return
        for port, reserved in zip(self.published, self._reserved, strict=True):
            reserved.close()  # it was kept until now
            answer = self._ask({
                "execute": "add_hostfwd",
                "arguments": {
                    "proto": port.protocol, "host_addr": port.host, "host_port": port.port,
                    "guest_addr": _PROJECT, "guest_port": port.number,
                },
            })  # fmt: skip
            if "error" in answer:
                raise HostError(
                    f"cannot publish {port.host}:{port.port}/{port.protocol}: "
                    f"{answer['error'].get('desc')}",
                    hint="see who has it with `ss -lnp`",
                )
        self._reserved.clear()

    def _ask(self, request: Message) -> Message:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        at = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.settimeout(_PATIENCE_S)
            sock.connect(f"/proc/self/fd/{at}/{_API}")  # a path of a socket has 107 bytes at most
            sock.send(json.dumps(request).encode())
            sock.shutdown(socket.SHUT_WR)
            data = b""
            while more := sock.recv(4096):
                data += more
        finally:
            os.close(at)
            sock.close()
        answer: Message = json.loads(data)
        return answer

    def access_rules(self) -> str:
        """Return the rules that lead the address ``host-gateway`` to the host."""
        return (
            f"table ip gocker_host {{\n chain before {{\n"
            f"  type nat hook prerouting priority -100\n  policy accept\n"
            f"  ip daddr {HOST4} dnat to {_HOST}\n }}\n}}\n"
        )

    def on_host(self, home: int) -> NoReturn:  # noqa: ARG002  # as the other one
        """Refuse: there is no way back to the host's network."""
        raise HostError(
            "a macvlan network is a part of the host's, which an ordinary user cannot change",
            hint="use the driver bridge, or run gocker as root",
        )

    def send(self, *_: object) -> None:
        """Do nothing: `on_host` refuses before."""

    def show(self, home: int) -> str:  # noqa: ARG002  # as the other one
        """Return the host's rules: none."""
        return ""

    def close(self) -> None:
        """End slirp4netns, and wait for that."""
        if self._child is None:
            return
        self._child.dismiss()
        if self._ended_fd >= 0:
            os.close(self._ended_fd)
            try:
                os.unlink(f"{self._directory}/{_API}")
            except FileNotFoundError:
                pass  # it removes it itself
        self._child.wait()


def _find() -> str:
    path = nested.program(PROGRAM)
    if path:
        return path
    raise HostError(
        "a network that leads out needs slirp4netns where gocker is not run by root",
        hint="apt-get install slirp4netns, or mark the networks internal: true",
    )


def _execute(program: str, message: Message, fds: list[int], *, access: bool) -> None:
    """Be slirp4netns for the project's namespace; ends with the other end of its exit pipe."""
    ready, ended, said, directory, home = fds
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != message["pid"]:
        return
    os.fchdir(directory)
    for fd in (ready, ended, home):
        os.set_inheritable(fd, True)
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (null, 1), (said, 2)):
        os.dup2(source, target)
    keep = {ready, ended, home}
    for fd in range(3, max(keep) + 1):
        if fd not in keep:
            _close(fd)
    process.close_range(max(keep) + 1, 1 << 31)
    options = [
        "--configure", "--mtu=65520", f"--cidr={_NETWORK}", "--disable-dns",
        f"--ready-fd={ready}", f"--exit-fd={ended}", f"--api-socket={_API}",
        "--netns-type=path",
    ]  # fmt: skip
    if not access:
        options.append("--disable-host-loopback")
    command = [program, *options, f"/proc/self/fd/{home}", OUT]
    os.execve(program, command, {})  # noqa: S606  # no shell is wanted


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # not open
