"""``gocker cp``: files between the host and a running container, both ways.

The semantics of trailing slashes, of ``/.`` and of what is there already are docker cp's.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import sys

from gocker.cli.options import parser as new_parser
from gocker.cli.options import say
from gocker.cli.project import project_name
from gocker.errors import HostError, UsageError, from_wire
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher
    from gocker.state.living import Living
    from gocker.wire import Message


@dataclass(frozen=True, slots=True)
class End:
    """One end of a copy: a service's path, a path here, or ``-``, a tar stream."""

    service: str | None
    path: str

    @property
    def is_stream(self) -> bool:
        """Whether it is standard input or output."""
        return self.service is None and self.path == "-"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("cp", "Copy files: SERVICE:PATH is in a container, - is a tar stream.")
    add = made.add_argument
    add("-a", "--archive", action="store_true", help="keep owners and set-user-ID bits")
    add("-L", "--follow-link", action="store_true", help="follow a link in the source's last place")
    add("-q", "--quiet", action="store_true", help="do not tell what was left out")
    add("--index", type=int, metavar="N", help="of the service's containers, from 1")
    add("source", metavar="SOURCE")
    add("target", metavar="TARGET")
    return made


def end(word: str) -> End:
    """Return what a word of the command line names, told apart as docker does.

    Raises:
        UsageError: for an empty path.
    """
    service, colon, path = word.partition(":")
    if not colon or word.startswith(("/", ".")) or "/" in service:
        if not word:
            raise UsageError("gocker cp: an empty path")
        return End(None, word)
    if not service or not path:
        raise UsageError(f"gocker cp: {word!r} is no SERVICE:PATH")
    return End(service, path if path.startswith("/") else f"/{path}")


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Copy; 0 if all of it was."""
    from gocker.state.living import choose, running
    from gocker.state.roots import Roots

    source, target = end(arguments.source), end(arguments.target)
    named = [item.service for item in (source, target) if item.service is not None]
    if len(named) != 1:
        raise UsageError(
            "gocker cp: one of the two has to be SERVICE:PATH",
            hint="a path with a colon begins with ./ or /",
        )
    with Roots.open(os.environ) as roots:
        living = choose(running(roots, project_name(arguments)), named[0], arguments.index)
    if target.is_stream and os.isatty(1):
        raise UsageError("gocker cp: a tar stream is not written to a terminal")
    launcher.enters = True
    launcher.call({**_join(living), "copies": True})
    skipped = _copy(launcher, living, source, target, arguments)
    if not arguments.quiet:
        for item in skipped:
            say(f"gocker: left out: {_safe(item)}")
    return 0


def _join(living: Living) -> Message:
    return {
        "op": "join", "id": living.id, "pid": living.pid, "start_time": living.start_time,
        "cgroups_path": living.cgroups_path,
    }  # fmt: skip


def _copy(
    launcher: Launcher, living: Living, source: End, target: End, arguments: argparse.Namespace
) -> list[str]:
    """Let both sides run, a pipe between them; return what was left out.

    Raises:
        GockerError: of the side that failed first, which ends the other.
    """
    contents = source.path.endswith("/.") or source.path in (".", "/")
    out = None if source.is_stream else _message(source, living, "out") | {
        "name": _name(source, target, contents=contents), "follow": arguments.follow_link,
    }  # fmt: skip
    into = None if target.is_stream else _message(target, living, "in") | {
        "archive": arguments.archive, "contents": contents, "stream": source.is_stream,
    }  # fmt: skip
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        if into is not None:
            launcher.ask(into, (0 if source.is_stream else read,))
        if out is not None:
            launcher.ask(out, (1 if target.is_stream else write,))
    finally:
        os.close(read)
        os.close(write)
    answers = [launcher.answer_of("copied") for item in (into, out) if item is not None]
    broken = False
    # The source's own failure explains the other's.
    for answer in sorted(answers, key=lambda item: item["copy_id"] != "out"):
        if "error" in answer:
            raise from_wire(answer["error"])
        broken = broken or bool(answer.get("broken"))
    if broken and not target.is_stream:
        raise HostError("cp: the other side ended before everything was copied")
    if broken:
        raise BrokenPipeError
    return [item for answer in answers for item in answer["skipped"]]


def _message(item: End, living: Living, role: str) -> Message:
    in_container = item.service is not None
    path = item.path if in_container else _absolute(item.path)
    return {
        "op": "copy", "copy_id": role, "role": role, "id": living.id if in_container else None,
        "path": _without_dot(path), "shown": item.service or "",
    }  # fmt: skip


def _absolute(path: str) -> str:
    """Return a local path from the root, with its trailing slash or ``/.``."""
    return path if path.startswith("/") else f"{os.getcwd()}/{path}"


def _without_dot(path: str) -> str:
    return path[:-1] if path.endswith("/.") else path


def _name(source: End, target: End, *, contents: bool) -> str:
    """Return what the source is called in the stream."""
    if contents and target.is_stream:
        return "."
    full = source.path if source.service is not None else _absolute(source.path)
    return posixpath.basename(posixpath.normpath(full)) or "root"


def _safe(text: str) -> str:
    from gocker.report.human import safe

    sys.stdout.flush()
    return safe(text)
