"""gocker beside the others: ``python -m tests.bench`` as root. docs/performance.md says more."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import machine, peers, report, scenarios
from tests.bench.measure import alternate
from tests.support.bundle import PURE_V1

_INSIDE = "GOCKER_BENCH_INSIDE"


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="batch|single|chain", help="default: all")
    add("--jobs", type=int, default=1000, help="containers of the batch (%(default)s)")
    add("--rounds", type=int, default=5, help="of the batch (%(default)s)")
    add("--short-rounds", type=int, default=20, help="of single and chain (%(default)s)")
    add("--no-engines", action="store_true", help="without podman and docker")
    add("--install", action="store_true", help="install missing Debian packages first")
    add("--directory", default="/var/tmp", help="where to work; not a tmpfs (%(default)s)")
    add("--output", type=Path, help="write OUTPUT.json and OUTPUT.md")
    add("--page", type=Path, help="put the figures into a page: docs/performance.md")
    return parser.parse_args()


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
    print(text, file=sys.stderr, flush=True)


def measure(place: scenarios.Place, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run the chosen scenarios and yield their figures."""
    chosen = options.scenarios or ["batch", "single", "chain"]
    output = str(place.top / "output")

    def figures(scenario: scenarios.Scenario, rounds: int) -> dict[str, Any]:
        say(f"{scenario.name}: {rounds} rounds of {', '.join(c.name for c in scenario.contenders)}")
        return report.result(scenario, alternate(scenario.contenders, rounds, output, say))

    if "batch" in chosen:
        yield figures(scenarios.batch(place, options.jobs), options.rounds)
    if "single" in chosen:
        wanted = not options.no_engines
        with scenarios.engines(place.top, place.rootfs, wanted=wanted) as (docker, podman):
            yield figures(scenarios.single(place, docker, podman), options.short_rounds)
    if "chain" in chosen:
        yield figures(scenarios.chain(place), options.short_rounds)


def main() -> None:
    """Measure and print."""
    options = arguments()
    if os.geteuid():
        sys.exit("root is needed: crun, runc and gocker make cgroups")
    own_mounts()
    missing = peers.missing()
    if missing and not options.install:
        sys.exit(f"missing: {' '.join(missing)}; --install installs them with apt-get")
    if missing:
        peers.install(missing)
    facts = machine.describe()
    results = []
    place = scenarios.Place(Path(tempfile.mkdtemp(prefix="gocker-bench-", dir=options.directory)))
    try:
        results.extend(measure(place, options))
    finally:
        place.close()
    facts["load at the end"] = machine.load()
    page = report.markdown(facts, results)
    print(page)
    if options.output is not None:
        data = {"machine": facts, "scenarios": results}
        options.output.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        options.output.with_suffix(".md").write_text(page)
    if options.page is not None:
        options.page.write_text(report.inserted(options.page.read_text(), page))


if __name__ == "__main__":
    main()
