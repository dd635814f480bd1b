"""Values that are not shown."""

from __future__ import annotations

import os

from gocker.report.mask import Mask
from gocker.report.output import Prefixer, Sink


def test_values_are_replaced() -> None:
    mask = Mask(["s3cret", "s3cret-and-more", "a+b("])
    assert mask.text("x s3cret-and-more s3cret. a+b(") == "x *** ***. ***"
    assert mask.data("\xff s3cret\n".encode("latin-1")) == b"\xff ***\n"


def test_each_line_of_a_value_counts() -> None:
    assert Mask(["first\nsecond\n"]).text("the second") == "the ***"


def test_what_is_too_short_to_be_secret_is_shown() -> None:
    assert not Mask(["", "1", "ok", "\n"])


def test_records_keep_the_names_by_which_they_are_found() -> None:
    fields = {"instance": "token", "message": "a token", "n": 1, "error": {"hint": ["token"]}}
    assert Mask(["token"]).fields(fields) == {
        "instance": "token", "message": "a ***", "n": 1, "error": {"hint": ["***"]},
    }  # fmt: skip


def test_output_is_masked_in_whole_lines() -> None:
    read, write = os.pipe()
    prefixer = Prefixer(Sink(write), "a", mask=Mask(["s3cret"]).data)
    prefixer.feed(b"one s3c")
    prefixer.feed(b"ret\ntwo")
    prefixer.close()
    os.close(write)
    assert os.read(read, 100) == b"a | one ***\na | two\n"
    os.close(read)
