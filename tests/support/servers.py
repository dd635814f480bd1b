"""Services for network tests: a web server that tells who answers whom, and those who ask."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

from tests.support.command import Gocker, Running

# busybox httpd runs the script for each request, with the client's address in its environment.
_WHO = """mkdir -p /tmp/w/cgi-bin
printf '#!/bin/sh\\necho; echo $HOSTNAME $REMOTE_ADDR\\n' >/tmp/w/cgi-bin/who
chmod +x /tmp/w/cgi-bin/who
echo up
exec httpd -f -p {port} -h /tmp/w"""


def server(port: int = 8080, **keys: Any) -> dict[str, Any]:
    """Return a support service that answers on `port` with its host name and the asker."""
    base = {
        "command": ["sh", "-c", _WHO.format(port=port)],
        "x-gocker": {"role": "support", "ready": {"log": "up"}},
    }
    return base | keys


# Shell functions for clients. The static busybox cannot resolve names, so they have the host's
# programs: `ask` a server, `lookup` a name's addresses or an address's name.
_FUNCTIONS = """
ask() {
python3 -ISc '
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as sock:
        sock.sendall(b"GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n")
        text = sock.makefile("rb").read().decode()
    print(text.split()[-2], text.split()[-1].strip("[]").removeprefix("::ffff:"))
except OSError as error:
    print("no")
' "$1" "${2:-8080}"
}
lookup() {
python3 -ISc '
import socket, sys
name = sys.argv[1]
try:
    if name[0].isdigit() or ":" in name:
        print(socket.getnameinfo((name, 0), socket.NI_NAMEREQD)[0])
    else:
        print(*[it[4][0] for it in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)])
except OSError as error:
    print("no")
' "$1"
}
"""


def client(script: str, *after: str, **keys: Any) -> dict[str, Any]:
    """Return a job that runs a shell script when the services `after` are healthy."""
    base = {
        "image": "host:/",
        "command": ["sh", "-c", _FUNCTIONS + script],
        "depends_on": {name: {"condition": "service_healthy"} for name in after},
    }
    return base | keys


def ask(*names: str) -> str:
    """Return the commands that ask servers, each ``NAME [PORT]``; ``no`` if nobody answers."""
    return "; ".join(f"ask {name}" for name in names)


@contextlib.contextmanager
def serving(gocker: Gocker, spec: dict[str, Any], **how: Any) -> Iterator[Running]:
    """Run a spec's support services until the block ends; all are healthy then."""
    support = [
        name
        for name, service in spec["services"].items()
        if service.get("x-gocker", {}).get("role") == "support"
    ]
    waiting = client("sleep 1000", *support, network_mode="none")
    running = gocker.start({**spec, "services": {**spec["services"], "waiting": waiting}}, **how)
    running.wait_for("container.started", "waiting")
    try:
        yield running
    finally:
        running.send(signal.SIGTERM)
        running.finish()


def get(address: str, port: int, timeout_s: float = 2.0) -> str:
    """Return what the server says, from the namespace that this process is in.

    Raises:
        OSError: if nobody answers.
    """
    with socket.create_connection((address, port), timeout_s) as sock:
        sock.sendall(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")
        data = b""
        while chunk := sock.recv(4096):
            data += chunk
    name, address = data.decode().split()[-2:]
    return f"{name} {address.strip('[]').removeprefix('::ffff:')}"
