from __future__ import annotations

import re
from pathlib import Path

from gocker import errors

DOCS = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()


def test_every_class_is_listed_with_its_exit_code() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", DOCS, re.MULTILINE))
    defined = {
        name: str(kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.GockerError)
    }
    assert listed == defined


def test_the_codes_of_a_run_are_listed() -> None:
    listed = re.findall(r"^\| (\d+)(?:,[^|]*)? \|", DOCS, re.MULTILINE)
    codes = {errors.EXIT_JOB_FAILED, errors.EXIT_TIMEOUT, errors.HostError.exit_code}
    assert {str(code) for code in codes} <= set(listed)
