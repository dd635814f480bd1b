"""What the loop needs of the command that runs it; types only, never imported at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from selectors import BaseSelector
from typing import Any, Protocol

from gocker.plan.model import Container, Plan
from gocker.scheduler.attempt import Ended
from gocker.scheduler.loop import Loop
from gocker.scheduler.messages import Verdict
from gocker.scheduler.output import Feed, Streams


class Surroundings(Protocol):
    """What the loop needs of the command: the log, files and the terminal."""

    def record(self, event: str, fields: dict[str, Any]) -> object:
        """Append an event to the run's log."""

    @property
    def settled_fd(self) -> int:
        """Return a descriptor that is readable when `settled` is to be called."""

    def settle(self) -> None:
        """Begin to make durable what was recorded, as after each turn of the loop."""

    def settled(self) -> None:
        """Show the records that are durable."""

    def open_log(self, instance: str, attempt: int) -> int:
        """Return a descriptor for a container's raw output; the loop closes it."""

    def feed(self, instance: str) -> Feed | None:
        """Return where a container's output is shown, or None."""

    def prepare(self, container: Container, container_id: str) -> dict[str, str]:
        """Make a container's directories; return those of anonymous volumes by mount source."""

    def stdin(self, instance: str) -> int:
        """Return a descriptor for standard input; the loop closes it."""

    def typing(self, instance: str, selector: BaseSelector, streams: Streams) -> None:
        """Learn that what is typed for a container can be written to `streams.input_fd`."""

    def collect(
        self, ended: Ended, verdict: Verdict, record: Callable[[str, dict[str, Any]], None]
    ) -> None:
        """Take what is wanted of a container's files; `record` adds the container's names."""

    def began(self, loop: Loop) -> None:
        """Take note that the first containers were asked for and requests are served."""

    def kept(self) -> dict[str, int]:
        """Return the descriptors that `takeover.keep_project` wants."""

    def adopted(self, plan: Plan) -> None:
        """Go on with another plan."""

    @property
    def passed_signals(self) -> tuple[int, ...]:
        """Return the signals that do not end gocker but are passed on to `passed_to`."""

    @property
    def passed_to(self) -> tuple[str, ...]:
        """Return the units that get the signals passed on."""

    def quiet_s(self) -> float | None:
        """Return how long nothing has to happen before `quiet` is wanted; None: it is not."""

    def quiet(self) -> None:
        """Do what can wait."""

    @property
    def sinks(self) -> Sequence[Queue]:
        """Return the writers to the terminal, which never wait for their readers."""


class Queue(Protocol):
    """What is to be written when its reader takes it: `gocker.report.output.QueueSink`."""

    fd: int
    pending: int

    def pump(self) -> None:
        """Write while there is room."""
