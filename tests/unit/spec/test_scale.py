"""Time grows with the size of a spec, not with its square."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


def text(count: int) -> str:
    return "services:\n" + "".join(
        f"  s{i}:\n    image: busybox:{i}\n    command: [echo, hi]\n    environment:\n"
        f"      A: b{i}\n      C: ${{D:-d}}\n    mem_limit: 64m\n    depends_on: [s{i // 2}]\n"
        if i
        else "  s0: {image: x}\n"
        for i in range(count)
    )


def seconds(project: Project, count: int) -> float:
    content = text(count)
    best = 1e9
    for _ in range(3):
        started = time.monotonic()
        assert len(project.model(content)["services"]) == count
        best = min(best, time.monotonic() - started)
    return best


def test_time_is_linear(project: Project) -> None:
    # Linear is 8; a quadratic pass anywhere makes it 64.
    assert seconds(project, 4000) / seconds(project, 500) < 24


def test_ten_thousand_services_load(project: Project) -> None:
    assert len(project.model(text(10_000))["services"]) == 10_000
