"""Any input ends in a project or a clean error, within a second."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gocker.errors import SpecError, UsageError
from gocker.spec.load import LoadOptions, load

WORDS = [
    "services", "image", "ports", "volumes", "environment", "depends_on", "deploy", "x-a", "web",
    "${A}", "${A:-", "}", "80:80", "./a:/b", "!reset", "!override", "&a", "*a", "<<", ": ", "- ",
    "\n", "\n  ", "\n    ", "{", "}", "[", "]", ", ", "null", "1", "true", "'", '"', "|", "#",
    "extends", "include", "networks", "secrets", "configs", "healthcheck", "test", "command",
    "resources", "limits", "memory", "64m", "1s", "---",
]  # fmt: skip


def finish(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    started = time.process_time()
    try:
        load(LoadOptions([str(path)], environ={"A": "x"}, project_name="p"))
    except (SpecError, UsageError) as error:
        assert str(error)  # noqa: PT017  # it may also load
    assert time.process_time() - started < 1


quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(data=st.binary(max_size=300))
def test_bytes(tmp_path: Path, data: bytes) -> None:
    finish(tmp_path / "f.yaml", data)


@quick
@given(words=st.lists(st.sampled_from(WORDS), max_size=40))
def test_words_of_compose(tmp_path: Path, words: list[str]) -> None:
    finish(tmp_path / "f.yaml", "".join(words).encode())


KEYS = st.sampled_from([
    "image", "ports", "volumes", "environment", "depends_on", "deploy", "command", "healthcheck",
    "networks", "secrets", "configs", "extends", "build", "ulimits", "logging", "devices", "gpus",
    "env_file", "labels", "links", "tmpfs", "cpus", "mem_limit", "scale", "x-a", "develop",
    "blkio_config", "extra_hosts", "profiles", "volumes_from", "network_mode", "post_start",
])  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-5, 99) | st.sampled_from(
    ["", "x", "80", "a:b", "./a:/b:ro", "a=b", "64m", "10s", "service:web", "${A}", "${", "all"]
)  # fmt: skip
SUB = st.sampled_from([
    "type", "source", "target", "test", "interval", "resources", "limits", "cpus", "soft", "hard",
    "driver", "options", "service", "file", "path", "condition", "required", "aliases", "context",
    "external", "name", "ipam", "config", "subnet", "watch", "bind", "tmpfs", "size", "web", "a",
])  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SUB, inner, max_size=3),
    max_leaves=6,
)
SERVICES = st.dictionaries(KEYS, TREES, max_size=5)
PROJECTS = st.fixed_dictionaries(
    {"services": st.dictionaries(st.sampled_from(["web", "db"]), SERVICES, max_size=2)},
    optional={
        key: st.dictionaries(st.sampled_from(["a", "b"]), TREES, max_size=2)
        for key in ("volumes", "networks", "secrets", "configs", "jobs")
    },
)


@settings(parent=quick, max_examples=400)
@given(project=PROJECTS, over=st.none() | PROJECTS)
def test_projects_of_any_shape(tmp_path: Path, project: object, over: object) -> None:
    import json

    text = json.dumps(project)
    if over is not None:
        text += "\n---\n" + json.dumps(over)
    finish(tmp_path / "f.yaml", text.encode())
