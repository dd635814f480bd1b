"""The parts of the suite that are no contest of commands: core, scale, posture, start, profile."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import bench_posture, bench_start, core, plot, profile_container, scale
from tests.bench.report import Section, section
from tests.support import bundle

Say = Callable[[str], None]
# For --quick.
FEW_SIZES = (100, 1000, 10_000)


def the_core(directory: str, *, quick: bool) -> Section:
    """Return the core beside the C program."""
    rounds, containers = (4, 200) if quick else (8, 300)
    with tempfile.TemporaryDirectory(prefix="gocker-core-", dir=directory) as top:
        found = core.compare(Path(top), rounds, containers)
    times = [one / other for one, other in zip(found["core"], found["limit"], strict=True)]
    table: list[list[object]] = [["", "median", "min to max"]]
    for name, key in (("gocker's core", "core"), ("C program, limit.c", "limit")):
        taken = [value * 1e3 for value in found[key]]
        table.append([name, f"{statistics.median(taken):.2f} ms",
                      f"{min(taken):.2f} to {max(taken):.2f} ms"])  # fmt: skip
    table.append(["ratio", f"{statistics.median(times):.2f}",
                  f"{min(times):.2f} to {max(times):.2f}"])  # fmt: skip
    text = (
        "Launcher with its children against `tests/bench/limit.c`, which makes the same system "
        "calls from the same configuration without a line of Python; both one container after the "
        f"other, {containers} per round, in turns. Cgroup v1."
    )
    return section("core", text, table, {**found, "ratios": times})


def the_scale(directory: str, say: Say, *, quick: bool) -> Section:
    """Return how time and memory grow."""
    table: list[list[object]] = [["", "jobs", "seconds", "ms per job", ""]]
    missing: dict[str, str] = {}
    found: list[dict[str, Any]] = []
    points = []
    sizes = FEW_SIZES if quick else scale.SIZES
    for name, scenario in scale.SCENARIOS.items():
        say(f"scale: {name}")
        try:
            with tempfile.TemporaryDirectory(prefix="gocker-scale-", dir=directory) as top:
                place = scale.Place(Path(top))
                place.sizes = sizes
                for figures in scenario(place):
                    found.append({"scenario": name, **figures})
                    table.append(_scale_row(name, figures))
                    if name == "linear":
                        points.append((figures["jobs"], figures["ms_per_job"]))
        except Exception as error:  # the other parts have their figures all the same
            missing[name] = " ".join(str(error).split())[-300:]
    svg = plot.line("scale: ms per job", points, "jobs", "ms per job") if points else None
    text = (
        "`linear`: side by side, limits and overlay each, every record looked for. `running`: that "
        "many containers at once, all our processes' memory (PSS); `monitors`: what a peer keeps "
        "for each container. `chain`: one after the other. `grid`: 100 layers of 100, each job "
        "after three. `writers`: 1,000 lines from each at once."
    )
    return section("scale", text, table, found, svg=svg, missing=missing)


def _scale_row(name: str, figures: dict[str, Any]) -> list[object]:
    if name == "running":
        what = (
            f"{figures['kib_per_container']} KiB per container; descriptors "
            f"{' + '.join(map(str, figures['descriptors']))}"
        )
        return [name, figures["containers"], "", "", what]
    if name == "monitors":
        return [name, 1, "", "", f"{figures['monitor']}: {figures['kib']} KiB per container"]
    if name == "writers":
        return [name, figures["writers"], figures["seconds"], "", f"{figures['lines']} lines"]
    return [name, figures["jobs"], figures["seconds"], f"{figures['ms_per_job']:.2f}", ""]


def the_posture(directory: str, *, quick: bool) -> Section:
    """Return the price of each layer."""
    jobs, turns = (40, 4) if quick else (60, 7)
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="gocker-price-", dir=directory) as top:
        rows = bench_posture.compare(Path(top), jobs, turns, strace=True, missing=missing)
        once = bench_posture.read_only_interpreter(Path(top), 5 if quick else 15)
    table: list[list[object]] = [
        ["", "to execve, median", "quartiles", "more than the default", "system calls"]
    ]
    table += [
        [row["name"], f"{row['median_ms']:.2f} ms",
         f"{row['low_ms']:.2f} to {row['high_ms']:.2f} ms", f"{row['change_ms']:+.2f} ms",
         f"{row['calls']:.0f}"]
        for row in rows
    ]  # fmt: skip
    price = f"{once['price_ms']:+.1f} ms"
    table.append(["read-only re-exec", f"{once['with_ms']:.1f} ms", "", price,
                  "once per launcher"])  # fmt: skip
    text = (
        f"{jobs} jobs one after the other, one layer left out or added at a time, in turns. The "
        "read-only re-exec is CPU of a launcher's start."
    )
    return section("posture", text, table, {"layers": rows, "read-only": once}, missing=missing)


def the_start(directory: str, *, quick: bool) -> Section:
    """Return the time from exec to the job's execve."""
    rounds = 8 if quick else 30
    with tempfile.TemporaryDirectory(prefix="gocker-start-", dir=directory) as top:
        bench = bench_start.Bench(Path(top))
        taken = bench_start.starts(bench, rounds)
        stages = bench_start.stages(bench, 5 if quick else 10)
    base = statistics.median(taken["python -c pass"])
    table: list[list[object]] = [["", "median", "min", "times `python -c pass`"]]
    for name, values in taken.items():
        middle = statistics.median(values)
        table.append([name, f"{middle * 1e3:.1f} ms", f"{min(values) * 1e3:.1f} ms",
                      f"{middle / base:.2f}"])  # fmt: skip
    for name, (cold, warm) in stages.items():
        table.append([f"stage: {name}", f"{cold:.1f} ms without cache", f"{warm:.1f} ms unchanged",
                      ""])  # fmt: skip
    text = (
        "From the exec of gocker to the execve of a job on `host:/`; the stages by `gocker up "
        "--timings`, least of several."
    )
    return section("start", text, table, {"taken": taken, "stages": stages})


def the_profile(directory: str, made: bundle.Bundle, *, quick: bool) -> Section:
    """Return where one container's time goes, ours and crun's."""
    jobs = 60 if quick else 200
    with tempfile.TemporaryDirectory(prefix="gocker-profile-", dir=directory) as top:
        place = profile_container.Place(Path(top), None)
        steps = profile_container.steps(place, jobs)
        few = max(10, jobs // 10)
        back = profile_container.per_container(place, few, front=False)
        front = profile_container.per_container(place, few, front=True)
        crun = profile_container.crun_calls(Path(top), made)
    table: list[list[object]] = [["", "median µs", "least µs", "", ""]]
    table += [
        [f"{step.process}: {step.name}", f"{step.median:.0f}", f"{step.least:.0f}", "", ""]
        for step in steps
    ]
    table.append(["**system calls**", "launcher and init", "front", "crun run", ""])
    names = sorted({*back, *front, *crun}, key=lambda name: -back.get(name, 0) - crun.get(name, 0))
    table += [
        [name, f"{back.get(name, 0):.1f}", f"{front.get(name, 0):.1f}", crun.get(name, 0), ""]
        for name in names
    ]
    sums = [f"{sum(back.values()):.0f}", f"{sum(front.values()):.0f}", sum(crun.values())]
    table.append(["all", *sums, ""])
    for row in table:
        row.pop()
    data = {"steps": [step._asdict() for step in steps], "back": back, "front": front, "crun": crun}
    text = (
        "Steps with a stop-watch around each, one container after the other; then system calls per "
        "container: ours as the difference of a long and a short run, crun's of one `crun run` of "
        "the same configuration, its own start included."
    )
    return section("profile", text, table, data)
