"""``gocker up``: run a spec until its jobs are done."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from gocker.cli import timings
from gocker.cli.options import add_run_options, colour, load, make_plan, say, split_files
from gocker.cli.options import parser as new_parser
from gocker.errors import HostError
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.cli.reports import Wanted
    from gocker.image.resolve import RootFs
    from gocker.plan.model import Plan
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("up", "Run a spec's services and jobs until every job is done.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE", help="spec files and services to run")
    add_run_options(made)
    add("--parallel", type=int, metavar="N", help="jobs at once; default: the CPUs")
    add("--max-time", type=_duration, metavar="TIME", help="limit of the whole run, as 30m")
    add("--fail-fast", action="store_true", default=None, help="stop at the first failed job")
    add("--keep", choices=("never", "on_failure", "always"), help="root file systems to keep")
    add("--exit-code-from", metavar="SERVICE")
    add("--abort-on-container-exit", action="store_true")
    add("--abort-on-container-failure", action="store_true")
    add("--report", action="append", default=[], type=_report, metavar="KIND=FILE",
        help="junit=FILE or json=FILE, written at the end")  # fmt: skip
    add("--no-cache", action="store_true", help="plan anew, even if the spec is unchanged")
    add("--timings", action="store_true", help="tell what each stage of the start took")
    add("--no-summary", action="store_true", help="no table at the end")
    add("--format", choices=("table", "json", "jsonl"), default="table",
        help="of the summary; json and jsonl go to standard output")  # fmt: skip
    return made


def _report(word: str) -> Wanted:
    from gocker.cli.reports import wanted

    return wanted(word)


def _duration(text: str) -> float:
    from gocker.spec.units import parse_duration_ns

    try:
        return parse_duration_ns(text) / 1e9
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Run the spec; return the exit code of docs/errors.md."""
    from gocker.state.roots import Roots

    try:
        roots = Roots.open(os.environ)
    except HostError:
        load(arguments, arguments.words)  # what is wrong with the spec is said first
        raise
    with roots:
        plan, warnings, keep = _plan(arguments, roots)
        for warning in warnings:
            say(f"gocker: {warning}")
        code = run_plan(arguments, plan, roots, launcher)
        keep()
    if arguments.timings:
        sys.stderr.write("\n" + timings.table())
    return code


def _plan(
    arguments: argparse.Namespace, roots: Roots
) -> tuple[Plan, list[str], Callable[[], object]]:
    """Return the plan, warnings to show, and what keeps it for the next start, to call later."""
    images: dict[str, RootFs] = {}
    cache = None
    if not arguments.no_cache and os.environ.get("GOCKER_NO_CACHE", "") in ("", "0"):
        from gocker.cli.plancache import PlanCache

        cache = PlanCache(arguments, split_files(arguments.words)[0], roots)
        found = cache.find()
        timings.mark("plan cache read")
        if found is not None:
            return *found, bool
        cache.record()
    loaded, project = load(arguments, arguments.words)
    timings.mark("spec loaded")
    plan = make_plan(loaded, project, roots, images=images)
    timings.mark("plan made")
    if cache is None:
        return plan, loaded.warnings, bool
    return plan, loaded.warnings, partial(cache.store, plan, project, loaded.warnings, images)


def run_plan(arguments: argparse.Namespace, plan: Plan, roots: Roots, launcher: Launcher) -> int:
    """Run a plan with the command's options and show its summary."""
    from gocker.cli.session import Session
    from gocker.log import Console
    from gocker.report.output import QueueSink
    from gocker.scheduler.messages import Options
    from gocker.state.run import project_lock

    if arguments.keep is not None:
        plan = replace(plan, keep=arguments.keep)
    width = max((len(name) for name in plan.units), default=0)
    level = "warning" if arguments.quiet else "info"
    stderr = QueueSink(2)
    console = Console(stderr, arguments.log_format, colour=colour(arguments, 2), level=level,
                      width=width)  # fmt: skip
    options = Options(
        parallel=arguments.parallel,
        max_time_s=arguments.max_time,
        fail_fast=arguments.fail_fast,
        exit_code_from=arguments.exit_code_from,
        abort_on_container_exit=arguments.abort_on_container_exit,
        abort_on_container_failure=arguments.abort_on_container_failure,
        stop_grace_s=arguments.timeout,
    )
    with project_lock(roots, plan.project):
        session = Session(
            plan, roots, launcher, console, stderr,
            prefix=not arguments.no_log_prefix, timestamps=arguments.timestamps,
            colour=colour(arguments, 1),
        )  # fmt: skip
        result = session.execute(options)
    if arguments.report:
        from gocker.cli import reports

        for note in reports.write(arguments.report, session, plan):
            say(f"gocker: {note}")
    _summarise(arguments, session.summary)
    return result.exit_code


def _summarise(arguments: argparse.Namespace, summary: object) -> None:
    from gocker.report.summary import Summary
    from gocker.report.table import summary_as

    assert isinstance(summary, Summary)  # noqa: S101  # for the type checker; imported late
    if arguments.format != "table":
        sys.stdout.write(summary_as(summary, arguments.format))
    elif arguments.log_format == "text" and not arguments.no_summary:
        sys.stdout.flush()
        sys.stderr.write("\n" + summary_as(summary, "table", colour=colour(arguments, 2)))
