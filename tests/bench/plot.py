"""Plots as SVG, drawn by hand: bars with their spread, and lines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

WIDTH, LEFT, ROW = 760, 230, 26
_STYLE = "font-family='sans-serif' font-size='12'"


def bars(title: str, rows: Sequence[tuple[str, float, float, float]], unit: str) -> str:
    """Return a horizontal bar for each (name, median, least, most)."""
    height = ROW * (len(rows) + 2)
    most = max((row[3] for row in rows), default=1.0) or 1.0
    scale = (WIDTH - LEFT - 110) / most
    lines = [_text(10, 18, title, bold=True)]
    for number, (name, median, least, greatest) in enumerate(rows, 1):
        y = number * ROW + 6
        colour = "#2f6fb0" if name.startswith("gocker") else "#9aa5b1"
        lines.append(_text(LEFT - 8, y + 13, name, anchor="end"))
        lines.append(
            f"<rect x='{LEFT}' y='{y}' width='{median * scale:.1f}' height='16' fill='{colour}'/>"
        )
        middle = y + 8
        lines.append(
            f"<path d='M{LEFT + least * scale:.1f} {middle}H{LEFT + greatest * scale:.1f}' "
            "stroke='#222'/>"
        )
        lines.append(_text(LEFT + greatest * scale + 6, y + 13, f"{median:.3g} {unit}"))
    return _svg(height, lines)


def line(title: str, points: Sequence[tuple[float, float]], across: str, up: str) -> str:
    """Return points over a logarithmic axis, joined."""
    height, top, bottom = 260, 40, 210
    left, right = 80, WIDTH - 30
    first, last = log10(points[0][0]), log10(points[-1][0])
    most = max(value for _, value in points) * 1.2
    places = [
        (
            left + (right - left) * (log10(at) - first) / ((last - first) or 1),
            bottom - (bottom - top) * value / most,
        )
        for at, value in points
    ]
    lines = [
        _text(10, 18, title, bold=True),
        f"<path d='M{left} {top}V{bottom}H{right}' stroke='#222' fill='none'/>",
        _text(left - 8, top + 4, f"{most:.3g}", anchor="end"),
        _text(left - 8, bottom + 4, "0", anchor="end"),
        _text(left, height - 8, f"{across}; up: {up}"),
        "<path d='M{}' stroke='#2f6fb0' stroke-width='2' fill='none'/>".format(
            "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        ),
    ]
    for (x, y), (at, value) in zip(places, points, strict=True):
        lines.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='#2f6fb0'/>")
        lines.append(_text(x, y - 8, f"{value:.2f}", anchor="middle"))
        lines.append(_text(x, bottom + 18, f"{at:g}", anchor="middle"))
    return _svg(height, lines)


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}'{weight}>{escape(text)}</text>"


def _svg(height: int, lines: list[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' {_STYLE}>"
    back = "<rect width='100%' height='100%' fill='#fff'/>"
    return "\n".join([head, back, *lines, "</svg>"]) + "\n"
