"""`gocker up` from its command line to its exit code and its records."""

from __future__ import annotations

import signal
from typing import Any

import jsonschema
import pytest

from gocker import events
from gocker.report.summary import Summary
from gocker.report.table import summary_text
from tests.support.command import Gocker, Result, Spec

pytestmark = pytest.mark.root

COMPLETED = "service_completed_successfully"


def sh(script: str, **keys: Any) -> Spec:
    return {"command": ["sh", "-c", script]} | {
        key.replace("x_gocker", "x-gocker"): value for key, value in keys.items()
    }


def after(*names: str, condition: str = COMPLETED) -> Spec:
    return {name: {"condition": condition} for name in names}


def verdicts(result: Result) -> dict[str, str]:
    return {record["instance"]: record["verdict"] for record in result.events("job.finished")}


LOOP = "while :; do sleep 0.05; done"
SLEEPER: Spec = {"services": {"job": {"command": ["sleep", "1000"]}}}
# Ends at its stop signal, unlike `sleep` as PID 1, which cannot receive it.
POLITE = f"trap 'echo bye; exit 0' TERM; echo ready; {LOOP}"


# -- exit codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 1), ("kill -9 $$", 0)])
def test_the_result_of_a_job_is_the_result_of_up(gocker: Gocker, script: str, code: int) -> None:
    # PID 1 of a namespace cannot kill itself: the last one ends by itself.
    assert gocker.sh(script).code == code


def test_the_codes_of_a_job_are_in_its_record(gocker: Gocker) -> None:
    result = gocker.up(
        {"services": {"code": sh("exit 7"), "signal": sh("kill -SEGV $$", init=True)}}
    )
    assert result.event("container.exited", "code")["process.exit.code"] == 7
    assert result.event("container.exited", "signal")["process.exit.code"] == 128 + 11
    assert verdicts(result) == {"code": "exit", "signal": "exit"}


def test_a_spec_with_several_errors_lists_all_and_starts_nothing(gocker: Gocker) -> None:
    path = gocker.write(
        "name: test\nservices:\n  a:\n    comand: x\n    cpus: many\n  b:\n    tmpf: [/t]\n"
    )
    result = gocker.command("up", str(path))
    assert result.code == 2
    for line in (4, 5, 7):
        assert f"{path}:{line}:" in result.err, result.err
    assert "command" in result.err  # what `comand` may have meant
    assert gocker.runs() == []


@pytest.mark.parametrize(
    "argv",
    [["up", "/no/such.yaml"], ["up", "--no-such-option"], ["nosuchcommand"]],
    ids=["file", "option", "command"],
)
def test_a_wrong_command_line_is_2(gocker: Gocker, argv: list[str]) -> None:
    result = gocker.command(*argv)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_a_cycle_is_2_and_named(gocker: Gocker) -> None:
    spec = {
        "services": {
            "a": sh("true", depends_on=after("b")),
            "b": sh("true", depends_on=after("a")),
        }
    }
    result = gocker.up(spec)
    assert result.code == 2
    assert "a" in result.err
    assert gocker.runs() == []


def test_a_missing_rootfs_is_3(gocker: Gocker) -> None:
    result = gocker.job("true", image="rootfs:/no/such/directory")
    assert result.code in (2, 3)
    assert "'/no/such/directory' does not exist" in result.err
    assert gocker.runs() == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_the_run_gracefully(
    gocker: Gocker, number: signal.Signals, code: int
) -> None:
    running = gocker.start({"services": {"job": sh(POLITE)}})
    running.wait_for_output("ready")
    running.send(number)
    result = running.finish()
    assert (result.code, result.log()) == (code, "ready\nbye\n")
    assert result.event("run.interrupted")["signal"] == number.name
    assert result.event("container.stopping")["signal"] == "SIGTERM"
    assert verdicts(result) == {"job": "cancelled"}


def test_a_second_interrupt_kills(gocker: Gocker) -> None:
    running = gocker.start(
        {"services": {"job": sh("trap 'echo ignored' TERM; echo ready; while :; do sleep 9; done",
                                stop_grace_period="900s")}}
    )  # fmt: skip
    running.wait_for_output("ready")
    running.send(signal.SIGINT)
    running.wait_for("container.stopping")
    running.send(signal.SIGINT)
    result = running.finish()
    assert result.code == 130
    assert result.event("container.exited")["process.exit.signal"] == "SIGKILL"


def test_the_grace_period_ends_in_a_kill(gocker: Gocker) -> None:
    running = gocker.start(
        {"services": {"job": sh(f"trap 'echo ignored' TERM; echo ready; {LOOP}",
                                stop_grace_period="1s")}}
    )  # fmt: skip
    running.wait_for_output("ready")
    running.send(signal.SIGTERM)
    result = running.finish()
    stopping, killing = result.events("container.stopping")
    exited = result.event("container.exited")
    assert exited["process.exit.signal"] == "SIGKILL"
    assert "ignored" in result.log()
    assert (stopping["signal"], killing["signal"]) == ("SIGTERM", "SIGKILL")
    # The period is counted from the decision, which is a moment before the record of it.
    assert killing["monotonic"] - stopping["monotonic"] >= 0.9


def test_a_pid_1_that_cannot_receive_the_signal_is_killed_at_once(gocker: Gocker) -> None:
    running = gocker.start(SLEEPER | {"services": {
        "job": {"command": ["sleep", "1000"], "stop_grace_period": "900s"},
    }})  # fmt: skip
    running.wait_for("container.started")
    running.send(signal.SIGTERM)
    result = running.finish()
    assert result.code == 143
    assert result.event("container.exited")["process.exit.signal"] == "SIGKILL"


def test_another_stop_signal(gocker: Gocker) -> None:
    script = "trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.05; done"
    running = gocker.start({"services": {"job": sh(script, stop_signal="SIGUSR1")}})
    running.wait_for_output("ready")
    running.send(signal.SIGTERM)
    assert running.finish().log() == "ready\nusr1\n"


def test_max_time_is_124(gocker: Gocker) -> None:
    result = gocker.up(SLEEPER, "--max-time", "300ms")
    assert (result.code, verdicts(result)) == (124, {"job": "timeout"})
    assert result.event("run.finished")["reason"] == "run_timeout"


def test_exit_code_from_is_the_services(gocker: Gocker) -> None:
    result = gocker.up({"services": {"job": sh("exit 42")}}, "--exit-code-from", "job")
    assert result.code == 42


def test_a_second_up_of_the_project_joins_the_first_and_ends_with_it(gocker: Gocker) -> None:
    running = gocker.start(SLEEPER)
    running.wait_for("container.started")
    second = gocker.popen("up", str(gocker.root / "spec.yaml"))
    assert second.stderr is not None
    assert b"nothing differs" in second.stderr.readline()
    running.send(signal.SIGTERM)
    assert running.finish().code == 143
    second.communicate(timeout=30)
    assert second.returncode == 1  # the job was cancelled
    assert len(gocker.runs()) == 1


# -- the graph -----------------------------------------------------------------------------------


def test_dependents_of_a_failure_are_skipped_and_the_rest_runs(gocker: Gocker) -> None:
    result = gocker.up(
        {"services": {
            "bad": sh("exit 1"),
            "next": sh("true", depends_on=after("bad")),
            "last": sh("true", depends_on=after("next")),
            "other": sh("true"),
            "report": sh("true", depends_on=after("last"), x_gocker={"when": "always"}),
            "mourn": sh("true", depends_on=after("bad"), x_gocker={"when": "on_failure"}),
        }}
    )  # fmt: skip
    assert result.code == 1
    assert verdicts(result) == {
        "bad": "exit", "next": "skipped", "last": "skipped", "other": "ok", "report": "ok",
        "mourn": "ok",
    }  # fmt: skip
    assert {r["instance"]: r["because"] for r in result.events("job.skipped")} == {
        "next": "bad", "last": "bad",
    }  # fmt: skip
    started = {r["instance"] for r in result.events("container.started")}
    assert started == {"bad", "other", "report", "mourn"}


def test_a_job_runs_after_what_it_waits_for(gocker: Gocker) -> None:
    volume = [{"type": "volume", "source": "v", "target": "/v"}]
    result = gocker.up(
        {
            "services": {
                "reader": sh("cat /v/f", volumes=volume, depends_on=after("writer")),
                "writer": sh("sleep 0.2; echo written >/v/f", volumes=volume),
            },
            "volumes": {"v": {}},
        }
    )
    assert (result.code, result.log("reader")) == (0, "written\n")


def test_an_allowed_failure_does_not_fail_the_run(gocker: Gocker) -> None:
    result = gocker.up(
        {"services": {
            "any": sh("exit 3", x_gocker={"allow_failure": True}),
            "code": sh("exit 77", x_gocker={"allow_failure": {"exit_codes": [77]}}),
            "success": sh("exit 5", x_gocker={"success_codes": [5]}),
        }}
    )  # fmt: skip
    assert result.code == 0
    finished = {r["instance"]: (r["verdict"], r["allowed"]) for r in result.events("job.finished")}
    assert finished == {"any": ("exit", True), "code": ("exit", True), "success": ("ok", False)}


def test_a_retry_has_a_fresh_container(gocker: Gocker) -> None:
    volume = [{"type": "volume", "source": "v", "target": "/v"}]
    script = "[ -e /old ] && exit 9; touch /old; echo x >>/v/tries; [ $(wc -l </v/tries) = 3 ]"
    result = gocker.up(
        {
            "services": {"job": sh(script, volumes=volume, x_gocker={"retry": 4})},
            "volumes": {"v": {}},
        }
    )
    assert (result.code, result.event("job.finished")["attempts"]) == (0, 3)
    exits = result.events("container.exited")
    assert [(r["attempt"], r["process.exit.code"], r["next"]) for r in exits] == [
        (1, 1, "retry"), (2, 1, "retry"), (3, 0, "done"),
    ]  # fmt: skip
    assert len({r["container.id"] for r in exits}) == 3


def test_a_timeout_stops_the_job_and_may_be_retried(gocker: Gocker) -> None:
    extension = {"timeout": "200ms", "retry": {"max": 1, "when": ["timeout"], "delay": "10ms"}}
    result = gocker.sh("sleep 1000", x_gocker=extension)
    assert (result.code, result.verdict()) == (1, "timeout")
    assert [r["verdict"] for r in result.events("container.exited")] == ["timeout", "timeout"]
    assert {r["reason"] for r in result.events("container.stopping")} == {"timeout"}
    assert result.event("job.retry")["delay_s"] == 0.01


def test_jobs_in_parallel_are_limited(gocker: Gocker) -> None:
    services = {f"j{n}": sh("sleep 0.1") for n in range(4)}
    result = gocker.up({"services": services}, "--parallel", "1")
    order = [
        r["event"]
        for r in result.records
        if r["event"] in ("container.started", "container.exited")
    ]
    assert order == ["container.started", "container.exited"] * 4


# -- support services ----------------------------------------------------------------------------


def test_a_job_waits_until_its_support_is_healthy_which_is_stopped_at_the_end(
    gocker: Gocker,
) -> None:
    health = {"test": ["CMD", "test", "-e", "/up"], "interval": "20ms", "retries": 1000}
    result = gocker.up(
        {"services": {
            "db": sh(f"trap 'exit 0' TERM; sleep 0.3; touch /up; {LOOP}",
                     healthcheck=health),
            "job": sh("true", depends_on=after("db", condition="service_healthy")),
        }}
    )  # fmt: skip
    assert (result.code, verdicts(result)) == (0, {"db": "ok", "job": "ok"})
    names = [(r["event"], r["instance"]) for r in result.records if "container.id" in r]
    healthy = next(
        n for n, r in enumerate(result.records)
        if r["event"] == "container.health" and r["status"] == "healthy"
    )  # fmt: skip
    started = result.records.index(result.event("container.started", "job"))
    assert healthy < started
    assert result.event("container.stopping", "db")["reason"] == "not_needed"
    assert names[-1] == ("container.exited", "db")


def test_an_unhealthy_support_skips_its_dependents(gocker: Gocker) -> None:
    health = {"test": ["CMD-SHELL", "echo broken; exit 1"], "interval": "20ms", "retries": 2}
    result = gocker.up(
        {"services": {
            "db": {"command": ["sleep", "1000"], "healthcheck": health},
            "job": sh("true", depends_on=after("db", condition="service_healthy")),
        }}
    )  # fmt: skip
    assert (result.code, verdicts(result)) == (1, {"db": "unhealthy", "job": "skipped"})
    unhealthy = [r for r in result.events("container.health") if r["status"] == "unhealthy"]
    assert [(r["failing_streak"], r["output"]) for r in unhealthy] == [(2, "broken\n")]


@pytest.mark.parametrize(
    ("probe", "seen"),
    [
        (["grep", "-E", "^(CapEff|NoNewPrivs|Seccomp):", "/proc/self/status"],
         "CapEff:\t00000000000005fb\nNoNewPrivs:\t1\nSeccomp:\t2\n"),
        (["ls", "-1", "/proc/self/fd"], "0\n1\n2\n3\n"),  # the last one is its own
        (["cat", "/sys/fs/cgroup/pids/pids.max", "/proc/sys/kernel/hostname"], "77\ndb\n"),
    ],
    ids=["status", "fds", "cgroup"],
)  # fmt: skip
def test_a_probe_has_the_containers_confinement(
    gocker: Gocker, probe: list[str], seen: str
) -> None:
    health = {"test": ["CMD", *probe], "interval": "20ms"}
    result = gocker.up(
        {"services": {
            "db": {"command": ["sleep", "1000"], "healthcheck": health, "pids_limit": 77},
            "job": sh("true", depends_on=after("db", condition="service_healthy")),
        }}
    )  # fmt: skip
    (healthy,) = [r for r in result.events("container.health") if r["status"] == "healthy"]
    assert healthy["output"] == seen


def test_a_support_that_fails_is_restarted(gocker: Gocker) -> None:
    volume = [{"type": "volume", "source": "v", "target": "/v"}]
    script = "trap 'exit 0' TERM; echo x >>/v/n; [ $(wc -l </v/n) = 3 ] || exit 1; touch /v/up; \
        while :; do sleep 0.05; done"
    result = gocker.up(
        {
            "services": {
                "db": sh(script, volumes=volume, restart="on-failure",
                         healthcheck={"test": ["CMD", "test", "-e", "/v/up"], "interval": "20ms",
                                      "retries": 1000}),
                "job": sh("true", depends_on=after("db", condition="service_healthy")),
            },
            "volumes": {"v": {}},
        }
    )  # fmt: skip
    assert (result.code, verdicts(result)) == (0, {"db": "ok", "job": "ok"})
    assert [r["next"] for r in result.events("container.exited", "db")] == [
        "restart", "restart", "done",
    ]  # fmt: skip


# -- records -------------------------------------------------------------------------------------

MIXED: Spec = {
    "services": {
        "good": sh("echo out; echo err >&2", labels={"a": "b"}),
        "bad": sh("exit 3"),
        "oom": sh("x=0123456789abcdef; while :; do x=$x$x; done", mem_limit="8m"),
        "slow": sh("sleep 1000", x_gocker={"timeout": "100ms", "retry": 1}),
        "never": sh("true", depends_on=after("bad")),
        "unknown": {"command": ["nosuchprogram"]},
        "all": {
            "command": ["true"], "mem_limit": "32m", "memswap_limit": "64m", "cpus": 0.5,
            "cpu_shares": 512, "cpuset": "0", "pids_limit": 9, "cap_add": ["NET_ADMIN"],
            "volumes": [{"type": "volume", "source": "v", "target": "/v"}],
        },
        "db": {"command": ["sleep", "1000"],
               "healthcheck": {"test": ["CMD", "true"], "interval": "20ms"}},
        "user": sh("true", depends_on=after("db", condition="service_healthy")),
    },
    "volumes": {"v": {}},
}  # fmt: skip


@pytest.fixture
def mixed(gocker: Gocker) -> Result:
    result = gocker.up(MIXED)
    assert result.code == 1
    return result


def test_every_record_is_valid_by_the_published_schema(mixed: Result) -> None:
    # The branch of each record is chosen by its event: errors then name the field.
    branches = {
        branch["properties"]["event"]["const"]: jsonschema.Draft202012Validator(branch)
        for branch in events.json_schema()["oneOf"]
    }
    problems = [
        (record["event"], error.json_path, error.message)
        for record in mixed.records
        for error in branches[record["event"]].iter_errors(record)
    ]
    assert problems == []
    assert {r["event"] for r in mixed.records} >= {
        "run.started", "container.started", "limit.applied", "container.oom", "container.exited",
        "container.failed", "container.health", "container.stopping", "job.retry", "job.skipped",
        "job.finished", "security.relaxed", "volume.created", "run.finished",
    }  # fmt: skip


def test_the_sequence_has_no_gaps_and_the_shown_events_are_the_logged_ones(mixed: Result) -> None:
    assert [record["seq"] for record in mixed.records] == [*range(1, len(mixed.records) + 1)]
    times = [record["monotonic"] for record in mixed.records]
    assert times == sorted(times)
    assert mixed.run is not None
    assert mixed.err == (mixed.run / "run.jsonl").read_text()


def test_the_table_comes_from_the_records_alone(gocker: Gocker) -> None:
    result = gocker.command("up", str(gocker.write(MIXED)))
    run = gocker.last_run()
    assert run is not None
    records = Result(0, b"", b"", run).records
    assert result.code == 1
    assert result.err.endswith("\n" + summary_text(Summary.from_records(records)))


def test_the_json_summary_comes_from_the_records_alone(mixed: Result) -> None:
    assert mixed.summary == Summary.from_records(mixed.records).as_json()


def test_output_is_prefixed_whole_and_in_the_log_raw(gocker: Gocker) -> None:
    result = gocker.command(
        "up", str(gocker.write({"services": {"a": sh("printf 'one\\ntwo'"), "long": sh("echo x")}}))
    )
    assert sorted(result.out.splitlines()) == ["a    | one", "a    | two", "long | x"]
    assert gocker.command("logs", str(gocker.root / "spec.yaml"), "a", "--raw").out == "one\ntwo"


def test_megabytes_of_output_arrive_whole(gocker: Gocker) -> None:
    result = gocker.job("seq", "1", "300000")
    assert result.log() == "".join(f"{n}\n" for n in range(1, 300001))
    assert result.out.count("\njob | ") == 299999
