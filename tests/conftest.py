"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what a change broke fails, and nothing else. New examples are
# looked for by hand: HYPOTHESIS_PROFILE=default pytest, and tests/fuzz.
settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Leave alone the modules that the test run beside this one has begun.

    Two runs with the same directory in GOCKER_TEST_CLAIMS share the tests by modules. Not
    pytest-xdist: a test that forks or changes namespaces needs a process without threads.
    """
    claims = os.environ.get("GOCKER_TEST_CLAIMS")
    if claims is None:
        return None
    if session.testsfailed:  # while they were collected
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    mine = _mine(session.items, Path(claims))
    item = next(mine, None)
    while item is not None:
        following = next(mine, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _mine(items: list[pytest.Item], claims: Path) -> Iterator[pytest.Item]:
    taken: dict[Path, bool] = {}
    for item in items:
        if item.path not in taken:
            taken[item.path] = _take(claims / str(item.path).replace("/", "-"))
        if taken[item.path]:
            yield item


def _take(claim: Path) -> bool:
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
