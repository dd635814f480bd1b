"""Fields for records of the log, made from the table of events."""

from __future__ import annotations

from typing import Any

from gocker import events

_SAMPLES: dict[str, Any] = {
    "str": "text", "int": 3, "int|str": "0-1", "float": 1.5, "bool": True, "list": ["a"],
    "object": {"a": 1},
}  # fmt: skip


def sample(event: str, **given: Any) -> dict[str, Any]:
    """Return a full set of fields for `event`; `__` stands for the dots of those given."""
    fields = {
        key: field.values[0] if field.values else _SAMPLES[field.type.removesuffix("?")]
        for key, field in events.EVENTS[event][1].items()
    }
    return fields | {key.replace("__", "."): value for key, value in given.items()}
