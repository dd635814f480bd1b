"""Network namespaces of the tests' own: no test has the machine's network.

Namespaces have no names in the file system; they are descriptors, or a process's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gocker.linux import netlink, process
from gocker.linux.netlink import Netlink

_RTMGRP_LINK, _RTMGRP_IPV6_ROUTE = 1, 0x400


def enter_new() -> None:
    """Enter a new namespace with `lo` up; for a child that is about to execute something."""
    process.unshare(process.CLONE_NEWNET)
    link = Netlink()
    link.send(netlink.set_up(1))
    link.close()


def enter(fd: int) -> None:
    process.setns(fd, process.CLONE_NEWNET)


class Namespace:
    """A network namespace that lives as long as this object's descriptor."""

    def __init__(self) -> None:
        with _own():
            enter_new()
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this process in the namespace: sockets that are made stay there."""
        with _own():
            enter(self.fd)
            yield

    def run(self, *argv: str, check: bool = True, **how: object) -> str:
        """Run a program there; return its standard output."""
        result = subprocess.run(
            argv, check=False, capture_output=True, text=True,
            preexec_fn=lambda: enter(self.fd), **how,  # type: ignore[call-overload]
        )  # fmt: skip
        assert not check or result.returncode == 0, (argv, result.stderr)
        return str(result.stdout)

    def start(
        self, argv: Sequence[str], before: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        def preexec() -> None:
            enter(self.fd)
            if before is not None:
                before()

        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=preexec,  # noqa: PLW1509  # system calls only
        )  # fmt: skip

    @contextmanager
    def refusing(self, port: int) -> Iterator[Callable[[], bytes]]:
        """Refuse every question (DNS, REFUSED); yields what tells all that were asked so far."""
        with self.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        asked: list[bytes] = []

        def refuse() -> None:
            while True:
                data, peer = sock.recvfrom(65536)
                if not data:
                    return
                asked.append(data)
                sock.sendto(data[:2] + b"\x81\x85" + data[4:], peer)

        thread = threading.Thread(target=refuse)
        thread.start()
        try:
            yield lambda: b"".join(asked)
        finally:
            with self.inside():
                end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.sendto(b"", ("127.0.0.1", port))
            end.close()
            thread.join()
            sock.close()

    @contextmanager
    def serving(self, address: str, port: int) -> Iterator[Callable[[], list[str]]]:
        """Answer HTTP with ``hello``; yields what tells the askers' addresses."""
        with self.inside():
            sock = socket.create_server((address, port))
        seen: list[str] = []

        def serve() -> None:
            while True:
                try:
                    connection, peer = sock.accept()
                except OSError:
                    return
                seen.append(peer[0])
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield lambda: seen
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            thread.join()


@contextmanager
def _own() -> Iterator[None]:
    """Come back to the namespace that this process is in."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        enter(back)
        os.close(back)


class Host:
    """A host with a neighbour on its link ``eth9``: 10.9.0.1 and 10.9.0.2, fd00:9::1 and ::2."""

    def __init__(self) -> None:
        self.host, self.lan = Namespace(), Namespace()
        for namespace in (self.host, self.lan):
            with namespace.inside():
                Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        with self.host.inside():
            link = Netlink()
            link.send(netlink.veth("eth9", "eth0", self.lan.fd, index=90, peer_index=90))
            link.send(netlink.address(90, "10.9.0.1/24"), netlink.address(90, "fd00:9::1/64"))
            link.close()
        with self.lan.inside():
            link = Netlink()
            link.send(netlink.set_up(90), netlink.address(90, "10.9.0.2/24"),
                      netlink.address(90, "fd00:9::2/64"))  # fmt: skip
            link.close()

    def close(self) -> None:
        self.host.close()
        self.lan.close()

    def state(self) -> tuple[str, ...]:
        """Return all that a project could leave in the host's namespace."""
        run = self.host.run
        return (
            run("ip", "-j", "link"),
            run("ip", "-j", "address"),
            run("ip", "-j", "route", "show", "table", "all"),
            run("ip", "-j", "-6", "route", "show", "table", "all"),
            run("nft", "-j", "list", "ruleset"),
        )

    def becomes(self, wanted: tuple[str, ...]) -> bool:
        """Wait until the state is `wanted`: the kernel removes a dead namespace's links later."""
        with self.host.inside():
            news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_ROUTE)
            news.bind((0, _RTMGRP_LINK | _RTMGRP_IPV6_ROUTE))
        news.settimeout(10)
        with news:
            while self.state() != wanted:
                try:
                    news.recv(65536)
                except TimeoutError:
                    return False
        return True

    def sysctls(self) -> dict[str, str]:
        """Return the namespace's sysctls of its own links and of all."""
        with self.host.inside():
            return {
                str(path): path.read_text()
                for name in ("all", "default", "lo", "eth9")
                for version in ("ipv4", "ipv6")
                for path in sorted(Path(f"/proc/sys/net/{version}/conf/{name}").iterdir())
                if path.is_file() and os.access(path, os.R_OK) and path.name != "stable_secret"
            } | {"ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text()}

    def set(self, name: str, value: str) -> None:
        with self.host.inside():
            Path(f"/proc/sys/{name}").write_text(value)
