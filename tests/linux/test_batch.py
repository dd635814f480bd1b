"""The batch extensions, end to end."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.command import Gocker

pytestmark = pytest.mark.root

COMPLETED = {"condition": "service_completed_successfully"}


def sh(script: str, **keys: Any) -> dict[str, Any]:
    extension = {key: keys.pop(key) for key in list(keys) if key in EXTENSION}
    service = {"command": ["sh", "-c", script], **keys}
    return {**service, "x-gocker": extension} if extension else service


EXTENSION = {"matrix", "ready", "limits", "artifacts", "reports", "when", "retry", "role",
             "allow_failure", "success_codes"}  # fmt: skip


HEALTHY = {"condition": "service_healthy"}

MATRIX = """
name: test
services:
  test:
    command: [sh, -c, 'echo "$$GOCKER_MATRIX_A $$VALUE ${B} $$(hostname)"']
    environment: {VALUE: "${A}"}
    x-gocker: {matrix: {A: [x, y], B: ["1"], include: [{A: y, C: "c"}]}}
    IMAGE
  after:
    command: [echo, done]
    depends_on: {test: {condition: service_completed_successfully}}
    IMAGE
"""


def test_a_matrix_runs_one_instance_per_combination(gocker: Gocker) -> None:
    result = gocker.up(MATRIX.replace("IMAGE", f"image: {gocker.image}"))
    assert result.code == 0, result
    assert result.log("test-x-1") == "x x 1 test-x-1\n"
    assert result.log("test-y-1-c") == "y y 1 test-y-1-c\n"
    order = [record["instance"] for record in result.events("job.finished")]
    assert order[-1] == "after"
    assert len(order) == 3


def test_replicas_split_the_work(gocker: Gocker) -> None:
    result = gocker.up({"services": {"a": sh("echo $GOCKER_REPLICA", scale=3)}})
    assert [result.log(f"a-{n}") for n in (1, 2, 3)] == ["1\n", "2\n", "3\n"]


def test_codes_that_are_a_success_or_allowed(gocker: Gocker) -> None:
    result = gocker.up({"services": {
        "fine": sh("exit 3", success_codes=[3]),
        "allowed": sh("exit 77", allow_failure={"exit_codes": 77}),
        "next": sh("echo next", depends_on={"allowed": COMPLETED, "fine": COMPLETED}),
    }})  # fmt: skip
    assert result.code == 0
    assert (result.verdict("fine"), result.verdict("allowed")) == ("ok", "exit")
    assert result.log("next") == "next\n"


def test_who_runs_after_a_failure(gocker: Gocker) -> None:
    result = gocker.up({"services": {
        "bad": sh("exit 1"),
        "mends": sh("echo mends", when="on_failure", depends_on={"bad": COMPLETED}),
        "cleans": sh("echo cleans", when="always", depends_on={"bad": COMPLETED}),
        "goes-on": sh("echo no", depends_on={"bad": COMPLETED}),
    }})  # fmt: skip
    assert result.code == 1
    assert result.log("mends") + result.log("cleans") == "mends\ncleans\n"
    assert result.verdict("goes-on") == "skipped"


def test_dependents_wait_for_the_line_that_says_ready(gocker: Gocker) -> None:
    db = sh("sleep 0.2; echo up 1; touch /shared/up; echo ready now; exec sleep 60",
            ready={"log": "^ready"}, volumes=["v:/shared"])  # fmt: skip
    app = sh("ls /shared", depends_on={"db": HEALTHY}, volumes=["v:/shared"])
    result = gocker.up({"services": {"db": db, "app": app}, "volumes": {"v": {}}})
    assert result.code == 0, result
    assert result.log("app") == "up\n"
    health = result.events("container.health", "db")
    assert [record["status"] for record in health] == ["starting", "healthy"]
    assert health[-1]["output"] == "ready now"


def test_dependents_wait_for_the_port_that_accepts(gocker: Gocker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    db = sh(f"sleep 0.3; while :; do nc -l -p {port}; done", ready={"port": port},
            network_mode="host")  # fmt: skip
    app = sh("echo app", depends_on={"db": HEALTHY})
    result = gocker.up({"services": {"db": db, "app": app}})
    assert result.code == 0, result
    started = result.event("container.started", "db")["monotonic"]
    ready = result.events("container.health", "db")[-1]
    assert (ready["status"], ready["output"]) == ("healthy", f"port {port}: accepted")
    assert ready["monotonic"] - started > 0.25


def test_a_throttled_job_fails_if_it_is_asked_to(gocker: Gocker) -> None:
    spin = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"
    result = gocker.sh(spin, cpus=0.05, x_gocker={"limits": {"fail_on": ["throttled>20%"]}})
    assert (result.code, result.verdict()) == (1, "exit")
    assert result.event("container.exited")["process.exit.code"] == 0
    assert "throttled for" in result.event("job.warned")["message"]


def test_refused_forks_fail_a_job_if_they_are_asked_to(gocker: Gocker) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>/dev/null; exit 0"
    result = gocker.sh(
        f"({script}); exit 0", pids_limit=4, x_gocker={"limits": {"fail_on": ["pids"]}}
    )
    assert result.verdict() == "pids"


def saved(gocker: Gocker, result: Any, instance: str = "job", attempt: int = 1) -> dict[str, str]:
    top = gocker.root / f".gocker/runs/{result.run_id}/{instance}/{attempt}"
    return {f"/{p.relative_to(top)}": p.read_text() for p in top.rglob("*") if p.is_file()}


def test_artifacts_are_copied_from_the_root_and_the_volumes(gocker: Gocker) -> None:
    script = "mkdir /out; echo root >/out/a; echo named >/n/b; echo anon >/v/c; echo bind >/b/d"
    (gocker.root / "bound").mkdir()
    job = sh(f"{script}; ln -s /etc/passwd /out/link; echo tmp >/t/e; rm /etc/group; exit 3",
             volumes=["named:/n", "/v", f"{gocker.root}/bound:/b"], tmpfs=["/t"],
             artifacts=["/out/**", "/n", "/v/*", "/b/d", "/t/**", "/etc/*"])  # fmt: skip
    result = gocker.up({"services": {"job": job}, "volumes": {"named": {}}})
    assert result.verdict() == "exit"
    files = saved(gocker, result)
    passwd = files.pop("/etc/passwd")
    assert passwd.startswith("root:")
    assert files == {"/out/a": "root\n", "/n/b": "named\n", "/v/c": "anon\n", "/b/d": "bind\n"}
    records = {record["path"]: record for record in result.events("artifact.saved")}
    assert (records["/out/a"]["bytes"], records["/out/a"]["attempt"]) == (5, 1)
    assert (gocker.root / records["/out/a"]["file"]).read_text() == "root\n"


def test_each_attempt_has_its_artifacts(gocker: Gocker) -> None:
    script = "echo $RANDOM >/a; [ -e /v/again ] || { touch /v/again; exit 1; }"
    job = sh(script, retry=1, artifacts=["/a"], volumes=["named:/v"])
    result = gocker.up({"services": {"job": job}, "volumes": {"named": {}}})
    assert result.code == 0
    assert saved(gocker, result, attempt=1).keys() == saved(gocker, result, attempt=2).keys()


def test_artifacts_only_of_failures(gocker: Gocker) -> None:
    wanted = {"paths": ["/a"], "when": "on_failure"}
    result = gocker.up({"services": {
        "bad": sh("echo a >/a; exit 1", artifacts=wanted),
        "good": sh("echo a >/a", artifacts=wanted),
    }})  # fmt: skip
    assert saved(gocker, result, "bad") == {"/a": "a\n"}
    assert saved(gocker, result, "good") == {}


def test_a_dependent_starts_after_the_copy(gocker: Gocker) -> None:
    a = sh("echo 1 >/v/n", volumes=["named:/v"], artifacts=["/v/n"])
    b = sh("echo 2 >/v/n", volumes=["named:/v"], depends_on={"a": COMPLETED})
    result = gocker.up({"services": {"a": a, "b": b}, "volumes": {"named": {}}})
    assert saved(gocker, result, "a") == {"/v/n": "1\n"}


def test_the_hosts_own_files_are_no_artifacts(gocker: Gocker) -> None:
    job = sh("echo mine >/srv/mine", image="host:/", artifacts=["/etc/passwd", "/srv/*"])
    result = gocker.up({"services": {"job": job}})
    assert saved(gocker, result) == {"/srv/mine": "mine\n"}


def test_a_replaced_directory_hides_what_was_in_it(gocker: Gocker) -> None:
    result = gocker.sh("rm -r /etc; mkdir /etc; echo new >/etc/new",
                       x_gocker={"artifacts": ["/etc/**"]})  # fmt: skip
    assert saved(gocker, result) == {"/etc/new": "new\n"}, result


def test_artifacts_belong_to_who_called_sudo(gocker: Gocker) -> None:
    environ = {"SUDO_UID": "1234", "SUDO_GID": "2345"}
    job = sh("mkdir /out; echo a >/out/a", artifacts=["/out/a"])
    result = gocker.up({"services": {"job": job}}, environ=environ)
    assert saved(gocker, result) == {"/out/a": "a\n"}
    owners = {(p.stat().st_uid, p.stat().st_gid) for p in (gocker.root / ".gocker").rglob("*")}
    assert owners == {(1234, 2345)}


def test_secrets_and_named_variables_are_not_shown(gocker: Gocker) -> None:
    token = sh('echo "$TOKEN"; cat /run/secrets/key; echo "$OPEN" >&2; exit 1',
               environment={"TOKEN": "t0ken", "OPEN": "seen"}, secrets=["key"],
               ready={"log": "t0k"}, role="support")  # fmt: skip
    app = sh("true", depends_on={"db": HEALTHY})
    spec = {"services": {"db": token, "app": app}, "x-gocker": {"mask": ["TOKEN"]},
            "secrets": {"key": {"environment": "KEY"}}}  # fmt: skip
    result = gocker.up(spec, environ={"KEY": "k3y\n"})
    assert {"db  | ***", "db  | seen"} <= set(result.out.splitlines())
    assert result.run is not None
    everything = (result.run / "run.jsonl").read_text() + result.out + result.err
    assert "t0ken" not in everything
    assert "k3y" not in everything
    assert "***" in [record["output"] for record in result.events("container.health", "db")]
    assert sorted(result.log("db").split()) == ["k3y", "seen", "t0ken"]


def test_what_a_failed_job_wrote_is_kept_until_down(gocker: Gocker) -> None:
    spec = {"services": {"bad": sh("echo trace >/core; exit 1"), "good": sh("echo x >/core")},
            "x-gocker": {"keep": "on_failure"}}  # fmt: skip
    result = gocker.up(spec)
    record = result.event("layer.kept")
    assert record["instance"] == "bad"
    assert (Path(record["path"]) / "core").read_text() == "trace\n"
    assert gocker.down().code == 0
    assert not Path(record["path"]).exists()


def test_the_flag_says_what_to_keep(gocker: Gocker) -> None:
    result = gocker.up({"services": {"good": sh("echo x >/core")}}, "--keep", "always")
    assert (Path(result.event("layer.kept")["path"]) / "core").exists()


def test_jobs_wait_for_what_they_reserve(gocker: Gocker) -> None:
    cpus = len(os.sched_getaffinity(0))
    resources = {"reservations": {"cpus": cpus / 2 + 0.1}}
    jobs = {name: sh("sleep 0.1", deploy={"resources": resources}) for name in ("a", "b")}
    result = gocker.up({"services": jobs, "x-gocker": {"admission": "reserve", "parallel": 9}})
    ends = result.event("container.exited", "a")["seq"]
    assert result.event("container.started", "b")["seq"] > ends


def test_a_reservation_that_never_fits_has_its_place(gocker: Gocker) -> None:
    job = sh("true", deploy={"resources": {"reservations": {"cpus": 5000}}})
    result = gocker.up({"services": {"a": job}, "x-gocker": {"admission": "reserve"}})
    assert result.code == 2
    assert f"{gocker.root}/spec.yaml:" in result.err
    assert "services.a.deploy.resources.reservations: 'a' reserves 5000 CPUs" in result.err


JUNIT = "<testsuite name='own'><testcase name='t'><failure>f</failure></testcase></testsuite>"


def test_a_junit_report_has_the_jobs_and_their_own_reports(gocker: Gocker) -> None:
    script = f'echo "{JUNIT}" >/junit.xml; for i in $(seq 30); do echo line $i; done; exit 3'
    result = gocker.up(
        {"services": {"bad": sh(script, reports=["/junit.xml"], retry=1), "good": sh("true"),
                      "odd": sh("echo no >/junit.xml", reports=["/junit.xml"])}},
        "--report", "junit=report.xml", "--report", "json=report.json",
    )  # fmt: skip
    root = ElementTree.parse(gocker.root / "report.xml").getroot()  # noqa: S314  # our own
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases.keys() == {"bad", "bad (attempt 2)", "good", "odd", "t"}
    failure = cases["bad (attempt 2)"].find("failure")
    assert failure is not None
    assert (failure.get("type"), (failure.text or "").split("\n")[0]) == ("exit", "line 11")
    assert [suite.get("name") for suite in root] == ["test", "bad: own"]
    assert "odd: report" in result.err
    document = json.loads((gocker.root / "report.json").read_text())
    assert (document["exit_code"], document["totals"]) == (1, {"ok": 2, "exit": 1})


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(gocker: Gocker) -> None:
    result = gocker.up({"services": {"a": sh("true")}}, "--report", "junit=none/report.xml")
    assert result.code == 2
    assert result.run is None


# Nothing has to be made in it for a start.
IMAGE = "bins:sh,stat,touch,ls"


def test_an_untouched_layer_serves_the_very_next_container(gocker: Gocker) -> None:
    """Each overlay has a device number of its own."""
    job = {"image": IMAGE, "command": ["stat", "-c", "%d", "/"]}
    jobs = {f"job{number}": job for number in range(6)}
    result = gocker.up({"services": jobs}, "--parallel", "1")
    assert result.code == 0
    assert len({result.log(name) for name in jobs}) == 1


def test_a_layer_that_was_written_serves_nobody_else(gocker: Gocker) -> None:
    look = "stat -c %d /; ls /left 2>/dev/null || echo clean"
    jobs: dict[str, dict[str, Any]] = {
        "writer": {"image": IMAGE, "command": ["touch", "/left"]},
        "reader": {"image": IMAGE, "command": ["sh", "-c", look]},
        "last": {"image": IMAGE, "command": ["sh", "-c", look]},
    }
    for name, before in (("reader", "writer"), ("last", "reader")):
        jobs[name]["depends_on"] = {before: COMPLETED}
    result = gocker.up({"services": jobs})
    assert result.code == 0
    reader, last = (result.log(name).split() for name in ("reader", "last"))
    assert reader[1:] == ["clean"]
    assert last == reader  # whose layer was not written, and serves again
