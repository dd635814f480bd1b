"""What is taken of a container's files after its end: artifacts, reports, its layer."""

from __future__ import annotations

from gocker.errors import HostError
from gocker.state import artifacts
from gocker.state.view import Glob, View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.scheduler.attempt import Ended
    from gocker.scheduler.messages import Verdict
    from gocker.state.run import Run

    Note = Callable[[str, dict[str, Any]], None]


def take(
    ended: Ended, verdict: Verdict, record: Note, shelf: artifacts.Shelf
) -> list[str] | None:  # fmt: skip
    """Copy a container's artifacts and reports to the shelf.

    Returns:
        the files of its reports; None if nothing of it is wanted.
    """
    wanted = ended.made.artifacts
    if wanted is None:
        return None
    patterns = list(wanted.reports)
    if wanted.when == "always" or (wanted.when == "on_success") == (verdict.verdict == "ok"):
        patterns += wanted.paths
    if not patterns:
        return None
    copied = artifacts.copy(_view(ended), patterns, shelf, wanted.max_size)
    for file in copied.files:
        record("artifact.saved", {"path": file.path, "file": file.file, "bytes": file.bytes})
    for note in copied.notes:
        record("job.warned", {"message": note, "hint": None})
    chosen = [Glob(pattern) for pattern in wanted.reports]
    return [it.file for it in copied.files if any(glob.selects(it.path) for glob in chosen)]


def keep_layer(ended: Ended, record: Note, run: Run) -> None:
    """Keep what a container wrote to its root in the run's directory."""
    try:
        path = run.keep(ended.upper, ended.instance, ended.attempt)
    except HostError as error:
        record("job.warned", {"message": error.message, "hint": error.hint})
    else:
        record("layer.kept", {"path": path})


def _view(ended: Ended) -> View:
    """Return where a container's files are; of the host's own root only what it wrote."""
    made = ended.made
    is_host = ended.image.startswith("host:")
    mounts: dict[str, str | None] = {item["path"]: None for item in (*made.files, *made.grants)}
    for mount in made.config["mounts"]:
        source = mount.get("source", "")
        source = ended.anonymous.get(source, source)
        if "subpath" in mount:
            source = f"{source}/{mount['subpath']}"
        mounts[mount["destination"]] = source if mount.get("type") == "bind" else None
    layers = (ended.upper,) if is_host else (ended.upper, *made.lower)
    return View(layers, mounts, frozenset(path for path, _ in made.hidden))
