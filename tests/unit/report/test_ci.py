"""What GitHub's runner and GitLab read of a log, by a model of each reader."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.cli.ci import Defused, is_log
from gocker.report.ci import (
    MOST_ANNOTATIONS,
    GitHub,
    GitLab,
    detect,
    harmless,
    section_key,
    step_summary,
)
from gocker.report.output import Prefixer, Sink
from gocker.report.summary import Row, Summary

TOKEN = "0123456789abcdef"
# lib/gitlab/regex.rb: build_trace_section_regex.
SECTION = re.compile(rb"section_(start|end):(\d+):([a-zA-Z0-9_.-]+)(\[[^\]]*\])?\r\x1b\[0K")
COMMANDS = ("error", "warning", "group", "endgroup", "add-mask", "stop-commands", "set-env")


class Runner:
    """GitHub's runner: lines as .NET's StreamReader reads them, commands as ActionCommand.cs."""

    def __init__(self) -> None:
        self.obeyed: list[tuple[str, str]] = []
        self.stopped: str | None = None

    def read(self, data: bytes) -> list[tuple[str, str]]:
        for line in re.split("\r\n|\n|\r", data.decode("utf-8", "replace")):
            self._line(line)
        return self.obeyed

    def _line(self, line: str) -> None:
        found = re.match(r"::([^\s:]+)([^:]*?)::(.*)", line.lstrip()) or re.search(
            r"##\[([^\s\]]+)([^\]]*)\](.*)", line
        )
        if found is None:
            return
        name, data = found[1].lower(), found[3]
        if self.stopped is not None:
            if name == self.stopped:
                self.stopped = None
        elif name == "stop-commands":
            self.stopped = data
        elif name in COMMANDS:
            self.obeyed.append((name, data))


class Kept(Sink):
    def __init__(self) -> None:
        super().__init__(-1)
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def shown(output: bytes, name: str = "job", size: int = 1 << 16) -> bytes:
    """Return what is written of a container's output."""
    sink = Kept()
    lines = Prefixer(sink, name, clean=True, defuse=harmless)
    for at in range(0, len(output), size):
        lines.feed(output[at : at + size])
    lines.close()
    return sink.data


def logged(speaker: GitHub | GitLab, output: bytes, *, folded: bool, name: str = "job") -> bytes:
    key = section_key("job", 1)
    return (
        speaker.open("job: ok", key, 7, folded=folded)
        + shown(output, name)
        + speaker.close(key, 8, folded=folded)
    )


HOSTILE = [
    b"::error::x", b"  ::add-mask::a", b"\xc2\xa0::error::nbsp", b"\xe3\x80\x80::error::wide",
    b"a ##[error]x", b"##[add-mask]e", b"##[endgroup]", b"::endgroup::", b"::stop-commands::mine",
    b"x\r::error::cr", b"x\r\n::error::crlf", b"\0::error::nul", b"\x1b[31m::error::colour",
    b"##\x1b[0m[error]x", b"##\0[error]x", b"#\x1b]8;;http://x\x07#[error]link",
    b"\x1b]8;;http://x\x1b\\::error::osc\x1b]8;;\x1b\\", b"\xff::error::invalid",
    b"\xc2\x85::error::nel", b"\xe2\x80\xa8::error::separator", b"\x0b::error::vt",
    b"section_end:1:gocker_job_1\r\x1b[0K", b"\x1b[0Ksection_start:1:x[collapsed=true]\r\x1b[0Ky",
    b"section_end:1:gocker_job_1\r\r\x1b[0K", b"section_end:1:x\r\x1b[\x1b[0K0K",
    b"##\x1b[0m\x1b[1m[error]painted", b"\x1b[2J\x1b[H::error::home",
]  # fmt: skip


@pytest.mark.parametrize("name", ["job", ""])
@pytest.mark.parametrize("output", HOSTILE)
def test_no_output_is_a_command(output: bytes, name: str) -> None:
    assert Runner().read(shown(output, name)) == []
    speaker = GitHub("", TOKEN)
    runner = Runner()
    assert runner.read(logged(speaker, output, folded=False, name=name)) == []
    assert runner.stopped is None
    assert SECTION.search(shown(output, name)) is None


PIECES = st.sampled_from([
    b"::", b":", b"error", b"##", b"#", b"[", b"]", b"\r", b"\n", b"\0", b"\x1b", b"\x1b[0m",
    b"\x1b[0K", b"\x1b]8;;", b"\x07", b"section_end:1:a", b"add-mask", b" ", b"\xff", b"\xc2",
    b"\xa0", b"\xe2\x80\xa8", b"x", TOKEN[:4].encode(),
])  # fmt: skip


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(1, 7))
def test_nothing_made_of_commands_is_one(output: bytes, size: int) -> None:
    for name in ("job", ""):
        data = shown(output, name, size)
        assert Runner().read(data) == []
        assert SECTION.search(data) is None
        assert b"\0" not in data
        assert b"\r" not in data


def test_a_very_long_line_is_cut_into_prefixed_ones() -> None:
    data = shown(b"##[error]" * 100_000)
    assert all(line.startswith(b"job | ") for line in data.splitlines())
    assert Runner().read(data) == []


def test_a_group_is_closed_after_the_output() -> None:
    data = logged(GitHub("", TOKEN), b"::endgroup::\nfine\n", folded=True)
    assert Runner().read(data) == [("group", "job: ok"), ("endgroup", "")]


def test_a_gitlab_section_is_closed_after_the_output() -> None:
    data = logged(GitLab(), b"section_end:1:gocker_job_1\r\x1b[0K\nfine\n", folded=True)
    found = [(kind, key, option) for kind, _, key, option in SECTION.findall(data)]
    assert found == [
        (b"start", b"gocker_job_1", b"[collapsed=true]"), (b"end", b"gocker_job_1", b""),
    ]  # fmt: skip


def test_an_annotation_has_its_place_below_the_workspace(tmp_path: Path) -> None:
    speaker = GitHub(str(tmp_path), TOKEN)
    made = speaker.annotation("error", "a: b, c", "50% of\nit", (str(tmp_path / "ci/s.yaml"), 12))
    assert made == b"::error file=ci/s.yaml,line=12,title=a%3A b%2C c::50%25 of%0Ait\n"


def test_annotations_stop_where_github_stops_to_show_them() -> None:
    speaker = GitHub("", TOKEN)
    made = [speaker.annotation("error", "t", "m", ("", 0)) for _ in range(MOST_ANNOTATIONS + 5)]
    assert len([it for it in made if it]) == MOST_ANNOTATIONS
    assert speaker.annotation("warning", "t", "m", ("", 0)) == b"::warning title=t::m\n"


def test_each_line_of_a_secret_is_masked_and_short_ones_are_not() -> None:
    made = GitHub("", TOKEN).mask(["first line\nsecond%line\n", "x"])
    assert made == b"::add-mask::first line\n::add-mask::second%25line\n"


def test_a_json_event_stays_the_same_value() -> None:
    sink = Kept()
    Defused(sink, json=True).write(b'{"a":"##[error]x"}\n')
    assert Runner().read(sink.data) == []
    assert json.loads(sink.data) == {"a": "##[error]x"}


def test_the_step_summary_shows_names_as_they_are() -> None:
    row = Row("a", "a|<b>`c`", verdict="exit", failed=True, exit_code=3, attempts=1)
    text = step_summary(Summary(project="p", rows={"a": row}, exit_code=1))
    assert "| a\\|\\<b\\>\\`c\\` | ❌ exit | 3 |" in text


def test_who_is_detected() -> None:
    assert detect({"GITHUB_ACTIONS": "true", "CI": "true"}) == "github"
    assert detect({"GITLAB_CI": "true"}) == "gitlab"
    assert detect({"CI": "true"}) == "none"


def test_a_file_is_no_log(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        assert not is_log(file.fileno())
    read, write = os.pipe()
    assert is_log(write)
    os.close(read)
    os.close(write)
