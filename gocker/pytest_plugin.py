"""The pytest plugin (extra ``gocker[pytest]``): projects as fixtures. See docs/python.md.

Each pytest process, so each worker of pytest-xdist, has projects of its own names. What a test
used that failed shows its services' output in the report. A project ends with its fixture, and
with its pytest by whatever end (`gocker.api.up`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from gocker.errors import GockerError

if TYPE_CHECKING:
    from collections.abc import Generator

    from gocker.api import Run

    Scope = Literal["session", "package", "module", "class", "function"]

__all__ = ["gocker_files", "gocker_module", "gocker_session", "gocker_test", "project"]

# Last lines of each service's output that a failing test shows.
TAIL_LINES = 100
_INI = "gocker_files"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting that names the spec of the ready-made fixtures."""
    parser.addini(
        _INI, "spec files of the gocker_* fixtures, relative to the configuration's directory",
        type="paths", default=[],
    )  # fmt: skip


def project(
    *files: str | os.PathLike[str], scope: Scope = "function", services: Sequence[str] = (),
    **options: Any,
) -> Any:  # fmt: skip
    """Return a fixture that is a project of a spec, to be given a name in a test module.

    ``db = project("compose.yaml", scope="module")``, then ``def test_it(db): ...``.

    Args:
        files: of the spec, relative to the directory of the test's configuration.
        scope: how long the project lives.
        services: only these, with what they need.
        options: others of `gocker.api.up`.
    """

    @pytest.fixture(scope=scope)
    def made(pytestconfig: pytest.Config) -> Iterator[Run]:
        paths = [Path(pytestconfig.rootpath, file) for file in files]
        with _up(paths, services=services, **options) as run:
            yield run

    return made


@pytest.fixture(scope="session")
def gocker_files(pytestconfig: pytest.Config) -> Sequence[Path]:
    """Return the spec files of the fixtures below; override it, or set ``gocker_files``."""
    files: list[Path] = pytestconfig.getini(_INI)
    if not files:
        raise pytest.UsageError(
            "which spec? set gocker_files in pytest's configuration, override the fixture "
            "gocker_files, or make a fixture with gocker.pytest_plugin.project"
        )
    return files


@pytest.fixture(scope="session")
def gocker_session(gocker_files: Sequence[Path]) -> Iterator[Run]:
    """Give the project of the spec, up once for all tests of this process."""
    with _up(gocker_files) as run:
        yield run


@pytest.fixture(scope="module")
def gocker_module(gocker_files: Sequence[Path]) -> Iterator[Run]:
    """Give the project of the spec, up once for each module."""
    with _up(gocker_files) as run:
        yield run


@pytest.fixture
def gocker_test(gocker_files: Sequence[Path]) -> Iterator[Run]:
    """Give the project of the spec, up for this test alone."""
    with _up(gocker_files) as run:
        yield run


def _up(files: Sequence[Path], **options: Any) -> AbstractContextManager[Run]:
    from gocker.api import up

    return up(*files, label=os.environ.get("PYTEST_XDIST_WORKER", ""), **options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the output of the services that a failed test used."""
    report = yield
    if report.failed and report.when != "teardown":
        for name, run in _runs(item):
            report.sections += _sections(name, run.logs)
    return report


def _runs(item: pytest.Item) -> list[tuple[str, Run]]:
    from sys import modules

    if "gocker.api" not in modules:
        return []
    from gocker.api import Run

    used: dict[str, Any] = getattr(item, "funcargs", {})
    return [(name, value) for name, value in used.items() if isinstance(value, Run)]


def _sections(
    fixture: str, logs: Callable[[int], dict[str, str]]
) -> list[tuple[str, str]]:  # fmt: skip
    try:
        found = logs(TAIL_LINES)
    except GockerError as error:
        return [(f"gocker {fixture}", f"no output: {error}")]
    return [(f"gocker {fixture}: {service}", text) for service, text in found.items() if text]
