"""gocker beside the others: ``python -m tests.bench`` as root. docs/performance.md says more."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import machine, peers, report, scenarios, sections
from tests.bench.measure import alternate
from tests.support.bundle import PURE_V1

_INSIDE = "GOCKER_BENCH_INSIDE"
# Of one section.
_QUICK_MOST_S, _MOST_S = 480, 3600


NAMES = (
    "batch", "compose", "single", "chain", "exec", "ps", "start", "core", "posture", "profile",
    "scale",
)  # fmt: skip


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("sections", nargs="*", metavar="|".join(NAMES), help="default: all")
    add("--quick", action="store_true", help="fewer rounds: at most 20 minutes")
    add("--jobs", type=int, default=1000, help="containers of the batch (%(default)s)")
    add("--rounds", type=int, help="of the batch (5; quick: 3)")
    add("--short-rounds", type=int, help="of single, chain, exec, ps (20; quick: 8)")
    add("--no-engines", action="store_true", help="without podman, docker and their composes")
    add("--install", action="store_true", help="install missing Debian packages first")
    add("--directory", default="/var/tmp", help="where to work; not a tmpfs (%(default)s)")
    add("--output", type=Path, help="write OUTPUT.json and OUTPUT.md")
    add("--page", type=Path, metavar="FILE",
        help="put the figures into a page (docs/performance.md), plots and JSON into the "
        "directory FILE without .md")  # fmt: skip
    asked = parser.parse_args()
    if unknown := set(asked.sections) - set(NAMES):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return asked


def own_mounts() -> None:
    """Go on in a mount namespace of our own with a pure v1 view of cgroups, or stay on v2.

    crun and podman refuse a hybrid layout, so everybody gets the same; and what is mounted here
    is gone with the last process.
    """
    if _INSIDE in os.environ:
        return
    os.environ[_INSIDE] = "1"
    script = PURE_V1 + 'exec "$@"'
    inner = ["sh", sys.executable, "-m", "tests.bench", *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "-m", "sh", "-c", script, *inner])  # noqa: S606  # itself again


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def too_long(*_: object) -> None:
    """End a section that hangs: the others are measured all the same."""
    raise TimeoutError("it took too long")


class Suite:
    """The chosen sections, one after the other; what one of them lacks does not end the others."""

    def __init__(self, place: scenarios.Place, options: argparse.Namespace) -> None:
        self._place = place
        self._options = options
        self._quick: bool = options.quick
        self._output = str(place.top / "output")
        self._rounds: int = options.rounds or (3 if options.quick else 5)
        self._short: int = options.short_rounds or (8 if options.quick else 20)

    def sections(self) -> Iterator[report.Section]:
        """Measure and yield one section after the other."""
        with ExitStack() as stack:
            found = scenarios.Engines()
            if not self._options.no_engines:
                found = stack.enter_context(scenarios.engines(self._place, say))
            for name in self._options.sections or NAMES:
                say(name)
                try:
                    signal.alarm(_QUICK_MOST_S if self._quick else _MOST_S)
                    yield self._section(name, found)
                except Exception as error:  # whatever it is: the others go on
                    say(f"{name}: {error}")
                    yield report.failed(name, error)
                finally:
                    signal.alarm(0)

    def _section(self, name: str, found: scenarios.Engines) -> report.Section:
        place, directory = self._place, self._options.directory
        match name:
            case "batch":
                scenario = scenarios.batch(place, self._options.jobs, quick=self._quick)
                return self._contest(scenario, self._rounds)
            case "compose":
                jobs = 10 if self._quick else 50
                return self._contest(scenarios.composed(place, found, jobs), min(3, self._rounds))
            case "single":
                return self._contest(scenarios.single(place, found), self._short)
            case "chain":
                rounds = 3 if self._quick else 10
                return self._contest(scenarios.chain(place, found), rounds)
            case "exec":
                with scenarios.executions(place, found) as scenario:
                    return self._contest(scenario, 2 * self._short)
            case "ps":
                with scenarios.listing(place, 1000) as scenario:
                    return self._contest(scenario, 2 * self._short)
            case "start":
                return sections.the_start(directory, quick=self._quick)
            case "core":
                return sections.the_core(directory, quick=self._quick)
            case "posture":
                return sections.the_posture(directory, quick=self._quick)
            case "profile":
                return sections.the_profile(directory, place.made, quick=self._quick)
        return sections.the_scale(directory, say, quick=self._quick)

    def _contest(self, scenario: scenarios.Scenario, rounds: int) -> report.Section:
        say(f"{rounds} rounds of {', '.join(it.name for it in scenario.contenders)}")
        missing: dict[str, str] = {}
        samples = alternate(scenario.contenders, rounds, self._output, say, missing)
        return report.result(scenario, samples, missing)


def keep(options: argparse.Namespace, facts: dict[str, str], found: list[report.Section]) -> None:
    """Write what there is so far: an interrupted suite has its figures, too."""
    data = json.dumps({"machine": facts, "sections": found}, indent=1) + "\n"
    if options.output is not None:
        options.output.with_suffix(".json").write_text(data)
        options.output.with_suffix(".md").write_text(report.markdown(facts, found))
    if options.page is not None:
        directory = options.page.with_suffix("")
        report.write_plots(found, directory)
        (directory / "figures.json").write_text(data)
        page = report.markdown(facts, found, directory.name)
        options.page.write_text(report.inserted(options.page.read_text(), page))


def main() -> None:
    """Measure and print."""
    options = arguments()
    if os.geteuid():
        sys.exit("root is needed: crun, runc and gocker make cgroups")
    own_mounts()
    missing = peers.missing()
    if missing and options.install:
        peers.install(missing)
    elif missing:
        say(f"without {' '.join(missing)}; --install installs them with apt-get")
    facts = machine.describe()
    found: list[report.Section] = []
    signal.signal(signal.SIGALRM, too_long)
    place = scenarios.Place(Path(tempfile.mkdtemp(prefix="gocker-bench-", dir=options.directory)))
    try:
        for item in Suite(place, options).sections():
            found.append(item)
            keep(options, facts, found)
    finally:
        place.close()
        facts["load at the end"] = machine.load()
        keep(options, facts, found)
    print(report.markdown(facts, found))


if __name__ == "__main__":
    main()
