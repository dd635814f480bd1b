"""Results as JSON values and as a Markdown page."""

from __future__ import annotations

from typing import Any

from tests.bench.measure import Sample, ratios, statistics_of
from tests.bench.scenarios import Scenario

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def result(scenario: Scenario, samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """Return one scenario's figures."""
    base = samples[scenario.base]
    return {
        "name": scenario.name,
        "text": scenario.text,
        "units": scenario.units,
        "base": scenario.base,
        "contenders": {
            item.name: {
                **statistics_of(samples[item.name]),
                "ratio": ratios(samples[item.name], base),
                "argv": list(item.argv),
            }
            for item in scenario.contenders
        },
    }


def markdown(machine: dict[str, str], results: list[dict[str, Any]]) -> str:
    """Return the page's generated part."""
    lines = ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in machine.items())]
    for item in results:
        lines += ["", f"### {item['name']}", "", item["text"], "", *_table(item)]
    return "\n".join(lines) + "\n"


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


def _table(item: dict[str, Any]) -> list[str]:
    units = item["units"]
    many = units > 1
    rate = " containers/s |" if many else ""
    per = "per container " if many else ""
    lines = [
        f"| | median | min to max |{rate} CPU {per}| time / {item['base']} |",
        "|---|---|---|" + "---|" * (3 if many else 2),
    ]
    for name, one in item["contenders"].items():
        ratio = one["ratio"]
        cells = [
            name,
            _ms(one["median_s"]),
            f"{_ms(one['min_s'])} to {_ms(one['max_s'])}",
            *([f"{units / one['median_s']:.0f}"] if many else []),
            _ms(one["cpu_median_s"] / units),
            f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
