"""gocker as an ordinary user, judged by what the kernel shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest

from tests.support import ordinary
from tests.support.command import ROOT, Spec
from tests.support.netns import Namespace
from tests.support.ordinary import COUNT, FIRST, UID, Ordinary
from tests.support.withheld import withhold

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() == 0 and ordinary.why_not() is not None,
                       reason=str(os.geteuid() == 0 and ordinary.why_not())),
]  # fmt: skip
MIB = 1 << 20
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done"]


@pytest.fixture
def user(rootfs: Path) -> Iterator[Ordinary]:
    made = Ordinary(rootfs)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture
def alone(rootfs: Path) -> Iterator[Ordinary]:
    """Return a user without subordinate ids."""
    made = Ordinary(rootfs, subordinate=False)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture
def delegated(rootfs: Path) -> Iterator[Ordinary]:
    """Return a user with cgroups of his own."""
    made = Ordinary(rootfs, delegated=True)
    try:
        yield made
        made.check()
    finally:
        made.close()


def registrations(user: Ordinary) -> list[str]:
    """Return the files by which living commands of a user find each other."""
    return [path for path in user.files("live/*/users") if not path.endswith("/lock")]


def test_a_container_of_a_user_is_root_in_his_namespace_only(user: Ordinary) -> None:
    result = user.sh("id -u; cat /proc/self/uid_map; touch /tmp/x; stat -c %u /tmp/x; echo $$")
    assert result.code == 0, result
    uid, first, second, owner, pid = result.log().splitlines()
    assert [uid, owner, pid] == ["0", "0", "1"]
    assert first.split() == ["0", str(UID), "1"]
    assert second.split() == ["1", str(FIRST), str(COUNT)]
    started = result.event("run.started")
    assert started["isolation"] == "rootless"
    assert result.records[0]["event"] == "run.started"
    assert registrations(user) == []


def test_the_confinement_is_as_roots(user: Ordinary) -> None:
    result = user.sh("grep -E 'NoNewPrivs|Seccomp:|CapBnd|CapEff' /proc/self/status; mount")
    status = dict(re.findall(r"(\w+):\s+(\w+)", result.log()))
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapBnd"], 16) & 1 << 21 == 0  # CAP_SYS_ADMIN
    assert "on /sys/power type tmpfs (ro" in result.log()


def test_a_default_limit_that_cannot_be_is_said_once(user: Ordinary) -> None:
    result = user.up({"services": {name: {"command": "true"} for name in ("a", "b")}})
    assert result.code == 0, result
    (missing,) = [it for it in result.events("security.missing") if it["what"] == "limits"]
    assert "pids.limit" in missing["detail"]


def test_a_limit_that_cannot_be_is_refused_before_anything_starts(user: Ordinary) -> None:
    result = user.job("true", mem_limit="64m")
    assert result.code == 3
    assert result.events("container.started") == []
    assert "memory.limit needs the cgroup controller 'memory'" in result.err
    assert "best-effort" in result.err


def test_with_best_effort_it_starts_and_each_limit_is_told(user: Ordinary) -> None:
    spec: Spec = {"services": {"job": {"command": ["sh", "-c", "ulimit -d"], "mem_limit": "64m",
                                       "pids_limit": 7}}}  # fmt: skip
    result = user.up(spec, "--limits", "best-effort")
    assert result.code == 0, result
    skipped = {it["limit"]: it for it in result.events("limit.skipped")}
    assert {"memory.limit", "pids.limit"} <= skipped.keys()
    assert "RLIMIT_DATA" in skipped["memory.limit"]["reason"]
    assert int(result.log()) == 64 << 10  # KiB


def test_delegated_cgroups_limit_and_tell_of_an_oom_kill(delegated: Ordinary) -> None:
    result = delegated.job("tail", "/dev/zero", mem_limit="32m", pids_limit=9)
    assert result.event("run.started")["isolation"] == "rootless-delegated"
    assert result.limits()["memory.limit"] == 32 * MIB
    assert result.limits()["pids.limit"] == 9
    assert result.verdict() == "oom"
    assert result.event("container.exited")["memory.peak"] > 31 * MIB


def test_without_subordinate_ids_there_is_one(alone: Ordinary) -> None:
    result = alone.sh("cat /proc/self/uid_map; id -u; tty; mount | grep devpts")
    assert result.code == 0, result
    assert result.log().split()[:3] == ["0", str(UID), "1"]
    assert "gid=5" not in result.log()


def test_without_subordinate_ids_another_user_is_refused(alone: Ordinary) -> None:
    result = alone.job("id", user="1234:2345")
    assert result.code != 0
    assert "is not mapped in the user namespace" in result.err, result


def test_with_subordinate_ids_another_user_can_be(user: Ordinary) -> None:
    result = user.job("sh", "-c", "id; touch /dev/shm/mine && ls -ln /dev/shm/mine", user="alice")
    assert "uid=1234(alice)" in result.log(), result
    assert " 1234 " in result.log()


def test_what_is_written_stays_off_the_image(user: Ordinary) -> None:
    result = user.sh("rm -r /home && mkdir /home && echo x > /etc/passwd && ls -A /home | wc -l")
    assert result.log().split() == ["0"], result
    assert (user.root / "rootfs/home").is_dir()
    assert (user.root / "rootfs/etc/passwd").read_text().startswith("root:")


def test_the_hosts_root_can_be_seen_and_written_over(user: Ordinary) -> None:
    """Of mounts below / an overlay is put together of parts."""
    script = (
        "echo new > /etc/gocker-was-here; cat /etc/gocker-was-here; ls -A /home; ls /usr/bin/env"
    )
    result = user.job("sh", "-c", script, image="host:/")
    assert result.code == 0, result
    assert result.log().splitlines() == ["new", "/usr/bin/env"]
    assert not Path("/etc/gocker-was-here").exists()
    assert user.files("data/containers") == []


def test_artifacts_come_from_the_parts(user: Ordinary) -> None:
    spec: Spec = {"services": {"job": {
        "image": "host:/",
        "command": ["sh", "-c", "mkdir /srv/out; echo a > /srv/out/a; echo b > /b"],
        "x-gocker": {"artifacts": {"paths": ["/srv/out/**", "/b"]}},
    }}}  # fmt: skip
    result = user.up(spec)
    saved = {it["path"]: user.root / it["file"] for it in result.events("artifact.saved")}
    assert {path: file.read_text() for path, file in saved.items()} == {
        "/srv/out/a": "a\n", "/b": "b\n",
    }  # fmt: skip
    assert all(os.stat(file).st_uid == UID for file in saved.values())


def test_a_volume_belongs_to_the_user(user: Ordinary) -> None:
    spec: Spec = {
        "services": {"job": {"command": ["touch", "/v/x"], "volumes": ["work:/v"]}},
        "volumes": {"work": None},
    }
    assert user.up(spec).code == 0
    (made,) = list((user.data / "volumes").rglob("x"))
    assert os.stat(made).st_uid == UID
    assert user.down("--volumes").code == 0


def test_a_project_in_the_background(user: Ordinary) -> None:
    spec = user.write({"services": {"web": {"command": FOREVER}}})
    assert user.command("up", "-d", str(spec)).code == 0
    try:
        listed = json.loads(user.command("ps", "-p", "test", "--format", "json").out)
        assert [it["State"] for it in listed] == ["running"]
        assert user.command("exec", "-p", "test", "web", "id", "-u").out == "0\n"
        assert "up" in user.command("logs", "-p", "test").out
        top = json.loads(user.command("top", "-p", "test", "--format", "json").out)
        assert {it["OwnPID"] for it in top} >= {1}
        (user.root / "file").write_text("copied")
        copied = user.command("cp", "-p", "test", str(user.root / "file"), "web:/tmp/file")
        assert copied.code == 0, copied
        assert user.command("exec", "-p", "test", "web", "cat", "/tmp/file").out == "copied"
        paused = user.command("pause", "-p", "test", "web")
        assert paused.code != 0
        assert "through their cgroups" in paused.err
    finally:
        assert user.down().code == 0
    assert registrations(user) == []


def test_a_second_command_enters_the_same_namespace(user: Ordinary) -> None:
    running = user.start({"services": {"web": {"command": FOREVER}}})
    running.wait_for("container.started")
    first = os.stat(f"/proc/{running.pid}/ns/user").st_ino
    assert first != os.stat("/proc/self/ns/user").st_ino
    other = user.command("exec", "-p", "test", "web", "readlink", "/proc/self/ns/user")
    assert other.out.strip() == f"user:[{first}]"
    running.send(signal.SIGINT)
    running.finish()


def test_the_health_of_a_container_is_probed_from_inside(user: Ordinary) -> None:
    spec: Spec = {"services": {
        "web": {"command": FOREVER, "healthcheck": {"test": ["CMD", "true"], "interval": "100ms"}},
        "job": {"command": "true", "depends_on": {"web": {"condition": "service_healthy"}}},
    }}  # fmt: skip
    assert user.up(spec).code == 0


def test_a_probe_that_hangs_is_killed_with_its_children(user: Ordinary) -> None:
    spec: Spec = {"services": {
        "web": {"command": FOREVER, "healthcheck": {
            "test": ["CMD", "sh", "-c", "sleep 998 & wait"], "interval": "100ms",
            "timeout": "300ms", "retries": 1}},
        "job": {"command": "true", "depends_on": {"web": {"condition": "service_healthy"}}},
    }}  # fmt: skip
    result = user.up(spec)
    assert result.code != 0
    assert result.verdict("web") == "unhealthy"


def test_a_killed_front_leaves_nothing(user: Ordinary) -> None:
    running = user.start({"services": {"job": {"command": FOREVER, "image": "host:/"}}})
    running.wait_for("container.started")
    running.send(signal.SIGKILL)
    running.finish()
    assert user.left_processes() == []
    assert user.down().code == 0
    assert user.files("data/containers") == []


def test_without_a_pid_namespace_of_its_own_nothing_starts(user: Ordinary) -> None:
    spec: Spec = {"services": {"web": {"command": FOREVER},
                               "job": {"command": "true", "pid": "service:web"}}}  # fmt: skip
    result = user.up(spec)
    assert result.code != 0
    assert "PID namespace" in result.err


def test_a_pid_namespace_can_be_shared_where_cgroups_are_delegated(delegated: Ordinary) -> None:
    spec: Spec = {"services": {
        "web": {"command": FOREVER},
        "job": {"command": ["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"], "pid": "service:web"},
    }}  # fmt: skip
    result = delegated.up(spec)
    assert result.log().startswith("sh -c trap"), result


def test_a_user_namespace_for_each_container_is_refused(user: Ordinary) -> None:
    result = user.job("true", userns_mode="auto")
    assert result.code == 2
    assert "only root can" in result.err


WEB = {"command": ["sh", "-c", "mkdir /www; echo hello > /www/index.html; "
                   "exec httpd -f -p 8000 -h /www"]}  # fmt: skip


def test_services_find_each_other_and_publish_ports(user: Ordinary) -> None:
    host = Namespace()
    try:
        user.netns = host.fd
        running = user.start({"services": {
            "web": WEB | {"ports": ["8080:8000"]},
            "job": {"depends_on": ["web"], "command": [
                "sh", "-c", "until wget -qO- http://web:8000/; do :; done; exec sleep 1000"]},
        }})  # fmt: skip
        running.wait_for_output("hello")
        port = running.wait_for("port.published")
        assert (port["host"], port["published"]) == ("127.0.0.1", 8080)
        assert host.run("busybox", "wget", "-qO-", "http://127.0.0.1:8080/") == "hello\n"
        running.send(signal.SIGINT)
        running.finish()
    finally:
        host.close()


def test_a_port_below_1024_is_refused_with_the_line_that_allows_it(user: Ordinary) -> None:
    result = user.up({"services": {"web": WEB | {"ports": ["80:8000"]}}})
    assert result.code == 3
    assert "cannot publish 127.0.0.1:80/tcp: Permission denied" in result.err
    assert "net.ipv4.ip_unprivileged_port_start=80" in result.err


def test_internal_networks_need_no_way_out(rootfs: Path) -> None:
    user = Ordinary(rootfs, tun=False)
    try:
        result = user.up({
            "services": {
                "web": WEB | {"networks": ["n"]},
                "job": {"networks": ["n"], "depends_on": ["web"], "command": [
                    "sh", "-c", "until wget -qO- http://web:8000/; do :; done"]},
            },
            "networks": {"n": {"internal": True}},
        })  # fmt: skip
        assert result.code == 0, result
        assert result.log() == "hello\n"
        user.check()
    finally:
        user.close()


def test_the_hosts_network_can_be_used(user: Ordinary) -> None:
    result = user.job("sh", "-c", "ls /sys/class/net; ls /sys/fs/cgroup", network_mode="host")
    assert result.code == 0, result
    assert "lo" in result.log()


def test_the_demonstration_says_what_it_cannot_enforce(user: Ordinary) -> None:
    demo = str(ROOT / "specs" / "demo.yaml")
    refused = user.command("up", demo)
    assert refused.code == 3
    assert "x-gocker.limits: best-effort" in refused.err
    result = user.command("up", "--limits", "best-effort", "--format", "json", demo)
    assert result.code == 0, result
    rows = {it["instance"]: it for it in json.loads(result.out.splitlines()[-1])["rows"]}
    assert rows["flaky"]["verdict"] == rows["report"]["verdict"] == "ok"
    for limit in ("cpu.quota", "memory.limit", "pids.limit"):
        assert limit in result.err
    assert user.command("down", "-p", "demo", "--volumes").code == 0


def test_the_demonstration_with_delegated_cgroups(delegated: Ordinary) -> None:
    demo = str(ROOT / "specs" / "demo.yaml")
    result = delegated.command("up", "--format", "json", demo)
    assert result.code == 0, result
    rows = {it["instance"]: it for it in json.loads(result.out.splitlines()[-1])["rows"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "prepare": "ok", "odd": "ok", "even": "ok", "greedy": "oom", "throttled": "ok",
        "crowd": "pids", "flaky": "ok", "report": "ok",
    }  # fmt: skip
    assert delegated.command("down", "-p", "demo", "--volumes").code == 0


def test_doctor_tells_what_a_user_has(user: Ordinary) -> None:
    found = json.loads(user.command("doctor", "--format", "json").out)
    by = {it["what"]: it for it in found}
    assert by["privileges"]["status"] == "ok"
    assert f"{COUNT + 1} ids" in by["privileges"]["detail"]
    assert by["container"]["status"] == "ok"
    assert by["limits"]["status"] == "warn"
    assert "Delegate" in by["limits"]["remedy"] or "chown" in by["limits"]["remedy"]


def test_doctor_names_the_package_of_subordinate_ids(alone: Ordinary) -> None:
    found = json.loads(alone.command("doctor", "--format", "json").out)
    by = {it["what"]: it for it in found}
    assert by["privileges"]["status"] == "warn"
    assert "usermod --add-subuids" in by["privileges"]["remedy"]


# What one thing less does, and that doctor names the line that mends it.


def doctor(user: Ordinary, **how: Any) -> dict[str, dict[str, str]]:
    result = user.command("doctor", "--format", "json", **how)
    assert "Traceback" not in result.err
    return {it["what"]: it for it in json.loads(result.out)}


def test_without_user_namespaces_nothing_starts(user: Ordinary) -> None:
    install = withhold(["unshare"], EPERM)

    def enter() -> None:
        user._enter()
        install()

    found = doctor(user, enter=enter)["privileges"]
    assert found["status"] == "fail"
    assert "cannot make a user namespace" in found["detail"]
    assert "seccomp" in found["remedy"]
    result = user.command("up", str(user.write({"services": {"job": {"command": "true"}}})),
                          enter=enter)  # fmt: skip
    assert result.code == 3
    assert "cannot make a user namespace" in result.err
    assert "Traceback" not in result.err


def test_without_slirp4netns_no_network_leads_out(user: Ordinary) -> None:
    path = shutil.which("slirp4netns")
    assert path is not None, "install the package slirp4netns"
    nothing = user.root / "nothing"
    nothing.write_text("")
    user.binds = {path: str(nothing)}
    found = doctor(user)["network"]
    assert (found["status"], found["remedy"]) == ("warn", "as root: apt-get install slirp4netns")
    result = user.up({"services": {"web": WEB | {"ports": ["8080:8000"]}}})
    assert result.code == 3
    assert "apt-get install slirp4netns" in result.err


def test_without_the_tun_device_no_network_leads_out(rootfs: Path) -> None:
    if os.path.exists("/dev/net/tun") and os.stat("/dev/net/tun").st_mode & stat.S_IWOTH:
        pytest.skip("everybody may open /dev/net/tun here")
    user = Ordinary(rootfs, tun=False)
    try:
        assert "/dev/net/tun" in doctor(user)["network"]["remedy"]
        result = user.up({"services": {"web": WEB | {"ports": ["8080:8000"]}}})
        assert result.code == 3
        assert "/dev/net/tun" in result.err
        user.check()
    finally:
        user.close()
