"""What became slower or hungrier from one run to another, job by job."""

from __future__ import annotations

from gocker.report.human import duration, size
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gocker.report.summary import Row, Summary

# What is compared; less is better. What is below the floor in both runs is noise.
_FIGURES: dict[str, tuple[Callable[[Row], float | None], Callable[[float | None], str], float]] = {
    "time": (lambda row: row.duration_s, duration, 0.05),
    "cpu": (lambda row: row.cpu_s, duration, 0.05),
    "memory": (lambda row: row.memory_peak, size, 4 << 20),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `ratio`: after to before; None where one of them is missing or zero."""

    instance: str
    what: str
    before: str
    after: str
    ratio: float | None = None

    @property
    def text(self) -> str:
        """Return the ratio as ``+25 %``."""
        return "" if self.ratio is None else f"{(self.ratio - 1) * 100:+.0f} %"


def changes(before: Summary, after: Summary, threshold: float) -> list[Change]:
    """Return what differs: verdicts first, then the figures, the largest growth first.

    Args:
        before: the earlier run.
        after: the later run.
        threshold: part by which a figure has to differ, 0.1 for a tenth.
    """
    both = [name for name in before.rows if name in after.rows]
    found = [*_presence(before, after)]
    for name in both:
        old, new = before.rows[name], after.rows[name]
        if old.verdict != new.verdict:
            found.append(Change(name, "verdict", old.verdict or "-", new.verdict or "-"))
    figures = [
        change
        for name in both
        for change in _figures(before.rows[name], after.rows[name], threshold)
    ]
    return found + sorted(figures, key=lambda change: -(change.ratio or 0))


def _presence(before: Summary, after: Summary) -> Iterator[Change]:
    for name in before.rows.keys() - after.rows.keys():
        yield Change(name, "job", "there", "gone")
    for name in after.rows.keys() - before.rows.keys():
        yield Change(name, "job", "-", "new")


def _figures(old: Row, new: Row, threshold: float) -> Iterator[Change]:
    for what, (value, text, floor) in _FIGURES.items():
        was, now = value(old), value(new)
        if was is None or now is None or was <= 0 or max(was, now) < floor:
            continue
        if abs(now / was - 1) > threshold:
            yield Change(old.instance, what, text(was), text(now), now / was)
