from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gocker import events

Make = Callable[..., dict[str, Any]]

_SAMPLES: dict[str, Any] = {
    "str": "text", "int": 3, "int|str": 3, "float": 1.5, "bool": False, "list": [], "object": {},
    "int?": None, "float?": None, "str?": None,
}  # fmt: skip


@pytest.fixture
def record() -> Make:
    """Return a maker of records: an event, and fields with "__" for the dots."""

    def make(event: str, **given: Any) -> dict[str, Any]:
        fields = {
            key: field.values[0] if field.values else _SAMPLES[field.type]
            for key, field in (events.ENVELOPE | events.EVENTS[event][1]).items()
        }
        fields |= {"event": event, "service": given.get("instance", "text")}
        known = {key.replace("__", "."): value for key, value in given.items()}
        wanted = events.ENVELOPE.keys() | events.EVENTS[event][1].keys()
        return {key: value for key, value in (fields | known).items() if key in wanted}

    return make
