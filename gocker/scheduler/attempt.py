"""One container of a unit, from the request to start it to its last event."""

from __future__ import annotations

from gocker.scheduler.messages import shell_code
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from gocker.plan.model import Container, Unit
    from gocker.scheduler.links import Link
    from gocker.scheduler.messages import Verdict
    from gocker.scheduler.output import Streams


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that has ended and whose files are still there."""

    instance: str
    attempt: int
    container_id: str
    # The upper layer of its root, and its anonymous volumes by mount source.
    upper: str
    anonymous: dict[str, str]
    made: Container
    image: str


class Attempt:
    """A container. `ended` is the launcher's last word on it."""

    __slots__ = (
        "anonymous",
        "connecting",
        "ended",
        "id",
        "image",
        "instance",
        "link",
        "made",
        "number",
        "on_end",
        "service",
        "streams",
        "verdict",
    )

    def __init__(
        self, container_id: str, unit: Unit, made: Container, number: int, link: Link
    ) -> None:
        self.id = container_id
        # The plan may be another one when it ends.
        self.made = made
        self.service = unit.service
        self.image = unit.image
        instance = unit.name
        self.link = link
        self.instance = instance
        self.number = number
        self.streams: Streams | None = None
        self.ended: dict[str, Any] | None = None
        self.connecting: socket | None = None
        self.anonymous: dict[str, str] = {}
        self.verdict: Verdict | None = None
        self.on_end: list[Callable[[int | None], None]] = []

    def fields(self) -> dict[str, Any]:
        """Return the fields that all records about it have."""
        return {
            "service": self.service,
            "instance": self.instance,
            "attempt": self.number,
            "container.id": self.id,
        }

    def exit_code(self) -> int | None:
        """Return its exit code as a shell shows it, None if it had none."""
        if self.ended is None or "error" in self.ended:
            return None
        return shell_code(self.ended["code"], self.ended["signal"])
