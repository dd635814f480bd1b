"""Probes of containers: programs executed in them, and connections to ports."""

from __future__ import annotations

import _socket as socket
import json
import os
import selectors

from gocker.scheduler.messages import ProbeDone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker import oci
    from gocker.scheduler.attempt import Attempt
    from gocker.scheduler.messages import Connect, Event, Probe

# What is kept of a probe's output; the pipe takes more, and what is beyond it is nobody's.
_OUTPUT = 4096


class Probes:
    """Those under way. `tell` takes how one ended."""

    def __init__(self, selector: selectors.BaseSelector, tell: Callable[[Event], None]) -> None:
        self._selector = selector
        self._tell = tell
        # Execution -> unit, attempt, and the end of its output that is ours.
        self._running: dict[str, tuple[str, int, int]] = {}

    def probe(self, attempt: Attempt, command: Probe) -> None:
        """Execute a healthcheck's test in a container, with the container's confinement."""
        made = attempt.made
        exec_id = f"{attempt.id}-probe"
        read, write = os.pipe2(os.O_CLOEXEC)
        self._running[exec_id] = (command.unit, command.attempt, read)
        process: oci.Process = {**made.config["process"], "args": list(command.healthcheck.test)}
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        message = {
            "op": "exec", "id": attempt.id, "exec_id": exec_id, "process": process,
            "timeout_s": command.healthcheck.timeout_s,
            **(made.landlock.for_exec() if made.landlock is not None else {}),
        }  # fmt: skip
        attempt.link.send(message, (null, write, write), close=(null, write))

    def exited(self, message: dict[str, Any]) -> None:
        """Take the launcher's word on a probe: its exit code, or that its time was over."""
        unit, number, read = self._running.pop(message["exec_id"])
        os.set_blocking(read, False)
        try:
            output = os.read(read, _OUTPUT).decode("utf-8", "replace")
        except BlockingIOError:
            output = ""
        os.close(read)
        if "error" in message:
            output = json.dumps(message["error"]["message"])
        code = None if message.get("timed_out") else message.get("code")
        if code is None and not message.get("timed_out"):
            code = 1  # killed by a signal, or never started
        self._tell(ProbeDone(unit, number, code, output))

    def connect(self, attempt: Attempt, command: Connect) -> None:
        """Connect to a port of the host's network, in which the container is."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        attempt.connecting = sock

        def connected() -> None:
            if attempt.connecting is not sock:
                return  # the container ended in the same turn
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.disconnect(attempt)
            output = f"port {command.port}: {os.strerror(code) if code else 'accepted'}"
            self._tell(ProbeDone(command.unit, command.attempt, int(code != 0), output))

        # Never answered here: a command must not lead to another event before it is obeyed.
        sock.connect_ex(("127.0.0.1", command.port))
        self._selector.register(sock, selectors.EVENT_WRITE, connected)

    def disconnect(self, attempt: Attempt) -> None:
        """Give up a connection under way."""
        if attempt.connecting is not None:
            self._selector.unregister(attempt.connecting)
            attempt.connecting.close()
            attempt.connecting = None
