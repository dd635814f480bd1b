from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gocker import events
from gocker.errors import HostError
from gocker.log import Console, RunLog, use_colour
from gocker.report.output import Sink
from gocker.state.runlog import parse, read
from tests.support.records import sample

ROOT = Path(__file__).parents[3]


class Pipe:
    """The console's reader."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self.sink = Sink(write)

    def text(self) -> str:
        try:
            return os.read(self._read, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def hang_up(self) -> None:
        os.close(self._read)


def silent() -> Console:
    return Console(Sink(-1), "none")


def log(tmp_path: Path, console: Console | None = None) -> RunLog:
    return RunLog(str(tmp_path / "run.jsonl"), "r1", "demo", console or silent())


@pytest.mark.parametrize("event", events.EVENTS)
def test_a_record_of_each_event_is_valid_by_the_schema(event: str, tmp_path: Path) -> None:
    with log(tmp_path) as run_log:
        run_log.record(event, sample(event))
    record = json.loads((tmp_path / "run.jsonl").read_text())
    validator = jsonschema.Draft202012Validator(events.json_schema())
    assert list(validator.iter_errors(record)) == []


def test_the_envelope_counts_from_one_and_names_run_and_project(tmp_path: Path) -> None:
    with log(tmp_path) as run_log:
        run_log.record("run.interrupted", {"signal": "SIGINT"})
        run_log.record("run.interrupted", {"signal": "SIGTERM"})
    first, second = read(str(tmp_path / "run.jsonl"))
    assert (first["seq"], second["seq"]) == (1, 2)
    assert (first["schema"], first["run.id"], first["project"]) == (1, "r1", "demo")
    assert first["monotonic"] <= second["monotonic"]


def test_undeclared_fields_are_refused_and_leave_no_line(tmp_path: Path) -> None:
    with log(tmp_path) as run_log, pytest.raises(ValueError, match="extra"):
        run_log.record("run.interrupted", {"signal": "SIGINT", "more": 1})
    assert (tmp_path / "run.jsonl").read_bytes() == b""


TORTURE = '\n\r\0\x1b]52;c;x\x07\x85\u2028\u2029\udcff\ud800\u202e"\\' + "x" * (1 << 20)


def test_any_text_is_one_ascii_line_and_comes_back(tmp_path: Path) -> None:
    with log(tmp_path) as run_log:
        run_log.record("run.interrupted", {"signal": TORTURE})
        run_log.record("run.interrupted", {"signal": "next"})
    content = (tmp_path / "run.jsonl").read_bytes()
    assert content.isascii()
    assert len(content.decode().splitlines()) == 2
    assert [record["signal"] for record in read(str(tmp_path / "run.jsonl"))] == [TORTURE, "next"]


def test_the_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        log(tmp_path).close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(HostError, match="cannot open"):
        log(tmp_path)
    assert not (tmp_path / "victim").exists()


def test_a_record_is_on_disk_before_record_returns(tmp_path: Path) -> None:
    run_log = log(tmp_path)
    run_log.record("run.interrupted", {"signal": "SIGINT"})
    assert len(list(read(str(tmp_path / "run.jsonl")))) == 1
    run_log.close()


def test_a_full_disk_leaves_no_torn_line(tmp_path: Path) -> None:
    # RLIMIT_FSIZE cuts a write in the middle, as a full file system does.
    program = f"""
import resource, signal
from gocker.errors import HostError
from gocker.log import Console, RunLog
from gocker.report.output import Sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
log = RunLog({str(tmp_path / "run.jsonl")!r}, "r1", "demo", Console(Sink(-1), "none"))
log.record("run.interrupted", {{"signal": "a" * 400}})
try:
    log.record("run.interrupted", {{"signal": "b" * 600}})
except HostError as err:
    print(err)
log.record("run.interrupted", {{"signal": "c"}})
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "File too large" in result.stdout
    records = list(read(str(tmp_path / "run.jsonl")))
    assert [(record["seq"], record["signal"][0]) for record in records] == [(1, "a"), (2, "c")]


def test_read_leaves_out_a_torn_last_line_and_garbage(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with log(tmp_path) as run_log:
        run_log.record("run.interrupted", {"signal": "SIGINT"})
    good = path.read_bytes()
    path.write_bytes(b"\0\xff\n[1]\n{}\n" + good + good[:-1])
    assert len(list(read(str(path)))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"signal": 1}, {"signal": None}, {"seq": True}, {"monotonic": float("nan")},
        {"monotonic": "1"}, {"event": "no.such"}, {"event": {}}, {"extra": 1},
    ],
    ids=str,
)  # fmt: skip
def test_parse_refuses_what_is_not_a_record(change: dict[str, Any], tmp_path: Path) -> None:
    with log(tmp_path) as run_log:
        record = run_log.record("run.interrupted", {"signal": "SIGINT"})
    assert parse(json.dumps(record).encode() + b"\n") == record
    assert parse(json.dumps(record | change).encode() + b"\n") is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_read_refuses_what_is_no_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "run.jsonl")
    with pytest.raises(HostError, match="not a regular file"):
        list(read(str(tmp_path / "run.jsonl")))


def test_parse_survives_deep_nesting() -> None:
    assert parse(b"[" * 100_000 + b"\n") is None


def test_text_waits_for_the_first_container_and_is_then_replayed(tmp_path: Path) -> None:
    pipe = Pipe()
    with log(tmp_path, Console(pipe.sink, "text")) as run_log:
        run_log.record("job.skipped", sample("job.skipped", instance="early"))
        assert pipe.text() == ""
        run_log.record("container.started", sample("container.started", instance="worker"))
        lines = pipe.text().splitlines()
    assert lines[0].startswith("early")
    assert lines[1].startswith("worker")


def test_the_end_of_the_log_shows_what_waited(tmp_path: Path) -> None:
    pipe = Pipe()
    with log(tmp_path, Console(pipe.sink, "text")) as run_log:
        run_log.record("job.skipped", sample("job.skipped", instance="early"))
    assert "early" in pipe.text()


def test_json_on_the_console_is_the_line_of_the_file(tmp_path: Path) -> None:
    pipe = Pipe()
    with log(tmp_path, Console(pipe.sink, "json")) as run_log:
        run_log.record("limit.applied", sample("limit.applied"))
    assert pipe.text() == (tmp_path / "run.jsonl").read_text()


@pytest.mark.parametrize(("level", "shown"), [("debug", True), ("info", False)])
def test_limits_are_shown_from_level_debug(level: str, shown: bool, tmp_path: Path) -> None:
    pipe = Pipe()
    with log(tmp_path, Console(pipe.sink, "text", level=level)) as run_log:
        run_log.record("limit.applied", sample("limit.applied"))
    assert ("limit" in pipe.text()) is shown


def test_failures_are_red_when_colours_are_on(tmp_path: Path) -> None:
    pipe = Pipe()
    with log(tmp_path, Console(pipe.sink, "text", colour=True)) as run_log:
        run_log.record("job.finished", sample("job.finished", verdict="exit", failed=True))
    assert "\x1b[1;31mFAILED" in pipe.text()


def test_a_console_whose_reader_left_does_not_stop_the_log(tmp_path: Path) -> None:
    pipe = Pipe()
    pipe.hang_up()
    with log(tmp_path, Console(pipe.sink, "text")) as run_log:
        for _ in range(3):
            run_log.record("container.started", sample("container.started"))
    assert len(list(read(str(tmp_path / "run.jsonl")))) == 3


def test_names_reach_the_terminal_without_control_characters(tmp_path: Path) -> None:
    pipe = Pipe()
    evil = "web\x1b]0;title\x07\x1b[2J\u202e\x9b31m\nnext"
    with log(tmp_path, Console(pipe.sink, "text")) as run_log:
        run_log.record("container.started", sample("container.started", instance=evil))
    assert pipe.text().splitlines()[0].split("  ")[0] == "web next"


def loaded_by(code: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(result.stdout.split())


FRONT = "import gocker.log, gocker.state.run, gocker.image.resolve, gocker.report.table"


def test_the_front_parts_are_imported_without_costly_modules() -> None:
    costly = {
        "structlog", "asyncio", "logging", "subprocess", "tempfile", "shutil", "rich", "pydantic",
        "ruamel", "threading", "hashlib", "urllib",
    }  # fmt: skip
    assert loaded_by(FRONT) & costly == set()


def test_structlog_comes_without_rich(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from gocker.log import Console\nfrom gocker.report.output import Sink\n"
        "Console(Sink(2), 'text').open()"
    )
    modules = loaded_by(code)
    assert "structlog" in modules
    assert "rich" not in modules


@pytest.mark.parametrize(
    ("option", "environ", "isatty", "expected"),
    [
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, True, False),
        ("auto", {"FORCE_COLOR": "", "NO_COLOR": ""}, True, True),
        ("auto", {"NO_COLOR": "1", "GITHUB_ACTIONS": "true"}, True, False),
        ("auto", {"GITHUB_ACTIONS": "true"}, False, True),
        ("auto", {"GITLAB_CI": "true"}, False, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {}, True, True),
        ("auto", {}, False, False),
    ],
)
def test_colour_rules(option: str, environ: dict[str, str], isatty: bool, expected: bool) -> None:
    assert use_colour(option, environ, isatty) is expected


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_a_console_shows_the_same_before_and_after_structlog_is_there(
    level: str, tmp_path: Path
) -> None:
    pipes = Pipe(), Pipe()
    names = ("run.started", "container.started", "limit.applied", "job.finished", "run.finished")
    for opened, pipe in enumerate(pipes):
        (tmp_path / str(opened)).mkdir()
        console = Console(pipe.sink, "text", level=level, colour=True)
        if opened:
            console.open()
        with log(tmp_path / str(opened), console) as run_log:
            for name in names:
                run_log.record(name, sample(name))
    first, second = (pipe.text() for pipe in pipes)
    assert first == second


def test_a_short_run_does_without_structlog() -> None:
    code = (
        "from gocker.log import Console\nfrom gocker.report.output import Sink\n"
        "console = Console(Sink(2), 'text')\nconsole.begin()\nconsole.mute()"
    )
    assert "structlog" not in loaded_by(code)


def test_only_wanted_events_are_read(tmp_path: Path) -> None:
    evil = 'x","event":"job.finished'
    with log(tmp_path, Console(Pipe().sink, "none")) as run_log:
        run_log.record("container.started", sample("container.started", instance=evil))
        run_log.record("job.finished", sample("job.finished", instance='"event":"x"'))
        run_log.record("limit.applied", sample("limit.applied"))
    path = str(tmp_path / "run.jsonl")
    found = [record["event"] for record in read(path, wanted={"job.finished"})]
    assert found == ["job.finished"]
    assert len(list(read(path))) == 3


def test_a_number_that_is_none_is_noticed_in_a_record_like_others(tmp_path: Path) -> None:
    with log(tmp_path, Console(Pipe().sink, "none")) as run_log:
        run_log.record("container.started", sample("container.started"))
    (line,) = (tmp_path / "run.jsonl").read_bytes().splitlines(keepends=True)
    good = parse(line)
    assert good is not None
    number = str(good["monotonic"]).encode()
    assert parse(line.replace(number, b"NaN")) is None
    assert parse(line.replace(number, b"Infinity")) is None
