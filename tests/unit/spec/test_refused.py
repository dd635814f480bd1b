"""What a load refuses: schema, values, references between parts; each with its path."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # keys and types
        ("imag: y", "web.imag: unknown key 'imag' (did you mean 'image'?)"),
        ("comand: y", "unknown key 'comand' (did you mean 'command'?)"),
        ("deploy: {resources: {limit: {}}}", "deploy.resources.limit: unknown key 'limit'"),
        ("healthcheck: {tests: x}", "healthcheck.tests: unknown key"),
        ("build: {contxt: .}", "build.contxt: unknown key"),
        ("depends_on: {o: {condition: service_started, x: 1}}", "depends_on.o.x: unknown key 'x'"),
        ("ports: [{target: 80, publish: 1}]", "ports[0].publish: unknown key"),
        ("ports: null", "ports: must be a list"),
        ("environment: null", "environment: must be a list or mapping"),
        ("hostname: null", "hostname: must be a string"),
        ("hostname: 5", "hostname: must be a string (quote it)"),
        ("hostname: [a]", "hostname: must be a string"),
        ("command: [sleep, 5]", "command[1]: must be a string"),
        ("command: {a: b}", "command: must be a list, null or string"),
        ("cpus: [1]", "cpus: must be a number or string"),
        ("healthcheck: {interval: 30}", "healthcheck.interval: must be a string (quote it)"),
        ("environment: {A: [x]}", "environment.A: must be"),
        ("environment: [{A: x}]", "environment[0]: must be a string"),
        ("volumes: [{source: a, target: /b}]", "volumes[0]: missing key 'type'"),
        ("volumes: [{type: bnd, target: /b}]", "volumes[0].type: must be one of"),
        ("volumes: [{type: volume}]", "volumes[0]: missing key 'target'"),
        ("volumes: [{type: bind, target: /b}]", "a bind mount needs a source"),
        ("ports: [{published: '80'}]", "ports[0]: missing key 'target'"),
        ("depends_on: {o: {required: true}}", "depends_on.o: missing key 'condition'"),
        ("depends_on: {o: {condition: started}}", "condition: must be one of"),
        ("security_opt: [a, a]", "security_opt[1]: repeats item 0"),
        ("cgroup: x", "cgroup: must be one of"),
        ("oom_score_adj: 2000", "less than or equal to 1000"),
        ("cpu_count: -1", "greater than or equal to 0"),
        ("container_name: '-'", "does not match"), ("pull_policy: sometimes", "does not match"),
        ("ulimits: {nofil: 5}", "unknown ulimit 'nofil' (did you mean 'nofile'?)"),
        ("ulimits: {nofile: {soft: 5}}", "missing key 'hard'"),
        ("post_start: [{user: u}]", "missing key 'command'"),
        ("credential_spec: {x: 1}", "unknown key"), ("blkio_config: {x-y: 1}", "unknown key"),
        # values
        ("ports: ['3000-3002:4000-4005']", "ranges of different length"),
        ("ports: ['70000']", "out of range"),
        ("ports: ['localhost:80:80']", "invalid IP address 'localhost'"),
        ("ports: [80/icmp]", "invalid protocol"),
        ("ports: ['eighty:80']", "invalid host port"), ("ports: [80.5]", "invalid port"),
        ("ports: [{target: 80, host_ip: x}]", "host_ip: invalid IP address"),
        ("ports: ['']", "no port"),
        ("volumes: ['./a:/a:rx']", "unknown option 'rx'"), ("volumes: ['']", "empty volume"),
        ("volumes: ['a:b:c:d']", "too many colons"), ("volumes: [':/a']", "empty section"),
        ("volumes: ['src:/src']", "volumes[0]: undefined volume 'src' (declare it"),
        ("command: echo a && rm x", "unquoted '&'"),
        ("command: a | b", "unquoted '|'"),
        ("entrypoint: a > b", "unquoted '>'"),
        ("command: \"a 'b\"", "unterminated quote"),
        ("mem_limit: 1x", "mem_limit: invalid size '1x'"),
        ("mem_limit: 1.5", "must be an integer"),
        ("stop_grace_period: '30'", "missing unit in duration '30'"),
        ("healthcheck: {interval: abc}", "invalid duration"),
        ("environment: ['KEY =v']", "trailing space"),
        ("extra_hosts: [a]", "missing address"), ("extra_hosts: {'a:b': 1.1.1.1}", "bad host name"),
        ("configs: [{source: c, mode: '9'}]", "invalid mode '9'"),
        ("devices: ['a:b:c:d']", "confusing device"),
        ("cpus: x", "'x' is not a number"),
        ("tty: maybe", "'maybe' is not a boolean"),
        ("pids_limit: 1.5", "integer"),
        ("healthcheck: {retries: -1}", "must not be negative"), ("cpus: 1e300", "out of range"),
        ("gpus: [{count: 1, device_ids: [a]}]", "exclusive"),
        ("healthcheck: {test: [curl, x]}", "must start with 'CMD'"),
        ("healthcheck: {test: [CMD]}", "no command after 'CMD'"),
        ("restart: sometimes", "invalid restart policy 'sometimes'"),
        ("restart: on-failure:x", "invalid restart policy"),
        ("restart: always:3", "invalid restart policy"),
        # references and conflicts
        ("depends_on: [gone]", "web.depends_on.gone: undefined service 'gone'"),
        ("depends_on: [web]", "cycle: web -> web"),
        ("networks: [gone]", "networks.gone: undefined network 'gone'"),
        ("configs: [gone]", "undefined config 'gone'"),
        ("secrets: [gone]", "undefined secret 'gone'"),
        ("network_mode: 'service:gone'", "undefined service 'gone'"),
        ("network_mode: none, networks: [default]", "'network_mode' and 'networks' are exclusive"),
        ("tmpfs: /d, volumes: ['/d']", "target '/d' is already mounted by tmpfs[0]"),
        ("container_name: c1, scale: 2", "container name must be unique"),
        ("scale: -1", "scale: must be greater"),
        ("container_name: c1, deploy: {replicas: 2}", "container name must be unique"),
        ("scale: 1, deploy: {replicas: 2}", "'scale' and 'deploy.replicas' differ"),
        ("cpus: 1, deploy: {resources: {limits: {cpus: '2'}}}",
         "'cpus' and 'deploy.resources.limits.cpus' differ"),
        ("mem_limit: 1g, deploy: {resources: {limits: {memory: 2g}}}", "mem_limit"),
        ("pids_limit: 1, deploy: {resources: {limits: {pids: 2}}}", "pids_limit"),
        ("mem_reservation: 1g, deploy: {resources: {reservations: {memory: 2g}}}",
         "mem_reservation"),
    ],
)  # fmt: skip
def test_service(project: Project, body: str, message: str) -> None:
    errors = project.errors(
        f"services: {{web: {{image: x, {body}}}, o: {{image: x}}}}\nconfigs: {{c: {{content: x}}}}"
    )
    assert any(message in error for error in errors), errors
    assert all(error.startswith("f0.yaml:1:") for error in errors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("volums: {}", "f0.yaml:1:1: volums: unknown key 'volums' (did you mean 'volumes'?)"),
        ("services: null", "services: must be a mapping"),
        ("services: [a]", "services: must be a mapping"),
        ("services: {web: null}", "services.web: must be a mapping"),
        ("services: {'a b': {image: x}}", "services: invalid name 'a b'"),
        ("version: 3.8\nservices: {}", "version: must be a string (quote it)"),
        ("name: 5\nservices: {}", "name: must be a string"),
        ("services: {}\nsecrets: {s: {}}", "secrets.s: one of 'file', 'environment' must be set"),
        ("services: {}\nsecrets: {s: {file: a, environment: B}}", "only one of"),
        ("services: {}\nconfigs: {c: {file: a, content: b}}", "configs.c: only one of"),
        ("services: {}\nconfigs: {c: }", "configs.c: must be a mapping"),
        ("services: {}\nvolumes: {v: {external: true, driver: x}}",
         "'external' and 'driver' conflict"),
        ("services: {}\nvolumes: {v: {external: {name: a}, name: b}}",
         "name and external.name conflict"),
        ("services: {}\nnetworks: {n: {ipam: {config: [{subne: x}]}}}", "unknown key 'subne'"),
        ("services: {a: {image: x, container_name: cc}, b: {image: x, container_name: cc}}",
         "container name 'cc' is already used by service 'a'"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
         "dependency cycle: a -> b -> a"),
        ("services: {a: {image: x, links: [b]}, b: {image: x, ipc: 'service:a'}}",
         "dependency cycle"),
        ("services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: ./gone}}",
         "secrets.s.file: no such file"),
        ("jobs: {j: {image: x, restart: always}}", "jobs.j.restart: unknown key 'restart'"),
    ],
)  # fmt: skip
def test_project(project: Project, text: str, message: str) -> None:
    errors = project.errors(text)
    assert any(message in error for error in errors), errors


@pytest.mark.parametrize(
    "body",
    [
        "mem_limit: 102400k, deploy: {resources: {limits: {memory: 100M}}}",
        "mem_limit: 1g, deploy: {resources: {limits: {cpus: '1'}}}", "pull_policy: every_1h",
        "cpus: 1.5, deploy: {resources: {limits: {cpus: '1.5'}}}", "restart: unless-stopped",
        "scale: 2, deploy: {replicas: 2}",
        "depends_on: {g: {condition: service_started, required: false}}",
        "env_file: [{path: gone.env, required: false}]",
    ],
)  # fmt: skip
def test_what_agrees_loads(project: Project, body: str) -> None:
    project.model(f"services: {{web: {{image: x, {body}}}, g: {{image: y, profiles: [z]}}}}")


def test_a_service_needs_no_image(project: Project) -> None:
    assert "image" not in project.model("services: {web: {command: [x]}}")["services"]["web"]


def test_an_old_version_is_a_warning(project: Project) -> None:
    loaded = project.load("version: '3.8'\nservices: {}")
    assert "version" not in loaded.model
    assert any("obsolete" in warning for warning in loaded.warnings)


def test_problems_are_in_the_order_of_the_file(project: Project) -> None:
    errors = project.errors(
        "services:\n  b:\n    image: x\n    depends_on: [gone]\n  a:\n    image: y\n"
        "    networks: [gone]\n    restart: x\n"
    )
    assert [error.split(":")[1] for error in errors] == ["4", "7", "8"]


def test_a_mistake_in_an_override_has_its_file(project: Project) -> None:
    base = "services: {web: {image: x}}"
    assert project.error(base, "services:\n  web:\n    cpus: [1]\n").startswith("f1.yaml:3:11: ")


def test_what_has_no_effect_is_listed_with_its_place(project: Project) -> None:
    loaded = project.load(
        "services:\n  web:\n    image: x\n    build: .\n    develop: {}\n    deploy:\n"
        "      labels: {a: b}\n      placement: {constraints: [x]}\n"
    )
    assert [(path, place.line) for path, place, _ in loaded.ignored] == [
        ("services.web.develop", 5), ("services.web.deploy.labels", 7),
        ("services.web.deploy.placement", 8),
    ]  # fmt: skip
