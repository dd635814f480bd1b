from __future__ import annotations

from pathlib import Path

from gocker.cli.down import finished
from gocker.state.roots import Roots
from gocker.state.run import Run, runs


def test_a_run_that_began_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with Roots(str(tmp_path / "data"), str(tmp_path / "live")) as roots:
        ended = Run.create(roots, "p", ())
        ended.close()
        living = Run.create(roots, "p", ())
        assert [run.id for run in finished(runs(roots, "p"))] == [ended.id]
        living.close()
