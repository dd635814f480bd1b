"""Replaces secret values by ``***`` in what is shown and in the records of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


SHOWN = "***"
# A shorter value is in any text, and no secret.
MIN_LENGTH = 3
# Fields of records by which programs find things: names of ours, not of the spec's author.
_KEPT = frozenset({
    "service", "instance", "container.id", "verdict", "next", "status", "signal", "limit",
    "process.exit.signal", "host.cgroup", "isolation", "gocker.version",
})  # fmt: skip


class Mask:
    """Hides values. Each line of a value counts for itself: output is shown line by line."""

    def __init__(self, values: Iterable[str]) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        # The longest first: one value may begin another.
        found = sorted((line for line in lines if len(line) >= MIN_LENGTH), key=len, reverse=True)
        pattern = "|".join(map(re.escape, found))
        self._text = re.compile(pattern) if found else None
        self._bytes = re.compile(pattern.encode("utf-8", "surrogateescape")) if found else None

    def __bool__(self) -> bool:
        return self._text is not None

    def data(self, block: bytes) -> bytes:
        """Return output without the values."""
        return block if self._bytes is None else self._bytes.sub(SHOWN.encode(), block)

    def text(self, text: str) -> str:
        """Return text without the values."""
        return text if self._text is None else self._text.sub(SHOWN, text)

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record's fields without the values."""
        if self._text is None:
            return dict(fields)
        return {key: it if key in _KEPT else self._value(it) for key, it in fields.items()}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self._value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(item) for item in value]
        return value
