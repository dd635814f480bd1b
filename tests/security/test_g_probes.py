"""2.G: health probes and hooks. exec and cp have their tests beside their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Gocker

pytestmark = pytest.mark.root

COMPLETED = {"condition": "service_healthy"}


@pytest.mark.parametrize(
    "script",
    ["yes", "sleep 1000", "(sleep 1000 &) ; (setsid sleep 1000 &) ; sleep 1000",
     "trap '' TERM; while :; do :; done"],
    ids=["flood", "sleeps", "children", "ignores"],
)  # fmt: skip
def test_g05_a_probe_ends_at_its_timeout_with_all_its_children(gocker: Gocker, script: str) -> None:
    check = {"test": ["CMD", "sh", "-c", script], "interval": "1s", "timeout": "1s", "retries": 1}
    count = "while :; do ls -d /proc/[0-9]* | wc -l; sleep 0.3; done"
    result = gocker.up({"services": {
        "probed": {"command": ["sh", "-c", count], "healthcheck": check},
        "after": {"command": ["true"], "depends_on": {"probed": COMPLETED}},
    }})  # fmt: skip
    events = [e for e in result.events("container.health", "probed") if e["status"] == "unhealthy"]
    assert events, result.err
    assert len(events[0]["output"]) <= 4096
    assert result.verdict("after") == "skipped"


def test_g05_nothing_of_a_probe_is_left(gocker: Gocker) -> None:
    """The container counts its processes: after the probe's time there are no more than before."""
    check = {"test": ["CMD", "sh", "-c", "(setsid sleep 1000 &); sleep 1000"], "interval": "1s",
             "timeout": "1s", "retries": 1}  # fmt: skip
    script = (
        "while ! ls /proc/*/comm | xargs -n1 cat 2>/dev/null | grep -q sleep; do :; done; "
        "while cat /proc/*/comm 2>/dev/null | grep -q sleep; do :; done; echo gone"
    )
    running = gocker.start({"services": {
        "probed": {"command": ["sh", "-c", script], "healthcheck": check},
    }})  # fmt: skip
    running.wait_for_output("gone")
    assert running.finish().log("probed") == "gone\n"


def test_g06_labels_and_annotations_name_no_hooks(gocker: Gocker, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    command = f"touch {sentinel}"
    keys = ("io.gocker.hooks.prestart", "com.docker.compose.hooks", "run.oci.hooks.stdout",
            "io.kubernetes.cri.hook", "module.wasm.image/variant", "run.oci.handler")  # fmt: skip
    service = {"command": ["true"], "labels": dict.fromkeys(keys, command),
               "annotations": dict.fromkeys(keys, command)}  # fmt: skip
    assert gocker.up({"services": {"job": service}}).code == 0
    assert not sentinel.exists()
