"""Short and long syntax, units, defaults: one service key at a time."""

from __future__ import annotations

from typing import Any

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


def port(target: int, published: str | None = None, **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {"mode": "ingress", "protocol": "tcp", "target": target, **more}
    return {**made, "published": published} if published else made


def bind(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "bind": {}, **more}


def volume(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"type": "volume", "source": source, "target": target, "volume": {}, **more}


REST = "volumes: {data: {}, d: {}}\nconfigs: {c: {content: x}}\nsecrets: {s: {environment: S}}\n"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("ports", "['127.0.0.1::83']", [port(83, host_ip="127.0.0.1")]),
        ("ports", "['53:84/udp']", [port(84, "53", protocol="udp")]), ("ports", "[85]", [port(85)]),
        ("ports", "['3000-3001:4000-4001']", [port(4000, "3000"), port(4001, "3001")]),
        ("ports", "['9000-9010:80']", [port(80, "9000-9010")]),
        ("ports", "['[::1]:1:2']", [port(2, "1", host_ip="::1")]),
        ("ports", "[{target: 80, published: 8080}]", [port(80, "8080")]),
        ("ports", "[{target: 80, mode: host, name: n, app_protocol: http}]",
         [port(80, mode="host", name="n", app_protocol="http")]),
        ("ports", "['9-10']", [port(10), port(9)]), ("ports", "['1:1/TCP']", [port(1, "1")]),
        ("ports", "[]", None),
        ("volumes", "['data:/d']", [volume("data", "/d")]),
        ("volumes", "['./src:/s:ro']", [bind("DIR/src", "/s", read_only=True)]),
        ("volumes", "['/anon']", [{"type": "volume", "target": "/anon", "volume": {}}]),
        ("volumes", "['../up:/up']", [bind("UP/up", "/up")]),
        ("volumes", "['~/h:/h']", [bind("/home/me/h", "/h")]),
        ("volumes", "['/abs/../x:/y/']", [bind("/abs/../x", "/y")]),
        ("volumes", "['d:/d']", [volume("d", "/d")]),
        ("volumes", "['data:/d:nocopy,ro']",
         [{**volume("data", "/d", read_only=True), "volume": {"nocopy": True}}]),
        ("volumes", "['./a:/a:rshared,z']",
         [{**bind("DIR/a", "/a"), "bind": {"propagation": "rshared", "selinux": "z"}}]),
        ("volumes", "[{type: bind, source: ., target: /t/}]",
         [{"type": "bind", "source": "DIR", "target": "/t"}]),
        ("volumes", "[{type: bind, source: /s, target: /t, bind: {create_host_path: false}}]",
         [bind("/s", "/t", bind={"create_host_path": False})]),
        ("volumes", "[{type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 0755}}]",
         [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "67108864", "mode": 493}}]),
        ("volumes", "['data:/d', './x:/d']", [bind("DIR/x", "/d")]),
        ("secrets", "[s]", [{"source": "s", "target": "/run/secrets/s"}]),
        ("secrets", "[{source: s, target: t, uid: '1', gid: '2', mode: 0440}]",
         [{"source": "s", "target": "t", "uid": "1", "gid": "2", "mode": "0440"}]),
        ("configs", "[c]", [{"source": "c"}]),
        ("configs", "[{source: c, mode: 0o440}]", [{"source": "c", "mode": "0440"}]),
        ("configs", "[{source: c, mode: '0440'}]", [{"source": "c", "mode": "0440"}]),
        ("configs", "[{source: c, mode: 440}]", [{"source": "c", "mode": "0670"}]),
        ("command", "run --msg \"two words\" *.txt ~ #5", ["run", "--msg", "two words", "*.txt",
         "~"]),
        ("command", "'run \"two words\" *.txt ~ #5'", ["run", "two words", "*.txt", "~", "#5"]),
        ("command", "[]", []), ("command", "''", []), ("command", "null", None),
        ("command", "['a;b', c]", ["a;b", "c"]), ("entrypoint", "a \"b c\"", ["a", "b c"]),
        ("healthcheck", "{test: x y}", {"test": ["CMD-SHELL", "x y"]}),
        ("healthcheck", "{test: [NONE]}", {"test": ["NONE"]}),
        ("healthcheck", "{test: [CMD, x], interval: 1m30s, timeout: '0', retries: 0}",
         {"test": ["CMD", "x"], "interval": "1m30s", "timeout": "0s", "retries": 0}),
        ("healthcheck", "{}", {}), ("healthcheck", "{start_period: 1h5m30s20ms}",
         {"start_period": "1h5m30.02s"}),
        ("stop_grace_period", "1d", "24h0m0s"), ("stop_grace_period", "0.5s", "500ms"),
        ("mem_limit", "64m", "67108864"),
        ("mem_limit", "512", "512"),
        ("mem_limit", "'1 gb'", "1073741824"),
        ("mem_limit", "1.5g", "1610612736"), ("mem_limit", "1e9", "1000000000"),
        ("memswap_limit", "-1", "-1"), ("shm_size", "0", None), ("mem_swappiness", "60", "60"),
        ("cpus", "0.5", 0.5), ("cpus", "'1.50'", 1.5), ("cpus", "2", 2), ("cpus", "0.1", 0.1),
        ("cpus", "0.123456789", 0.12345679), ("cpus", "0", None), ("cpu_percent", "50", 50),
        ("pids_limit", "-1", -1), ("pids_limit", "10.0", 10), ("cpu_rt_runtime", "400ms", 400000),
        ("cpu_rt_period", "1000", 1000), ("cpu_period", "'50000'", 50000),
        ("scale", "0", 0),
        ("init", "false", False),
        ("attach", "false", False),
        ("tty", "false", None),
        ("privileged", "true", True), ("use_api_socket", "false", None),
        ("environment", "[A=b=c, D, 'E=']", {"A": "b=c", "D": None, "E": ""}),
        ("environment", "{A: true, B: 1, C: , D: x}", {"A": "true", "B": "1", "C": None, "D": "x"}),
        ("environment", "{}", None), ("labels", "[a, b=c]", {"a": "", "b": "c"}),
        ("annotations", "{a: 1}", {"a": "1"}), ("sysctls", "[net.x=1]", {"net.x": "1"}),
        ("extra_hosts", "['a=1.1.1.1', 'b:2.2.2.2', 'c=[::1]']", ["a=1.1.1.1", "b=2.2.2.2",
         "c=::1"]),
        ("extra_hosts", "{z: 1.1.1.1, a: [2.2.2.2, 3.3.3.3]}",
         ["a=2.2.2.2", "a=3.3.3.3", "z=1.1.1.1"]),
        ("ulimits", "{nofile: 10, nproc: {soft: 1, hard: 2}}",
         {"nofile": 10, "nproc": {"soft": 1, "hard": 2}}),
        ("devices", "['/dev/a', '/dev/b:/x:r', {source: /c, target: /d}]", [
            {"source": "/dev/a", "target": "/dev/a", "permissions": "rwm"},
            {"source": "/dev/b", "target": "/x", "permissions": "r"},
            {"source": "/c", "target": "/d"}]),
        ("dns", "1.1.1.1", ["1.1.1.1"]), ("dns", "['', 1.1.1.1]", ["1.1.1.1"]),
        ("tmpfs", "/run:size=1m", ["/run:size=1m"]), ("expose", "[80, '90-91']", ["80", "90-91"]),
        ("group_add", "[a, 5]", ["a", "5"]), ("pid", "null", None), ("pid", "host", "host"),
        ("logging", "{driver: d, options: {a: 1, b: null}}",
         {"driver": "d", "options": {"a": "1", "b": ""}}),
        ("deploy", "null", None), ("deploy", "{}", {"resources": {}, "placement": {}}),
        ("deploy", "{resources: {limits: {cpus: '1.5', memory: 1g, pids: 5}}}",
         {"resources": {"limits": {"cpus": 1.5, "memory": "1073741824", "pids": 5}},
          "placement": {}}),
        ("deploy", "{restart_policy: {condition: any, delay: 5s, max_attempts: 0}, replicas: 0}",
         {"restart_policy": {"condition": "any", "delay": "5s", "max_attempts": 0},
          "replicas": 0, "resources": {}, "placement": {}}),
        ("deploy", "{update_config: {parallelism: 2, delay: 0s, max_failure_ratio: 0.3}}",
         {"update_config": {"parallelism": 2, "max_failure_ratio": 0.3}, "resources": {},
          "placement": {}}),
        ("gpus", "all", [{"count": -1}]),
        ("deploy", "{resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
         {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"], "count": -1}]}},
          "placement": {}}),
        ("blkio_config", "{weight: 5, device_read_bps: [{path: /a, rate: 1m}]}",
         {"weight": 5, "device_read_bps": [{"path": "/a", "rate": "1048576"}]}),
        ("depends_on", "[o]", {"o": {"condition": "service_started", "required": True}}),
        ("depends_on", "{o: {condition: service_healthy, restart: true, required: false}}",
         {"o": {"condition": "service_healthy", "restart": True, "required": False}}),
        ("links", "[o, 'o:alias']", ["o", "o:alias"]), ("cap_add", "[CHOWN, CHOWN]", ["CHOWN"]),
        ("storage_opt", "{size: 1G}", {"size": "1G"}), ("restart", "on-failure:3", "on-failure:3"),
        ("pull_policy", "if_not_present", "missing"), ("hostname", "''", None),
        ("post_start", "[{command: a b, environment: [X]}]",
         [{"command": ["a", "b"], "environment": {"X": None}}]),
        ("pre_start", "[{command: a}, {image: i, command: b}]",
         [{"command": ["a"], "image": "x"}, {"command": ["b"], "image": "i"}]),
        ("provider", "{type: t, options: {a: 1, b: [x, 2]}}",
         {"type": "t", "options": {"a": ["1"], "b": ["x", "2"]}}),
        ("networks", "{default: {aliases: [a], priority: 5, ipv4_address: 1.2.3.4}}",
         {"default": {"aliases": ["a"], "priority": 5, "ipv4_address": "1.2.3.4"}}),
        ("networks", "[]", {"default": None}), ("network_mode", "none", "none"),
    ],
)  # fmt: skip
def test_canonical_form(project: Project, key: str, text: str, expected: Any) -> None:
    model = project.model(
        f"services:\n  web:\n    image: x\n    {key}: {text}\n  o: {{image: x}}\n{REST}"
    )
    found = model["services"]["web"].get(key)
    if isinstance(found, list):
        for item in found:
            if isinstance(item, dict) and "source" in item:
                item["source"] = (
                    item["source"]
                    .replace(str(project.directory), "DIR")
                    .replace(str(project.directory.parent), "UP")
                )
    assert found == expected


def test_a_bare_service_has_its_null_commands_and_network(project: Project) -> None:
    assert project.model("services: {web: {image: x}}") == {
        "name": "p",
        "services": {
            "web": {
                "image": "x", "command": None, "entrypoint": None, "networks": {"default": None},
            }
        },
        "networks": {"default": {"name": "p_default", "ipam": {}}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "implied"),
    [
        ("links: ['o:alias']", {"condition": "service_started", "restart": True, "required": True}),
        ("network_mode: 'service:o'",
         {"condition": "service_started", "restart": True, "required": True}),
        ("ipc: 'service:o'", {"condition": "service_started", "restart": True, "required": True}),
        ("pid: 'service:o'", {"condition": "service_started", "restart": True, "required": True}),
        ("volumes_from: ['o:ro']", {"condition": "service_started", "required": True}),
        ("links: [o], depends_on: {o: {condition: service_healthy}}",
         {"condition": "service_healthy", "required": True}),
    ],
)  # fmt: skip
def test_implied_dependencies(project: Project, text: str, implied: dict[str, Any]) -> None:
    model = project.model(f"services: {{web: {{image: x, {text}}}, o: {{image: x}}}}")
    assert model["services"]["web"]["depends_on"] == {"o": implied}


def test_names_of_resources(project: Project) -> None:
    model = project.model(
        "services: {}\nvolumes: {a: , b: {name: own}, c: {external: true},"
        " d: {external: {name: e}}}"
        "\nnetworks: {n: {driver: bridge, internal: true, labels: [l=1], ipam: {driver: default}}}"
        "\nsecrets: {s: {file: ./s}, t: {external: true, name: u}}\nconfigs: {c: {file: ~/c}}",
        all_resources=True, consistency=False,
    )  # fmt: skip
    assert model["volumes"] == {
        "a": {"name": "p_a"}, "b": {"name": "own"}, "c": {"name": "c", "external": True},
        "d": {"name": "e", "external": True},
    }  # fmt: skip
    assert model["networks"]["n"] == {
        "name": "p_n", "driver": "bridge", "internal": True, "labels": {"l": "1"},
        "ipam": {"driver": "default"},
    }  # fmt: skip
    assert model["secrets"]["s"] == {"name": "p_s", "file": str(project.directory / "s")}
    assert model["secrets"]["t"] == {"name": "u", "external": True}
    assert model["configs"]["c"] == {"name": "p_c", "file": "/home/me/c"}


def test_bind_devices_of_the_local_driver_become_absolute(project: Project) -> None:
    model = project.model(
        "services: {}\nvolumes: {v: {driver: local,"
        " driver_opts: {o: bind, type: none, device: ./d}}}",
        all_resources=True,
    )
    assert model["volumes"]["v"]["driver_opts"]["device"] == str(project.directory / "d")


def test_a_secret_from_the_environment_shows_no_value(project: Project) -> None:
    loaded = project.load(
        "services: {a: {image: x, secrets: [s], configs: [c]}}\nsecrets: {s: {environment: S}}\n"
        "configs: {c: {environment: S}}",
        env={"S": "hidden-value"},
    )
    assert "hidden-value" not in str(loaded.model)


def test_scale_is_shown_as_replicas_too(project: Project) -> None:
    assert project.service("scale: 2, deploy: {mode: replicated}")["deploy"]["replicas"] == 2


def test_the_upcoming_jobs_element_is_read_like_services(project: Project) -> None:
    model = project.model(
        "services: {db: {image: d}}\n"
        "jobs: {migrate: {image: x, command: a b, depends_on: [db], environment: [A=1],"
        " triggers: {manual: true, schedule: [{cron: '* * * * *'}]}}}"
    )
    assert model["jobs"]["migrate"] == {
        "image": "x", "command": ["a", "b"], "entrypoint": None, "environment": {"A": "1"},
        "depends_on": {"db": {"condition": "service_started", "required": True}},
        "networks": {"default": None},
        "triggers": {"manual": True, "schedule": [{"cron": "* * * * *"}]},
    }  # fmt: skip
