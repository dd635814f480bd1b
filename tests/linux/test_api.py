"""The Python API and the pytest plugin, on the real kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gocker as package
from gocker import errors
from tests.support import machine
from tests.support.command import ROOT, Gocker

pytestmark = pytest.mark.root

# For pytest with several projects, on a machine with more to do.
_LONG_S = 10 * machine.PATIENCE_S

SPEC: dict[str, Any] = {
    "services": {
        "web": {
            "command": ["sh", "-c", "echo hello; echo $WORD; exec sleep 1000"],
            "environment": {"WORD": "word"},
            "volumes": ["data:/data"],
            "stop_signal": "SIGKILL",  # sleep ignores others as process 1
            "healthcheck": {"test": ["CMD", "grep", "-q", "/data", "/proc/mounts"],
                            "interval": "50ms"},
        },
        "job": {"command": ["sh", "-c", "echo done; exit 4"]},
    },
    "volumes": {"data": {}},
}  # fmt: skip


@pytest.fixture
def spec(gocker: Gocker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a spec; this process and its children use the test's own roots."""
    for name, value in gocker.environ.items():
        monkeypatch.setenv(name, value)
    machine.count_subreaper(-1)  # as in a user's process: supervisors are nobody's children
    yield gocker.write(SPEC)
    machine.count_subreaper(+1)
    assert gocker.runs() == []
    assert [it for it in gocker.files("data/volumes") if "/." not in it] == []


def test_a_service_while_it_is_up(spec: Path) -> None:
    with package.up(spec, services=["web"]) as run:
        web = run.service("web")
        assert web.logs() == "hello\nword\n"
        assert run.logs(tail=1) == {"web": "word\n"}
        done = web.exec("sh", "-c", "echo in $X; pwd; echo err >&2; exit 3",
                        env={"X": "y"}, workdir="/data")  # fmt: skip
        assert (done.exit_code, done.stdout, done.stderr) == (3, "in y\n/data\n", "err\n")
        with pytest.raises(errors.ContainerError, match="exit code 3"):
            done.check()


def test_errors_are_gockers(spec: Path) -> None:
    with package.up(spec, services=["web"]) as run:
        web = run.service("web")
        with pytest.raises(errors.CommandNotFound) as not_found:
            web.exec("nowhere")
        assert any("hint:" in note for note in not_found.value.__notes__)
        with pytest.raises(errors.HostError, match="does not publish 80/tcp"):
            web.port_for(80)
        with pytest.raises(errors.UsageError, match="no such service"):
            run.service("wbe")
        with pytest.raises(TimeoutError):
            web.wait(timeout_s=0.01)


def test_a_job_is_waited_for(spec: Path) -> None:
    with package.up(spec, services=["job"]) as run:
        assert run.service("job").wait() == 4
        assert run.wait() == 4
        assert run.service("job").logs() == "done\n"


def test_a_mistake_is_told_before_anything_runs(gocker: Gocker, spec: Path) -> None:
    wrong = gocker.root / "wrong.yaml"
    wrong.write_text("services:\n  a:\n    comand: [x]\n")
    with pytest.raises(errors.SpecError) as caught, package.up(wrong):
        pytest.fail("it began")
    assert [(it.line, it.path) for it in caught.value.problems] == [(3, "services.a.comand")]


def test_a_service_that_does_not_start_shows_why(gocker: Gocker, spec: Path) -> None:
    broken = gocker.write({"services": {"db": {
        "command": ["sh", "-c", "echo no disk; exit 9"],
        "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
        "x-gocker": {"role": "support"},
    }}})  # fmt: skip
    with pytest.raises(errors.ContainerError) as caught, package.up(broken):
        pytest.fail("it began")
    assert "db:\nno disk\n" in caught.value.__notes__


def test_an_exception_in_the_block_ends_the_project(spec: Path) -> None:
    with pytest.raises(KeyError), package.up(spec, services=["web"]):
        raise KeyError


def test_two_of_one_spec_never_meet(spec: Path) -> None:
    with package.up(spec, services=["web"]) as one, package.up(spec, services=["web"]) as two:
        one.service("web").exec("touch", "/data/one").check()
        assert two.service("web").exec("ls", "/data").stdout == ""


def test_load_tells_what_is_in_a_spec(spec: Path) -> None:
    loaded = package.load(spec)
    assert (loaded.name, loaded.services) == ("test", ("web", "job"))
    assert loaded.files == (str(spec),)


PROGRAM = """
import sys, time, gocker
with gocker.up(sys.argv[1], services=["web"]) as run:
    print(run.project, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_program_that_was_killed(
    gocker: Gocker, spec: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(spec)]
    machine.count_subreaper(+1)  # to see the supervisor, which outlives its parent
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdout is not None
            assert program.stdout.readline().startswith(b"test-")
            assert len(gocker.runs()) == 1
            program.send_signal(number)
            program.stdout.read()
            program.wait(machine.PATIENCE_S)
        assert gocker.left_processes() == []
    finally:
        machine.count_subreaper(-1)


TESTS = """
import os, pytest
from gocker.pytest_plugin import project

other = project("spec.yaml", services=["web"], scope="module")

@pytest.fixture(scope="session")
def gocker_files(pytestconfig):
    return [pytestconfig.rootpath / "spec.yaml"]

def test_passes(gocker_session):
    assert gocker_session.service("job").wait() == 4
    print("NAME", gocker_session.project)

def test_fails(gocker_session):
    print("NAME", gocker_session.project)
    assert False

def test_other(other):
    assert other.services == ("web",)
    assert other.service("web").logs() == "hello\\nword\\n"

def test_own(gocker_test):
    if "HANG" in os.environ:
        print("HANGS", flush=True)
        gocker_test.service("web").wait()
    assert gocker_test.service("web").exec("ls", "/data").stdout == ""
"""


def run_pytest(gocker: Gocker, *options: str, **environ: str) -> subprocess.Popen[bytes]:
    (gocker.root / "test_it.py").write_text(TESTS)
    (gocker.root / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p",
               "gocker.pytest_plugin", *options, "test_it.py"]  # fmt: skip
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=gocker.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=environment | environ,
    )  # fmt: skip


def test_a_failing_test_shows_its_services_output(gocker: Gocker, spec: Path) -> None:
    with run_pytest(gocker, "-q") as program:
        output = program.communicate(timeout=_LONG_S)[0].decode()
    assert "1 failed, 3 passed" in output, output
    assert "gocker gocker_session: web" in output
    assert "\nhello\nword\n" in output
    assert "gocker gocker_session: job" in output


def test_each_worker_of_xdist_has_its_own_project(gocker: Gocker, spec: Path) -> None:
    options = ("-p", "xdist", "-n", "2", "-rA", "--dist", "each")
    with run_pytest(gocker, *options) as program:
        output = program.communicate(timeout=_LONG_S)[0].decode()
    assert "2 failed, 6 passed" in output, output
    names = {line.split()[1] for line in output.splitlines() if line.startswith("NAME ")}
    assert sorted(name[:8] for name in names) == ["test-gw0", "test-gw1"]


def test_nothing_is_left_of_a_pytest_that_was_killed(gocker: Gocker, spec: Path) -> None:
    machine.count_subreaper(+1)
    try:
        with run_pytest(gocker, "-s", HANG="1") as program:
            assert program.stdout is not None
            for line in program.stdout:
                if b"HANGS" in line:
                    break
            assert len(gocker.runs()) == 3
            program.kill()
            program.stdout.read()
        assert gocker.left_processes() == []
    finally:
        machine.count_subreaper(-1)


def test_the_import_is_light() -> None:
    code = "import gocker, sys, json; print(json.dumps([*sys.modules]))"
    modules = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT))
    assert [name for name in modules if name.startswith("gocker")] == ["gocker"]
