"""The grammar of .env and env_file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.spec.dotenv import DotenvError, parse


def read(text: str | bytes, *, raw: bool = False, **environment: str) -> dict[str, str]:
    found: dict[str, str] = {}
    data = text if isinstance(text, bytes) else text.encode()
    parse(data, found, environment.get, raw)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ROOT=base\nA=${ROOT}/sub\nC='$ROOT'", {"ROOT": "base", "A": "base/sub", "C": "$ROOT"}),
        ("B=val # c", {"B": "val"}), ("C=val# c", {"C": "val# c"}),
        ('D="in # q" # c', {"D": "in # q"}), ("export F=x", {"F": "x"}), ("H = sp", {"H": "sp"}),
        ("exportY=2", {"exportY": "2"}), ("export\tT=1", {"T": "1"}),
        ('A="a\\tb\\nc"', {"A": "a\tb\nc"}), ("A='a\\tb ${X}'", {"A": "a\\tb ${X}"}),
        ("A=a\\tb ${X}", {"A": "a\\tb xx"}),
        ('A="\\$X"', {"A": "$X"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="q\\"q"', {"A": 'q"q'}), ('A="${X}"', {"A": "xx"}), ('A="\\\\"', {"A": "\\"}),
        ('A="two\nlines"\nB=1', {"A": "two\nlines", "B": "1"}),
        ("A='two\nlines'", {"A": "two\nlines"}),
        ("KEY\nB=1", {"KEY": "inherited", "B": "1"}), ("NOKEY\nB=1", {"B": "1"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("EQ=a=b=c\nDUP=1\nDUP=2", {"EQ": "a=b=c", "DUP": "2"}),
        ("A=\n\nB=2", {"A": "", "B": "2"}), ("# c\n\n  # d\nA=1", {"A": "1"}),
        ("A: 1", {"A": "1"}), ("A.b-c[0]=1", {"A.b-c[0]": "1"}),
        ('B="\\0101 \\q"', {"B": "A \\q"}), ("A=$$x", {"A": "$x"}), ("A=${NO:-d}", {"A": "d"}),
    ],
)  # fmt: skip
def test_values(text: str, expected: dict[str, str]) -> None:
    assert read(text, X="xx", KEY="inherited") == expected


def test_the_environment_beats_earlier_lines_in_references() -> None:
    assert read("X=file\nA=$X", X="environment")["A"] == "environment"


def test_raw_takes_everything_literally() -> None:
    text = "\ufeff# c\n  A=\"q\" '$x' \r\nK\n\nB=1 # no comment"
    assert read(text, raw=True, K="v") == {"A": "\"q\" '$x' ", "K": "v", "B": "1 # no comment"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("A=1\nTWO WORDS=2", 2, "space"),
        ("A='x\nb", 1, "unterminated"),
        ("A=1\n=5", 2, "no variable"),
        ("A=1\nB;C=1", 2, "unexpected character ';'"), ("\nA=${X:?need}", 2, "need"),
        ("A=${", 1, "invalid interpolation"),
        (b"A=1\nB=\xff", 2, "UTF-8"),
        (b"A=1\n\x00", 2, "NUL"),
    ],
)  # fmt: skip
def test_errors_name_the_line(text: str | bytes, line: int, message: str) -> None:
    with pytest.raises(DotenvError, match=message) as caught:
        read(text)
    assert caught.value.line == line


def test_no_error_shows_a_value() -> None:
    with pytest.raises(DotenvError) as caught:
        read('A="secret\n')
    assert "secret" not in str(caught.value)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_end_in_values_or_an_error_with_a_line(data: bytes, raw: bool) -> None:
    line = 1
    try:
        read(data, raw=raw)
    except DotenvError as error:
        line = error.line
    assert 1 <= line <= data.count(b"\n") + 1
