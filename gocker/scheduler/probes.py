"""Probes of containers: programs executed in them, and connections to ports."""

from __future__ import annotations

import _socket as socket
import json
import os
import selectors
from functools import partial

from gocker.scheduler.messages import HookDone, ProbeDone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker import oci
    from gocker.scheduler.attempt import Attempt
    from gocker.scheduler.messages import Connect, Event, Hook, Probe

# What is kept of a probe's output; the pipe takes more, and what is beyond it is nobody's.
_OUTPUT = 4096


class Probes:
    """Those under way. `tell` takes how one ended."""

    def __init__(self, selector: selectors.BaseSelector, tell: Callable[[Event], None]) -> None:
        self._selector = selector
        self._tell = tell
        # Execution -> what is told at its end, and the end of its output that is ours.
        self._running: dict[str, tuple[Callable[[int | None, str], Event], int]] = {}

    def probe(self, attempt: Attempt, command: Probe) -> None:
        """Execute a healthcheck's test in a container, with the container's confinement."""
        made = attempt.made
        process: oci.Process = {**made.config["process"], "args": list(command.healthcheck.test)}
        timeout_s = command.healthcheck.timeout_s
        self._execute(attempt, "probe", process, timeout_s, partial(_probed, command))

    def hook(self, attempt: Attempt, command: Hook) -> None:
        """Execute a program of post_start or pre_stop in a container, confined in the same way."""
        hooks = attempt.made.post_start if command.kind == "post_start" else attempt.made.pre_stop
        process = hooks[command.number]
        self._execute(attempt, command.kind, process, None, partial(_hooked, command))

    def _execute(
        self, attempt: Attempt, name: str, process: oci.Process, timeout_s: float | None,
        event: Callable[[int | None, str], Event],
    ) -> None:  # fmt: skip
        """Execute a program; `event` makes of exit code and output what is told at its end."""
        made = attempt.made
        exec_id = f"{attempt.id}-{name}"
        read, write = os.pipe2(os.O_CLOEXEC)
        self._running[exec_id] = (event, read)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        message = {
            "op": "exec", "id": attempt.id, "exec_id": exec_id, "process": process,
            "timeout_s": timeout_s,
            **(made.landlock.for_exec() if made.landlock is not None else {}),
        }  # fmt: skip
        attempt.link.send(message, (null, write, write), close=(null, write))

    def exited(self, message: dict[str, Any]) -> None:
        """Take the launcher's word on a program: its exit code, or that its time was over."""
        event, read = self._running.pop(message["exec_id"])
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
        self._tell(event(code, output))

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


def _probed(command: Probe, code: int | None, output: str) -> Event:
    return ProbeDone(command.unit, command.attempt, code, output)


def _hooked(command: Hook, code: int | None, output: str) -> Event:
    return HookDone(command.unit, command.attempt, command.kind, command.number,
                    1 if code is None else code, output)  # fmt: skip
