"""runtime.md "Operations" and "Lifecycle": what each command does, and when it must not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import machine
from tests.support.oci import COMMAND, Runtime, is_running, wait_until

pytestmark = pytest.mark.root


def test_run_returns_the_programs_exit_code(runtime: Runtime) -> None:
    assert runtime.run("/bin/sh", "-c", "exit 7", check=False).returncode == 7


def test_run_returns_128_plus_the_signal_that_killed_it(runtime: Runtime) -> None:
    # Not PID 1 of a namespace, which a signal of its own does not kill.
    runtime.without_namespace("pid")
    assert runtime.run("/bin/sh", "-c", "kill -9 $$", check=False).returncode == 137


def test_create_does_not_run_the_program(runtime: Runtime) -> None:
    pid = runtime.create("/bin/sh", "-c", "echo ran")
    assert runtime.status() == "created"
    assert runtime.output.read_text() == ""
    runtime.start()
    runtime.wait(pid)
    assert runtime.output.read_text() == "ran\n"
    runtime.delete()


def test_nobody_but_the_first_process_lives_between_create_and_start(runtime: Runtime) -> None:
    machine.count_subreaper(1)
    before = machine.descendants(os.getpid())
    pid = runtime.create("/bin/sleep", "100")
    assert machine.descendants(os.getpid()) - before == {pid}
    runtime.delete("--force")
    machine.count_subreaper(-1)


def test_state_has_what_the_specification_says(runtime: Runtime) -> None:
    runtime.config["annotations"] = {"org.test.key": "value"}
    pid = runtime.create("/bin/sleep", "100")
    state = runtime.state()
    assert state["ociVersion"].startswith("1.")
    assert state["id"] == runtime.name
    assert state["status"] == "created"
    assert Path(f"/proc/{pid}").exists()
    assert state["bundle"] == str(runtime.bundle)
    assert state["annotations"] == {"org.test.key": "value"}
    runtime.start()
    assert runtime.status() == "running"
    runtime.command("kill", runtime.name, "KILL")
    runtime.wait(pid)
    assert runtime.status() == "stopped"
    runtime.delete()


def test_an_id_is_unique(runtime: Runtime) -> None:
    runtime.create("/bin/sleep", "100")
    result = runtime.command("create", "--bundle", str(runtime.bundle), runtime.name, check=False)
    assert result.returncode == 1
    assert "exists" in result.stderr
    assert runtime.status() == "created"
    runtime.delete("--force")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\nb", "x" * 256])
def test_an_id_that_is_no_plain_name_is_refused(runtime: Runtime, name: str) -> None:
    runtime.write()
    result = runtime.command("create", "--bundle", str(runtime.bundle), name, check=False)
    assert result.returncode == 1
    assert "container ID" in result.stderr


@pytest.mark.parametrize("command", ["state", "start", "kill", "delete", "exec", "pause"])
def test_a_container_that_is_not_there_is_an_error(runtime: Runtime, command: str) -> None:
    more = ["true"] if command == "exec" else []
    result = runtime.command(command, "nobody", *more, check=False)
    assert result.returncode != 0
    assert "does not exist" in result.stderr


@pytest.mark.parametrize("command", ["create", "state", "start", "kill", "delete"])
def test_a_command_without_an_id_is_an_error(runtime: Runtime, command: str) -> None:
    runtime.write()
    assert runtime.command(command, check=False, cwd=runtime.bundle).returncode != 0


def test_a_started_container_cannot_be_started_again(runtime: Runtime) -> None:
    pid = runtime.create("/bin/sleep", "100")
    runtime.start()
    assert "running" in runtime.start(check=False).stderr
    assert runtime.status() == "running"
    os.kill(pid, signal.SIGKILL)
    runtime.wait(pid)
    assert runtime.start(check=False).returncode != 0
    assert runtime.status() == "stopped"
    runtime.delete()


@pytest.mark.parametrize("started", [False, True])
def test_what_is_not_stopped_is_not_deleted(runtime: Runtime, started: bool) -> None:
    pid = runtime.create("/bin/sleep", "100")
    if started:
        runtime.start()
    before = runtime.status()
    assert runtime.delete(check=False).returncode != 0
    assert runtime.status() == before
    assert is_running(pid)
    runtime.delete("--force")
    assert not is_running(pid)


def test_delete_of_what_is_not_there_succeeds_only_with_force(runtime: Runtime) -> None:
    assert runtime.delete(check=False).returncode != 0
    assert runtime.delete("--force").returncode == 0


def test_a_stopped_container_cannot_be_killed(runtime: Runtime) -> None:
    pid = runtime.create("/bin/true")
    runtime.start()
    runtime.wait(pid)
    result = runtime.command("kill", runtime.name, "KILL", check=False)
    assert result.returncode != 0
    assert "container not running" in result.stderr
    runtime.delete()


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "term", "15"])
def test_kill_sends_the_signal_that_it_names(runtime: Runtime, name: str) -> None:
    script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    pid = runtime.create("/bin/sh", "-c", script)
    runtime.start()
    wait_until(lambda: "ready" in runtime.output.read_text())
    runtime.command("kill", runtime.name, name)
    runtime.wait(pid)
    assert runtime.output.read_text() == "ready\ngot\n"
    runtime.delete()


def test_kill_all_reaches_every_process_without_a_pid_namespace(runtime: Runtime) -> None:
    runtime.without_namespace("pid")
    pid = runtime.create("/bin/sh", "-c", "sleep 100 & echo $!; exec sleep 100")
    runtime.start()
    wait_until(lambda: runtime.output.read_text().endswith("\n"))
    child = int(runtime.output.read_text())
    runtime.command("kill", "--all", runtime.name, "KILL")
    runtime.wait(pid)
    runtime.wait(child)
    runtime.delete()


def test_delete_ends_what_a_stopped_container_left_running(runtime: Runtime) -> None:
    runtime.without_namespace("pid")
    pid = runtime.create("/bin/sh", "-c", "sleep 100 & echo $!")
    runtime.start()
    runtime.wait(pid)
    child = int(runtime.output.read_text())
    runtime.delete()
    assert not is_running(child)


def test_changes_of_the_configuration_after_create_have_no_effect(runtime: Runtime) -> None:
    pid = runtime.create("/bin/sh", "-c", "echo first")
    runtime.config["process"]["args"] = ["/bin/sh", "-c", "echo second"]
    runtime.write()
    runtime.start()
    runtime.wait(pid)
    assert runtime.output.read_text() == "first\n"
    runtime.delete()


def test_a_program_that_is_not_there_is_an_error_of_create(runtime: Runtime) -> None:
    result = runtime.run("nothing-of-this-name", check=False)
    assert result.returncode == 1
    assert "executable file not found in $PATH" in result.stderr
    assert not runtime.exists()


def test_a_program_that_cannot_be_executed_is_an_error_of_start(runtime: Runtime) -> None:
    (runtime.rootfs / "bin/text").write_text("no program")
    pid = runtime.create("/bin/text")
    result = runtime.start(check=False)
    assert "permission denied" in result.stderr.lower()
    runtime.wait(pid)
    assert runtime.status() == "stopped"
    runtime.delete()


def test_pause_and_resume(runtime: Runtime) -> None:
    runtime.create("/bin/sleep", "100")
    runtime.start()
    runtime.command("pause", runtime.name)
    assert runtime.status() == "paused"
    assert runtime.command("exec", runtime.name, "true", check=False).returncode == 255
    runtime.command("resume", runtime.name)
    assert runtime.status() == "running"
    runtime.command("pause", runtime.name)
    runtime.delete("--force")


def test_run_writes_the_pid_file_and_the_record(runtime: Runtime, tmp_path: Path) -> None:
    runtime.config["process"]["args"] = ["/bin/sleep", "100"]
    runtime.write()
    path = tmp_path / "pid"
    runtime.command("run", "-d", "--pid-file", str(path), "-b", str(runtime.bundle), runtime.name)
    state = runtime.state()
    assert state["status"] == "running"
    assert state["pid"] == int(path.read_text())
    assert Path(f"/proc/{state['pid']}/comm").read_text() == "sleep\n"
    runtime.delete("--force")


def test_run_without_a_place_for_the_pid_file_leaves_nothing(runtime: Runtime) -> None:
    runtime.config["process"]["args"] = ["/bin/sleep", "100"]
    runtime.write()
    failed = runtime.command("run", "-d", "--pid-file", "/nothing/there/pid", "-b",
                             str(runtime.bundle), runtime.name, check=False)  # fmt: skip
    assert failed.returncode == 1
    assert "cannot write the pid file" in failed.stderr
    assert not runtime.exists()


def test_the_pid_file_holds_the_first_process(runtime: Runtime, tmp_path: Path) -> None:
    pid = runtime.create("/bin/sleep", "100", options=("--pid-file", str(tmp_path / "pid")))
    assert (tmp_path / "pid").read_text() == str(pid)
    runtime.delete("--force")


def test_list_in_its_three_forms(runtime: Runtime) -> None:
    pid = runtime.create("/bin/sleep", "100")
    assert runtime.command("list", "-q").stdout == f"{runtime.name}\n"
    entries = json.loads(runtime.command("list", "--format", "json").stdout)
    assert [(entry["id"], entry["pid"]) for entry in entries] == [(runtime.name, pid)]
    table = runtime.command("list").stdout.splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert table[1].split()[:3] == [runtime.name, str(pid), "created"]
    runtime.delete("--force")


def test_ps_lists_every_process(runtime: Runtime) -> None:
    pid = runtime.create("/bin/sh", "-c", "sleep 100 & wait")
    runtime.start()
    wait_until(
        lambda: len(json.loads(runtime.command("ps", "-f", "json", runtime.name).stdout)) == 2
    )
    table = runtime.command("ps", runtime.name).stdout
    assert f" {pid} " in table
    assert "sleep 100" in table
    runtime.delete("--force")


@pytest.mark.parametrize(("count", "expected"), [("0", ""), ("1", "through\n")])
def test_preserved_descriptors_and_no_others_reach_the_program(
    runtime: Runtime, tmp_path: Path, count: str, expected: str
) -> None:
    runtime.config["process"]["args"] = ["/bin/sh", "-c", "echo through >&3; ls /proc/self/fd"]
    runtime.write()
    command = [*COMMAND, "--root", str(runtime.root), "run", "--preserve-fds", count,
               "-b", str(runtime.bundle), runtime.name]  # fmt: skip
    with_3 = ["/bin/sh", "-c", f'exec "$@" 3>{tmp_path}/3 4>{tmp_path}/4', "sh", *command]
    result = subprocess.run(with_3, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (tmp_path / "3").read_text() == expected
    # One more: ls has the directory open.
    assert result.stdout.split() == [str(fd) for fd in range(4 + int(count))]


def test_two_commands_at_once_on_one_id(runtime: Runtime) -> None:
    """Of ten ``create`` one wins, of ten ``start`` one wins, ten ``delete --force`` all succeed."""
    runtime.config["process"]["args"] = ["/bin/sleep", "100"]
    runtime.write()

    def ten(*arguments: str) -> list[int]:
        command = [*COMMAND, "--root", str(runtime.root), *arguments]
        quiet = subprocess.DEVNULL
        running = [
            subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) for _ in range(10)
        ]
        return sorted(process.wait() for process in running)

    assert ten("create", "-b", str(runtime.bundle), runtime.name) == [0] + [1] * 9
    assert ten("start", runtime.name) == [0] + [1] * 9
    assert runtime.status() == "running"
    assert ten("delete", "--force", runtime.name) == [0] * 10


def test_options_that_cannot_be_honoured_are_refused(runtime: Runtime) -> None:
    runtime.write()
    result = runtime.command("--systemd-cgroup", "run", "-b", str(runtime.bundle), runtime.name,
                             check=False)  # fmt: skip
    assert result.returncode == 1
    assert "--systemd-cgroup is refused" in result.stderr
    result = runtime.command("run", "--no-pivot", "-b", str(runtime.bundle), runtime.name,
                             check=False)  # fmt: skip
    assert "--no-pivot is refused" in result.stderr


def test_pidfd_socket_is_refused(runtime: Runtime) -> None:
    result = runtime.command("create", "--pidfd-socket", "/x", "-b", str(runtime.bundle),
                             runtime.name, check=False)  # fmt: skip
    assert result.returncode != 0
    assert "--pidfd-socket is not supported" in result.stderr


def test_an_error_is_in_the_log_as_json(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime.command("--log", str(log), "--log-format", "json", "start", "nobody", check=False)
    record = json.loads(log.read_text())
    assert record["level"] == "error"
    assert record["msg"] == "container does not exist: nobody"
    assert set(record) == {"level", "msg", "time"}


def test_device_rules_leave_the_default_devices_alone(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    script = "echo x > /dev/null && head -c 1 /dev/zero && head -c 1 /dev/urandom > /dev/full"
    result = runtime.run("/bin/sh", "-c", script, check=False)
    assert result.stdout == "\0"  # and /dev/full is full, not forbidden
    assert "Operation not permitted" not in result.stderr


def test_debug_records_are_told_apart(runtime: Runtime) -> None:
    runtime.write()
    result = runtime.command("--debug", "run", "-b", str(runtime.bundle), runtime.name)
    assert "level=debug" in result.stderr
    assert "level=error" not in result.stderr


def test_a_container_without_a_process_can_be_created_and_not_started(runtime: Runtime) -> None:
    del runtime.config["process"]
    runtime.create()
    assert runtime.status() == "created"
    result = runtime.start(check=False)
    assert result.returncode == 1
    assert "process is not set" in result.stderr
    assert runtime.status() == "created"
    runtime.delete("--force")


def test_the_callers_affinity_is_not_the_containers(runtime: Runtime) -> None:
    mine = os.sched_getaffinity(0)
    if len(mine) < 2:
        pytest.skip("needs two CPUs")
    os.sched_setaffinity(0, {min(mine)})
    try:
        text = runtime.run("/bin/cat", "/proc/self/status").stdout
    finally:
        os.sched_setaffinity(0, mine)
    allowed = next(line for line in text.splitlines() if line.startswith("Cpus_allowed:"))
    assert int(allowed.split()[1].replace(",", ""), 16).bit_count() >= len(mine)
