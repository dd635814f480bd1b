"""Which keys gocker honours, refuses, or accepts without effect."""

from typing import Any, NamedTuple


class Walked(NamedTuple):
    """A canonical model without what the models do not take, and what was found on the way."""

    model: dict[str, Any]
    problems: list[tuple[str, str, str | None]]
    ignored: list[tuple[str, str]]


def walk(model: dict[str, Any]) -> Walked:
    """Return the model for pydantic, the problems and the keys without effect."""
    return Walked(model, [], [])
