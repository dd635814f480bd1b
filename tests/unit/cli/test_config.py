"""Options of `gocker config`."""

from __future__ import annotations

import pytest

from gocker.cli import main


@pytest.mark.parametrize("option", ["resolve-image-digests", "lock-image-digests", "models"])
def test_what_has_no_meaning_here_is_refused_with_its_reason(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["config", f"--{option}"]) == 2
    assert capsys.readouterr().err.startswith(f"gocker: --{option}: ")
