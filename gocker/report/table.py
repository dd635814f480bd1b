"""Tables for people and for programs: the summary of a run, and rows of any list command."""

from __future__ import annotations

from gocker import jsontext
from gocker.report.human import count, duration, safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    from gocker.report.summary import Row, Summary

    Format = Literal["table", "json", "jsonl"]


_HEADER = (
    "SERVICE", "VERDICT", "EXIT", "TIME", "CPU", "THROTTLED", "MEMORY", "PIDS", "TRIES",
)  # fmt: skip
_LEFT = 2  # columns of words; the others are figures
_ORDER = (
    "ok", "exit", "oom", "pids", "timeout", "signal", "unhealthy", "start_failed", "skipped",
    "cancelled", "unfinished",
)  # fmt: skip
_GREEN, _YELLOW, _RED = "32", "33", "1;31"


def summary_text(
    summary: Summary, *, colour: bool = False, most_ok: int = 40, most_hints: int = 20
) -> str:
    """Return the table at the end of a run, its hints and its last line.

    Args:
        summary: of the run.
        colour: paint the verdicts.
        most_ok: rows of plain success to show; of a thousand the rest is only counted.
        most_hints: hints to show.
    """
    rows = summary.ordered()
    good = [row for row in rows if row.verdict == "ok"]
    shown = good[:most_ok] + rows[len(good) :]
    lines = align([_HEADER, *(_cells(row) for row in shown)], left=_LEFT)
    if colour:
        lines[1:] = [_paint(line, row) for line, row in zip(lines[1:], shown, strict=True)]
    if len(good) > most_ok:
        lines.insert(1 + most_ok, f"… and {len(good) - most_ok} more ok")
    hints = summary.hints()
    lines += ["", *(f"  {safe(hint)}" for hint in hints[:most_hints])] if hints else []
    if len(hints) > most_hints:
        lines.append(f"  … and {len(hints) - most_hints} more, see run.jsonl")
    return "\n".join([*lines, "", _last_line(summary)]) + "\n"


def summary_as(summary: Summary, fmt: Format, *, colour: bool = False) -> str:
    """Return a summary in the format of ``--format``."""
    if fmt == "table":
        return summary_text(summary, colour=colour)
    document = summary.as_json()
    return rows_as([document] if fmt == "json" else document["rows"], "jsonl")


def rows_as(
    rows: Sequence[Mapping[str, Any]], fmt: Format, columns: Mapping[str, str] | None = None
) -> str:
    """Return the rows of a list command (ps, volumes …) in the format of ``--format``.

    Args:
        rows: JSON values by key.
        fmt: ``json`` is one array, ``jsonl`` one object per line.
        columns: of the table: heading by key; default is every key of the first row.
    """
    if fmt == "json":
        import json  # `jsontext` makes no indents

        return json.dumps([dict(row) for row in rows], indent=2) + "\n"
    if fmt == "jsonl":
        return "".join(jsontext.dumps(dict(row)) + "\n" for row in rows)
    if columns is None:
        columns = {key: key.upper() for key in (rows[0] if rows else {})}
    cells = [[_text(row.get(key)) for key in columns] for row in rows]
    return "".join(
        f"{line}\n" for line in align([list(columns.values()), *cells], left=len(columns))
    )


def align(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Return rows of cells as lines with aligned columns, the first `left` to the left."""
    columns = [
        _aligned([safe(cell) for cell in column], to_left=index < left)
        for index, column in enumerate(zip(*rows, strict=True))
    ]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _aligned(cells: list[str], *, to_left: bool) -> list[str]:
    full = max(map(width, cells))
    # By characters instead of bytes where each is as wide as it is long: most tables.
    lengths = [full - width(cell) + len(cell) for cell in cells]
    pad = str.ljust if to_left else str.rjust
    return list(map(pad, cells, lengths))


def width(text: str) -> int:
    """Return how many columns a terminal gives `text`: two for wide, none for combining."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    import unicodedata  # tables are ASCII, mostly

    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else jsontext.dumps(value)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.instance,
        _verdict(row),
        row.exit_signal or ("-" if row.exit_code is None else str(row.exit_code)),
        duration(row.duration_s),
        duration(row.cpu_s),
        duration(row.throttled_s) if row.throttled_s else "-",
        _of(size(row.memory_peak), size(row.memory_limit)),
        _of(_text(row.pids_peak), _text(row.pids_limit)),
        _tries(row),
    )


def _verdict(row: Row) -> str:
    verdict = row.verdict or "unfinished"
    return f"{verdict} (allowed)" if row.allowed and verdict != "ok" else verdict


def _tries(row: Row) -> str:
    """Return the number of attempts, and why those before the last one ended."""
    if not row.retried:
        return str(row.attempts)
    verdicts = dict.fromkeys(item["verdict"] for item in row.retried)
    return f"{row.attempts} ({', '.join(verdicts)})"


def _of(peak: str, limit: str) -> str:
    return peak if limit == "-" else f"{peak} / {limit}"


def _paint(line: str, row: Row) -> str:
    """Colour the verdict, the first words after the name."""
    colour = _RED if row.failed else _GREEN if row.verdict == "ok" else _YELLOW
    verdict = _verdict(row)
    at = line.index(f"  {verdict}", len(safe(row.instance))) + 2
    return f"{line[:at]}\x1b[{colour}m{verdict}\x1b[0m{line[at + len(verdict) :]}"


def _last_line(summary: Summary) -> str:
    totals = summary.totals()
    parts = [f"{totals[verdict]} {verdict}" for verdict in _ORDER if verdict in totals]
    text = f"{count(len(summary.rows), 'job')}: {', '.join(parts)}" if parts else "no jobs"
    if summary.exit_code is None:
        return f"{text}; the run has not finished"
    end = f"{text}; {duration(summary.duration_s)}, exit code {summary.exit_code}"
    end += f" ({summary.reason})" if summary.reason else ""
    return f"{end}: {safe(summary.error)}" if summary.error else end
