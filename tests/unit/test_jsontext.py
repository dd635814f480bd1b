"""JSON without the `json` module: the same values and the same text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_it_writes_and_reads_what_json_does(value: Any) -> None:
    for ascii_only in (True, False):
        expected = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
        assert jsontext.dumps(value, ascii_only=ascii_only) == expected
        assert jsontext.loads(f" {expected}\n") == json.loads(expected) == value
    expected = json.dumps(value, separators=(",", ":"), sort_keys=True)
    assert jsontext.dumps(value, sort_keys=True) == expected
    assert jsontext.loads(expected.encode()) == value


def test_undecodable_bytes_of_a_file_name_come_back() -> None:
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert jsontext.loads(jsontext.dumps(name)) == name


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[1", "nope", "1 2", '{"a" 1}', '"a', "[1,]", "\0", b"\xff", "'a'", "[1]]"],
)
def test_what_is_no_json_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"(?s).+"):  # whatever it says
        jsontext.loads(text)


def test_what_has_no_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object"):
        jsontext.dumps({"a": object()})
    assert jsontext.dumps({"a": object}, default=lambda value: value.__name__) == '{"a":"object"}'
    with pytest.raises(ValueError, match="float"):
        jsontext.dumps(float("nan"), allow_nan=False)


ROOT = Path(__file__).parents[2]
BROKEN = ('{"a": "\x00"}', '{"a" 1}', "[1,", '"abc', '{"a":1,}', "\x00", "[1}", "nul")


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_json_is_told_without_json_being_imported(text: str) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from gocker import jsontext\n"
        "try:\n    jsontext.loads(sys.argv[2].encode().decode('unicode_escape'))\n"
        "except ValueError:\n    sys.exit(7)\n"
    )
    escaped = text.encode("unicode_escape").decode()
    argv = [sys.executable, "-I", "-S", "-c", program, str(ROOT), escaped]
    assert subprocess.run(argv, check=False).returncode == 7
