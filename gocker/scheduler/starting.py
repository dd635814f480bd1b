"""From a unit to the launcher's request to start its container: files, pipes, namespaces."""

from __future__ import annotations

import os
from functools import partial

from gocker.errors import unforeseen
from gocker.scheduler.output import Streams, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable
    from typing import Any

    from gocker.errors import GockerError
    from gocker.plan.model import Unit
    from gocker.scheduler.attempt import Attempt
    from gocker.scheduler.network import ProjectNetwork
    from gocker.scheduler.shortage import Shortage
    from gocker.scheduler.surroundings import Surroundings


class Starts:
    """Asks for containers.

    Args:
        selector: of the loop.
        around: the command.
        shortage: knows how many descriptors there may be.
        network: the project's.
        failed: called with an attempt that cannot start, and the error.
        complete: called when all output of an attempt is there.
        ready: called with the line by which an attempt says that it is ready.
    """

    def __init__(
        self, selector: selectors.BaseSelector, around: Surroundings, shortage: Shortage,
        network: ProjectNetwork | None, failed: Callable[[Attempt, dict[str, Any]], None],
        complete: Callable[[Attempt], None], ready: Callable[[Attempt, str], None],
    ) -> None:  # fmt: skip
        self._selector = selector
        self._around = around
        self._shortage = shortage
        self._network = network
        self._failed = failed
        self._complete = complete
        self._ready = ready
        # PID and start time of each unit's last container.
        self.processes: dict[str, tuple[int, int]] = {}

    def streams(self, attempt: Attempt) -> Streams:
        """Return what reads a container's output, without any descriptor yet."""
        name = attempt.instance
        streams = Streams(
            self._selector,
            lambda: self._around.open_log(name, attempt.number),
            lambda: self._around.feed(name) if attempt.made.attach else None,
            lambda: self._complete(attempt),
        )
        streams.on_input = lambda: self._around.typing(name, self._selector, streams)
        return streams

    def request(self, unit: Unit, attempt: Attempt, *, keep: bool, running: int) -> None:
        """Send the request, at once or when the network is ready.

        Args:
            unit: whose container it is.
            attempt: it.
            keep: keep its files until they are taken.
            running: how many containers there are.

        Raises:
            GockerError, OSError: it cannot be asked for.
        """
        made = attempt.made
        anonymous = attempt.anonymous = self._around.prepare(made, attempt.id)
        attempt.streams = streams = self.streams(attempt)
        if unit.ready is not None and unit.ready.log is not None:
            streams.watch = Watch(unit.ready.log, lambda line: self._ready(attempt, line))
        fds = streams.stdio(
            lambda: self._around.stdin(unit.name), stdin_open=made.stdin_open,
            terminal=made.config["process"].get("terminal", False),
        )  # fmt: skip
        try:
            self._shortage.check(max(fds), running)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        start = partial(
            attempt.link.start, made, attempt.id, fds, anonymous,
            best_effort=unit.best_effort, keep=keep,
        )  # fmt: skip
        if made.joins:
            from gocker.scheduler import joined

            start = partial(joined.start, made.joins, self.processes, start, tuple(fds))
        if unit.on_supervisor_death == "keep":
            from gocker.scheduler import takeover

            start = partial(takeover.start, attempt, unit, self._network, start)
        if made.network is None or self._network is None:
            start()
        else:
            self._network.attach(
                unit.name, attempt.id, partial(self._connected, attempt, start, fds)
            )

    def _connected(
        self, attempt: Attempt, start: Callable[..., None], fds: tuple[int, ...],
        netns: int, error: GockerError | None, *, shared: bool = False,
    ) -> None:  # fmt: skip
        """The container's network namespace is ready, or cannot be had."""
        try:
            if error is not None:
                for fd in fds:
                    os.close(fd)
                raise error
            start(netns=netns, shared=shared)
        except Exception as failure:  # one container's failure, whatever it is
            self._failed(attempt, unforeseen(failure).to_wire())
