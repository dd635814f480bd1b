"""What a pull or push has done so far, for whoever shows it; counted, never printed, here."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Progress:
    """Blobs under way. `changed` is called when one begins or ends, from any thread.

    `cancelled`: whoever works for it stops at the next chunk.
    """

    def __init__(self, changed: Callable[[str, str, int], object] | None = None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._writers: dict[str, Any] = {}
        self._done: set[str] = set()
        self.cancelled = False

    def begin(self, digest: str, size: int) -> None:
        """Note that a blob of `size` bytes is wanted."""
        with self._lock:
            self._sizes[digest] = size

    def watch(self, digest: str, writer: Any) -> None:
        """Note who writes a blob: its ``offset`` tells how far it is."""
        with self._lock:
            self._writers[digest] = writer

    def done(self, digest: str) -> None:
        """Note that a blob is there."""
        with self._lock:
            here = self._writers.pop(digest, None) is None
            self._done.add(digest)
        self._tell("here" if here else "done", digest, self._sizes.get(digest, 0))

    def unpacking(self) -> None:
        """Note that all blobs are there."""
        self._tell("unpacking", "", 0)

    def state(self) -> tuple[int, int]:
        """Return bytes that are here, and bytes that are wanted."""
        with self._lock:
            here = sum(self._sizes[digest] for digest in self._done if digest in self._sizes)
            here += sum(writer.offset for writer in self._writers.values())
            return here, sum(self._sizes.values())

    def _tell(self, what: str, digest: str, size: int) -> None:
        if self._changed is not None:
            self._changed(what, digest, size)
