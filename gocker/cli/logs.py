"""``gocker logs``: show containers' output."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import colour, defusing
from gocker.cli.options import parser as new_parser
from gocker.cli.project import named
from gocker.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("logs", "Show the output of the containers of a project's last run.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE")
    add("--follow", action="store_true", help="go on until the run ends")
    add("-n", "--tail", metavar="N", default="all", help="only the last lines of each")
    add("--no-log-prefix", action="store_true")
    add("--no-color", action="store_true")
    add("--raw", action="store_true", help="the bytes as they are, for one service")
    add("--run", metavar="ID", help="another run than the last")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the output."""
    from gocker.report.output import Prefixer, Sink
    from gocker.state.containers import of_run
    from gocker.state.logs import read_logs
    from gocker.state.roots import Roots
    from gocker.state.run import Run, runs

    project, services = named(arguments, arguments.words)
    with Roots.open(os.environ) as roots:
        found = [Run.load(roots, arguments.run)] if arguments.run else runs(roots, project)
        if not found:
            raise HostError(f"project {project!r} has no run", hint="gocker up starts one")
        run = found[-1]
        instances = None
        if services:
            known = of_run(run)
            instances = {item.instance for item in known
                         if {item.service, item.instance} & set(services)}  # fmt: skip
            missing = [name for name in services
                       if not any(name in (i.service, i.instance) for i in known)]  # fmt: skip
            if missing:
                raise UsageError(f"no container of {', '.join(missing)} in run {run.id}")
        sink, defuse = Sink(1), defusing()
        writers: dict[tuple[str, int], Prefixer] = {}
        for instance, attempt, chunk in read_logs(
            run, instances, tail=_tail(arguments.tail), follow=arguments.follow
        ):
            if arguments.raw:
                sink.write(chunk)
                continue
            key = (instance, attempt)
            if key not in writers:
                name = instance if attempt == 1 else f"{instance}@{attempt}"
                writers[key] = Prefixer(
                    sink, "" if arguments.no_log_prefix else name,
                    colour=len(writers) if colour(arguments, 1) else None,
                    clean=sink.isatty() or defuse is not None, defuse=defuse,
                )  # fmt: skip
            writers[key].feed(chunk)
        for writer in writers.values():
            writer.close()
    sys.stdout.flush()
    return 0


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise UsageError(f"--tail: {text!r} is not a number")
    return int(text)
