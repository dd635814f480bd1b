"""R9, R10: few descriptors or processes make a batch slower, not wrong."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from gocker.cgroup import mounts
from tests.support.command import Gocker, Result, Spec

pytestmark = pytest.mark.root


def jobs(count: int) -> Spec:
    """Return jobs that end with known codes and tell their number."""
    return {
        "services": {
            f"j{number}": {"command": ["sh", "-c", f"echo {number}; exit {number % 3}"]}
            for number in range(count)
        }
    }


def wrong(result: Result, count: int) -> list[str]:
    """Return the jobs whose code or output is not what they gave."""
    codes = {r["instance"]: r["process.exit.code"] for r in result.events("container.exited")}
    return [
        f"j{number}: {codes.get(f'j{number}')}, {result.log(f'j{number}')!r}"
        for number in range(count)
        if codes.get(f"j{number}") != number % 3 or result.log(f"j{number}") != f"{number}\n"
    ]


def with_limit(gocker: Gocker, kind: int, value: int) -> Callable[[], None]:
    def enter() -> None:
        gocker.nest.enter()
        resource.setrlimit(kind, (value, value))

    return enter


def few_descriptors(gocker: Gocker, count: int, limit: int) -> None:
    enter = with_limit(gocker, resource.RLIMIT_NOFILE, limit)
    result = gocker.up(jobs(count), "--parallel", str(count), enter=enter)
    assert wrong(result, count) == [], result
    assert result.code == 1
    assert result.events("container.failed") == []


def few_processes(gocker: Gocker, count: int, limit: int) -> None:
    directory = gocker.nest.directories["pids"]
    Path(directory, "pids.max").write_text(str(limit))
    result = gocker.up(jobs(count), "--parallel", str(count))
    assert wrong(result, count) == [], result
    assert result.events("container.failed") == []


def test_few_descriptors_make_jobs_wait(gocker: Gocker) -> None:
    few_descriptors(gocker, count=40, limit=64)


def test_too_few_descriptors_are_told_with_the_number(gocker: Gocker) -> None:
    enter = with_limit(gocker, resource.RLIMIT_NOFILE, 30)
    result = gocker.up(jobs(2), enter=enter)
    assert result.code == 3
    assert "30" in result.err or "open files" in result.err
    assert "ulimit -n" in result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif("pids" not in mounts.read().v1, reason="the nest is one of cgroup v1")
def test_few_processes_make_jobs_wait(gocker: Gocker) -> None:
    few_processes(gocker, count=30, limit=14)


def test_a_pidfd_is_no_more_than_the_limit() -> None:
    """What the limits below rely on: the kernel gives the lowest number that is free."""
    read, write = os.pipe()
    os.close(read)
    again = os.dup(write)
    assert again == read
    os.close(again)
    os.close(write)
