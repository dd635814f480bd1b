"""What holds for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what a change broke fails, and nothing else. New examples are
# looked for by hand: HYPOTHESIS_PROFILE=default pytest, and tests/fuzz.
settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

_taken: dict[Path, bool] = {}


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave alone the modules that the test run beside this one has begun.

    Two runs with the same directory in GOCKER_TEST_CLAIMS share the tests by modules. Not
    pytest-xdist: a test that forks or changes namespaces needs a process without threads.
    """
    claims = os.environ.get("GOCKER_TEST_CLAIMS")
    if claims is None:
        return None
    if item.path not in _taken:
        _taken[item.path] = _take(Path(claims, str(item.path).replace("/", "-")))
    return None if _taken[item.path] else True


def _take(claim: Path) -> bool:
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
