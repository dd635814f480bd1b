"""Results as JSON values, as a Markdown page and as plots.

A section is a dictionary: ``name``, ``text``, ``table`` (rows of cells, the first one the head),
``data`` (what the table was made of), ``plot`` (an SVG, or None), ``missing`` (contender or part ->
why it has no figures).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import plot
from tests.bench.measure import Sample, ratios, statistics_of
from tests.bench.scenarios import Scenario

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
Section = dict[str, Any]


def section(
    name: str, text: str, table: Sequence[Sequence[object]], data: object,
    *, svg: str | None = None, missing: dict[str, str] | None = None,
) -> Section:  # fmt: skip
    """Return a section; cells are shown as `cell` says."""
    shown = [[cell(value) for value in row] for row in table]
    return {"name": name, "text": text, "table": shown, "data": data, "plot": svg,
            "missing": missing or {}}  # fmt: skip


def cell(value: object) -> str:
    """Return a value as a table has it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def failed(name: str, error: BaseException) -> Section:
    """Return a section that could not be measured."""
    why = " ".join(f"{type(error).__name__}: {error}".split())[-300:]
    return section(name, "Not measured.", [], None, missing={name: why})


def result(
    scenario: Scenario, samples: dict[str, list[Sample]], missing: dict[str, str]
) -> Section:
    """Return one scenario's figures; ratios are to its base, or to the first that is left."""
    base = scenario.base if scenario.base in samples else next(iter(samples))
    units = scenario.units
    many = units > 1
    per = "per container " if many else ""
    head = ["", "median", "min to max", *(["containers/s"] if many else []), f"CPU {per}".strip(),
            f"time / {base}", f"CPU / {base}"]  # fmt: skip
    table: list[list[str]] = [head]
    data = {}
    for name, taken in samples.items():
        one = statistics_of(taken)
        ratio = ratios(taken, samples[base])
        data[name] = {**one, "ratio": ratio}
        table.append([
            name, _ms(one["median_s"]), f"{_ms(one['min_s'])} to {_ms(one['max_s'])}",
            *([f"{units / one['median_s']:.0f}"] if many else []), _ms(one["cpu_median_s"] / units),
            f"{ratio['median']:.3g} ({ratio['min']:.3g} to {ratio['max']:.3g})",
            f"{ratio['cpu_median']:.3g}",
        ])  # fmt: skip
    rows = [
        (name, statistics.median(walls), min(walls), max(walls))
        for name, taken in samples.items()
        if (walls := [sample.wall_s / units * 1e3 for sample in taken])
    ]
    svg = plot.bars(f"{scenario.name}: ms{' ' + per.strip() if many else ''}", rows, "ms")
    found = section(scenario.name, scenario.text, table, data, svg=svg, missing=missing)
    return {**found, "units": units, "base": base}


def markdown(machine: dict[str, str], sections: list[Section], plots: str | None = None) -> str:
    """Return the page's generated part; `plots`: where they lie, as the page's links say it."""
    lines = ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in machine.items())]
    for item in sections:
        lines += ["", f"### {item['name']}", "", item["text"]]
        if item["table"]:
            head, *rows = item["table"]
            lines += ["", _row(head), "|" + "---|" * len(head), *map(_row, rows)]
        if item["plot"] and plots:
            lines += ["", f"![{item['name']}]({plots}/{file_name(item)})"]
        for name, why in item["missing"].items():
            lines += ["", f"Without {name}: {why.replace('|', '/')}"]
    return "\n".join(lines) + "\n"


def file_name(item: Section) -> str:
    """Return the name of a section's plot."""
    return f"{item['name'].replace(' ', '-')}.svg"


def write_plots(sections: list[Section], directory: Path) -> None:
    """Write every plot."""
    directory.mkdir(parents=True, exist_ok=True)
    for item in sections:
        if item["plot"]:
            (directory / file_name(item)).write_text(item["plot"])


def inserted(text: str, figures: str) -> str:
    """Return a page with its figures replaced.

    Raises:
        ValueError: if the page has no place for them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{begin}\n{figures}{end}{after}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
