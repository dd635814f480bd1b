"""Shows how a pull or push goes on: a line per blob, and a moving one on a terminal."""

from __future__ import annotations

import os
import sys
import threading

from gocker.image.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker.image.acquire import Options
    from gocker.state.roots import Roots

_TICK_S = 0.2


def pull(roots: Roots, references: Iterable[str], options: Options, *, quiet: bool) -> list[str]:
    """Pull or import images, whatever is here; return the digests of their manifests."""
    from gocker.image.acquire import get
    from gocker.image.reference import parse

    found = []
    for text in references:
        with Shown(text, quiet=quiet) as progress:
            found.append(get(roots, parse(text), options, progress).manifest)
    return found


class Shown:
    """A progress that is shown on standard error: a line per blob, a moving one on a terminal."""

    def __init__(self, name: str, *, quiet: bool = False, verb: str = "pulling") -> None:
        self._name = name
        self._quiet = quiet
        self._verb = verb
        self._moving = not quiet and os.isatty(2)
        self._progress = Progress(None if quiet else self._changed)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._moving:
            self._thread = threading.Thread(target=self._move, daemon=True)
            self._thread.start()
        return self._progress

    def __exit__(self, *_: object) -> None:
        self._progress.cancelled = True
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _changed(self, what: str, digest: str, size: int) -> None:
        if what == "unpacking":
            _, wanted = self._progress.state()
            self._line(f"{self._name}: {size_text(wanted)} are here, unpacking\n")
        elif self._moving:
            self._line(f"{self._name}: {what} {digest[:19]} {size_text(size)}\n")

    def _line(self, text: str) -> None:
        sys.stderr.write(f"\r\033[K{text}" if self._moving else text)
        sys.stderr.flush()

    def _move(self) -> None:
        while not self._end.wait(_TICK_S):
            here, wanted = self._progress.state()
            if wanted:
                width = 24 * here // wanted
                bar = "#" * width + "." * (24 - width)
                self._line(f"{self._verb} [{bar}] {size_text(here)} of {size_text(wanted)}")
        self._line("")


def size_text(size: float) -> str:
    """Return bytes for people: ``12.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
