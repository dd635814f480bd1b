"""The containers that there are now, by identifier and by unit and attempt."""

from __future__ import annotations

from gocker.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.scheduler.attempt import Attempt
    from gocker.scheduler.output import Streams
    from gocker.scheduler.tap import Tap


class InFlight(dict[str, "Attempt"]):
    """Attempts by their containers' identifiers. `current`: by unit and number, to their verdict.

    An attempt whose start is postponed has no container; it is in `current` only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current: dict[tuple[str, int], Attempt] = {}

    def register(self, attempt: Attempt) -> Attempt:
        """Know a container from now on."""
        self[attempt.id] = attempt
        self.current[attempt.instance, attempt.number] = attempt
        return attempt

    def pause(self, paused: bool) -> None:
        """Let the containers wait while nobody reads what we have of them already."""
        for attempt in self.values():
            if attempt.streams is not None:
                (attempt.streams.pause if paused else attempt.streams.resume)()

    def drain(self) -> None:
        """Take the last output of all of them: they are gone."""
        for attempt in list(self.values()):
            if attempt.streams is not None:
                attempt.streams.drain()

    def attach(self, unit: str, tap: Tap, ended: Callable[[int | None], None]) -> Streams:
        """Copy a running container's output from now on; `ended` takes its exit code.

        Returns:
            the container's streams, which the tap is one of now.

        Raises:
            ContainerError: it is not running.
        """
        for attempt in self.values():
            streams = attempt.streams
            if attempt.instance == unit and attempt.ended is None and streams is not None:
                streams.taps.append(tap)
                attempt.on_end.append(ended)
                return streams
        tap.close()
        raise ContainerError(f"{unit!r} is not running", phase="attach")
