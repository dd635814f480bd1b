"""``gocker up``: run a spec until its jobs are done."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from gocker.cli import timings
from gocker.cli.options import add_run_options, colour, limited, load, make_plan, say
from gocker.cli.options import parser as new_parser
from gocker.cli.project import split_files
from gocker.errors import HostError, UsageError
from gocker.scheduler import spawn
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.cli.detach import Report
    from gocker.cli.options import Parser
    from gocker.cli.reports import Wanted
    from gocker.cli.session import Session
    from gocker.image.resolve import RootFs
    from gocker.plan.model import Plan
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.messages import Result
    from gocker.spec.load import Loaded
    from gocker.state.control import Channel
    from gocker.state.locks import Lock
    from gocker.state.roots import Roots
    from gocker.state.run import Run


_MOST_REPLICAS = 1000


def parser(
    name: str = "up", text: str = "Run a spec's services and jobs until every job is done."
) -> argparse.ArgumentParser:  # fmt: skip
    """Return the command's parser; also that of others which do what ``up`` does."""
    made = new_parser(name, text)
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE", help="spec files and services to run")
    add_run_options(made)
    add_project_options(made)
    add_reconcile_options(made)
    add("--parallel", type=int, metavar="N", help="jobs at once; default: the CPUs")
    add("--max-time", type=_duration, metavar="TIME", help="limit of the whole run, as 30m")
    add("--fail-fast", action="store_true", default=None, help="stop at the first failed job")
    add("--keep", choices=("never", "on_failure", "always"), help="root file systems to keep")
    add("--exit-code-from", metavar="SERVICE")
    add("--abort-on-container-exit", action="store_true")
    add("--abort-on-container-failure", action="store_true")
    add("--report", action="append", default=[], type=_report, metavar="KIND=FILE",
        help="html, junit, json, markdown or prom, written at the end")  # fmt: skip
    add("--no-cache", action="store_true", help="plan anew, even if the spec is unchanged")
    add("--timings", action="store_true", help="tell what each stage of the start took")
    add("--no-summary", action="store_true", help="no table at the end")
    add("--format", choices=("table", "json", "jsonl"), default="table",
        help="of the summary; json and jsonl go to standard output")  # fmt: skip
    add("--ci", choices=("auto", "github", "gitlab", "none"), default="auto",
        help="whose job's log this is; auto asks the environment")  # fmt: skip
    return made


def add_project_options(made: Parser) -> None:
    """Add the options of commands that leave a project running."""
    add = made.add_argument
    add("-d", "--detach", action="store_true", help="go on in the background")
    add("--wait", action="store_true",
        help="in the background, once everything is running or healthy")  # fmt: skip
    add("--wait-timeout", type=_seconds, metavar="SECONDS", help="how long --wait waits")
    add("--attach", action="append", default=[], metavar="SERVICE", help="show only its output")
    add("--no-attach", action="append", default=[], metavar="SERVICE",
        help="do not show its output")  # fmt: skip
    add("--attach-dependencies", action="store_true",
        help="show the output of what the named services need, too")  # fmt: skip


def add_reconcile_options(made: Parser) -> None:
    """Add the options about containers that are there already."""
    add = made.add_argument
    add("--force-recreate", action="store_true", help="make containers anew that do not differ")
    add("--no-recreate", action="store_true", help="leave containers that differ as they are")
    add("--always-recreate-deps", action="store_true", help="make what is needed anew, too")
    add("-V", "--renew-anon-volumes", action="store_true",
        help="make containers with anonymous volumes anew")  # fmt: skip
    add("--remove-orphans", action="store_true", help="end services that left the spec")
    add("--no-deps", action="store_true", help="not what the named services depend on")
    add("--no-start", action="store_true", help="make everything ready, start nothing")
    add("--scale", action="append", default=[], metavar="SERVICE=N", help="how many replicas")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


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

    _check(arguments)
    try:
        roots = Roots.open(os.environ)
    except HostError:
        load(arguments, arguments.words)  # what is wrong with the spec is said first
        raise
    with roots:
        plan, warnings, keep = _plan(arguments, roots, detached=spawn.in_background)
        for warning in warnings:
            say(f"gocker: {warning}")
        code = run_plan(arguments, plan, roots, launcher)
        keep()
    if arguments.timings:
        sys.stderr.write("\n" + timings.table())
    return code


def _plan(
    arguments: argparse.Namespace, roots: Roots, *, detached: bool = False
) -> tuple[Plan, list[str], Callable[[], object]]:
    """Return the plan, warnings to show, and what keeps it for the next start, to call later."""
    images: dict[str, RootFs] = {}
    cache = None
    changed = arguments.scale or arguments.no_deps
    refused = arguments.no_cache or os.environ.get("GOCKER_NO_CACHE", "") not in ("", "0")
    if not changed and not refused:
        from gocker.cli.plancache import PlanCache

        files = split_files(arguments.words)[0]
        cache = PlanCache(arguments, files, roots, detached=detached)
        found = cache.find()
        timings.mark("plan cache read")
        if found is not None:
            return *found, bool
        cache.record()
    change = partial(change_model, arguments) if changed else None
    loaded, project = load(arguments, arguments.words, change)
    timings.mark("spec loaded")
    plan = make_plan(loaded, project, roots, images=images, detached=detached)
    timings.mark("plan made")
    if cache is None:
        return plan, loaded.warnings, bool
    return plan, loaded.warnings, partial(cache.store, plan, project, loaded.warnings, images)


def wants_detach(arguments: argparse.Namespace) -> float | None:
    """Return how long to wait for the start in the background, 0 for ever; None: foreground."""
    if arguments.detach or arguments.wait or arguments.no_start:
        return float(arguments.wait_timeout or 0.0)
    return None


def _ci(arguments: argparse.Namespace) -> str:
    """Return the CI whose log standard output is: ``github``, ``gitlab`` or ``none``."""
    if spawn.in_background:
        return "none"
    if arguments.ci != "auto":
        return str(arguments.ci)
    if not {"GITHUB_ACTIONS", "GITLAB_CI"} & os.environ.keys():
        return "none"
    from gocker.cli.ci import is_log
    from gocker.report.ci import detect

    return detect(os.environ) if is_log(1) else "none"


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict each other, as docker compose does."""
    background = arguments.detach or arguments.wait
    aborts = ("abort_on_container_exit", "abort_on_container_failure", "exit_code_from", "report")
    for name in (*aborts, "attach", "no_attach", "attach_dependencies"):
        if background and getattr(arguments, name):
            option = "-d" if arguments.detach else "--wait"
            raise UsageError(f"--{name.replace('_', '-')} and {option} contradict each other")
    if arguments.wait_timeout is not None and not arguments.wait:
        raise UsageError("--wait-timeout needs --wait")
    if arguments.no_start and (arguments.wait or arguments.abort_on_container_exit):
        raise UsageError("--no-start starts nothing to wait for")


def change_model(arguments: argparse.Namespace, loaded: Loaded) -> None:
    """Change the canonical model as --scale and --no-deps say.

    Raises:
        UsageError: no such service, or no such number.
    """
    services = loaded.model.get("services", {})
    for word in arguments.scale:
        name, _, count = word.partition("=")
        if name not in services:
            from gocker.cli.naming import no_such_service

            raise no_such_service([name], services, f"--scale {word}: ")
        if not count.isdecimal() or int(count) > _MOST_REPLICAS:
            raise UsageError(f"--scale {word}: SERVICE=N, N at most {_MOST_REPLICAS}")
        services[name]["scale"] = int(count)
        if services[name].get("deploy"):
            services[name]["deploy"]["replicas"] = int(count)
    named = split_files(arguments.words)[1]
    if arguments.no_deps and named:
        for section in ("services", "jobs"):
            known = loaded.model.get(section) or {}
            for name in [name for name in known if name not in named]:
                del known[name]
            for service in known.values():
                service.pop("depends_on", None)


def run_plan(arguments: argparse.Namespace, plan: Plan, roots: Roots, launcher: Launcher) -> int:
    """Run a plan with the command's options and show its summary."""
    from gocker.cli.holding import ask_or
    from gocker.cli.opening import open_run

    plan = limited(arguments, plan)
    if arguments.keep is not None:
        plan = replace(plan, keep=arguments.keep)

    def living(channel: Channel) -> int:
        from gocker.cli.join import join

        own = plan
        detached = channel.ask_for("hello")["detached"]
        if detached != spawn.in_background:
            own = limited(arguments, _plan(arguments, roots, detached=detached)[0])
        return join(arguments, own, roots, channel, split_files(arguments.words)[1])

    def dead(_: Lock) -> tuple[Session, Result]:
        run = open_run(plan, roots, launcher)
        timings.mark("run created")
        return _session(arguments, plan, roots, launcher, run)

    outcome = ask_or(roots, plan.project, living, dead)
    if isinstance(outcome, int):
        return outcome
    session, result = outcome
    if arguments.report:
        from gocker.cli import reports

        for note in reports.write(arguments.report, reports.Source.of_session(session, plan)):
            say(f"gocker: {note}")
    kind = _ci(arguments)
    if kind != "none":
        from gocker.cli.ci import close

        close(kind, session, plan, _shown(arguments, plan), table=_wants_table(arguments),
              colour=colour(arguments, 1))  # fmt: skip
    _summarise(arguments, session.summary, shown=kind != "none")
    if spawn.in_background:
        from gocker.cli import caller

        if caller.gone:
            caller.clean(plan.project)
    return result.exit_code


def _session(
    arguments: argparse.Namespace, plan: Plan, roots: Roots, launcher: Launcher, run: Run
) -> tuple[Session, Result]:
    """Return what has become of a run that is open."""
    from gocker.cli.session import Session
    from gocker.log import Console
    from gocker.report.output import QueueSink, Sink
    from gocker.scheduler.control import open_control
    from gocker.scheduler.messages import Options

    width = max((len(name) for name in plan.units), default=0)
    level = "warning" if arguments.quiet else "info"
    kind = _ci(arguments)
    # A CI shows both streams in one log, in no order of their own.
    stderr = QueueSink(1 if kind != "none" and arguments.log_format == "text" else 2)
    lines: Sink = stderr
    if kind != "none":
        from gocker.cli.ci import begin

        lines = begin(kind, stderr, plan, json=arguments.log_format == "json")
    console = Console(lines, arguments.log_format, colour=colour(arguments, 2), level=level,
                      width=width)  # fmt: skip
    options = Options(
        parallel=arguments.parallel,
        max_time_s=arguments.max_time,
        fail_fast=arguments.fail_fast,
        exit_code_from=arguments.exit_code_from,
        abort_on_container_exit=arguments.abort_on_container_exit,
        abort_on_container_failure=arguments.abort_on_container_failure,
        stop_grace_s=arguments.timeout,
        detached=spawn.in_background,
        start=not arguments.no_start,
    )
    session = Session(
        plan, roots, launcher, console, stderr,
        prefix=not arguments.no_log_prefix, timestamps=arguments.timestamps,
        colour=colour(arguments, 1), run=run, control=open_control(roots, plan.project),
        shown=_shown(arguments, plan) if kind == "none" else lambda _: False,
        report=_report_to(arguments),
    )  # fmt: skip
    return session, session.execute(options)


def _report_to(arguments: argparse.Namespace) -> Report | None:
    """Return who is told that the run has begun, where somebody waits for that."""
    if not spawn.in_background:
        return None
    from gocker.cli import caller
    from gocker.cli.detach import Report

    if caller.fd is not None:
        return Report("served")
    return Report("ready" if arguments.wait else "decided")


def _shown(arguments: argparse.Namespace, plan: Plan) -> Callable[[str], bool] | None:
    """Return whether to show an instance's output; None shows all."""
    if spawn.in_background:
        return lambda _: False
    services = split_files(arguments.words)[1]
    chosen = arguments.attach or arguments.no_attach
    if not chosen and (not services or arguments.attach_dependencies):
        return None
    from gocker.cli.join import shown

    return shown(arguments, plan, services if chosen or services else []).__contains__


def _wants_table(arguments: argparse.Namespace) -> bool:
    formats = (arguments.format, arguments.log_format)
    return formats == ("table", "text") and not arguments.no_summary


def _summarise(arguments: argparse.Namespace, summary: object, *, shown: bool) -> None:
    from gocker.report.summary import Summary
    from gocker.report.table import summary_as

    assert isinstance(summary, Summary)  # noqa: S101  # for the type checker; imported late
    if arguments.format != "table":
        sys.stdout.write(summary_as(summary, arguments.format).replace("##[", "##\\u005b"))
    elif _wants_table(arguments) and not shown:
        sys.stdout.flush()
        sys.stderr.write("\n" + summary_as(summary, "table", colour=colour(arguments, 2)))
