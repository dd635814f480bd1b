"""2.B: masked paths, gocker's own trees, secrets. The mounts themselves are the runtime's tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gocker.plan import posture
from tests.support.command import Gocker

pytestmark = pytest.mark.root

READ = """
for f in "$@"; do
    if [ -d "$f" ]; then n=$(ls -A "$f" 2>/dev/null | wc -l); else n=$(head -c 4096 "$f" 2>/dev/null | wc -c); fi
    [ "$n" = 0 ] || echo "$f $n"
done
"""  # noqa: E501  # one line of shell
# Not taken from the table: what is forgotten there is missed here.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/proc/kallsyms", "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags",
    "/proc/kpagecgroup", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/pagetypeinfo",
    "/proc/config.gz", "/proc/sysrq-trigger", "/proc/mtrr", "/sys/firmware",
    "/sys/devices/virtual/powercap", "/sys/kernel/vmcoreinfo", "/sys/kernel/notes",
    "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/fs/bpf", "/sys/power",
)  # fmt: skip
# Of the kernel as a whole; none may be writable.
GLOBAL = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
    "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/uevent_helper",
    "/sys/kernel/profiling", "/proc/bus/pci/devices", "/proc/sys/fs/suid_dumpable",
)  # fmt: skip


def test_b14_nothing_on_the_list_can_be_read(gocker: Gocker) -> None:
    paths = [*MASKED, *posture.thermal_throttle_paths(os.cpu_count() or 1)]
    assert set(MASKED) <= set(posture.MASKED_PATHS)
    there = [path for path in paths if os.path.exists(path)]
    assert len(there) > 10, "this kernel has nothing to hide"
    result = gocker.job("sh", "-c", READ, "sh", *there)
    assert (result.code, result.log()) == (0, "")


def test_b14_nothing_of_the_host_can_be_written(gocker: Gocker) -> None:
    script = 'for f in "$@"; do (: >>"$f") 2>/dev/null && echo "$f"; done; :'
    result = gocker.job("sh", "-c", script, "sh", *GLOBAL)
    assert (result.code, result.log()) == (0, "")


@pytest.mark.parametrize("cap", [[], ["SYS_ADMIN"]], ids=["default", "SYS_ADMIN"])
def test_b14_masks_stay(gocker: Gocker, cap: list[str]) -> None:
    """Without SYS_ADMIN nothing of them can be undone; with it, gocker says so beforehand."""
    script = (
        "umount /proc/kcore || echo refused; mount -o bind,remount,rw /proc/sys || echo refused;"
        " mount -t proc proc /tmp || echo refused; head -c 1 /proc/kcore 2>&- | wc -c"
    )
    result = gocker.sh(script, cap_add=cap)
    if not cap:
        assert result.log().splitlines().count("refused") == 3, result.log()
        assert result.log().splitlines()[-1] == "0"
    weaker = [item for event in result.events("security.relaxed") for item in event["weaker"]]
    assert bool(weaker) is bool(cap)


def test_b17_gockers_trees_are_shut_for_other_users(gocker: Gocker) -> None:
    """With a umask of 0: the modes do not depend on the caller's."""

    def enter() -> None:
        gocker.nest.enter()
        os.umask(0)

    gocker.root.chmod(0o755)
    spec = {
        "services": {
            "job": {
                "command": ["sh", "-c", "cp /bin/busybox /suid; chmod 4755 /suid; sleep 1000"],
                "volumes": ["data:/data"],
            }
        },
        "volumes": {"data": {}},
    }
    running = gocker.start(spec, enter=enter)
    running.wait_for("container.started")
    found = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
         'cd "$1" && for d in data live; do ls "$d" && echo "$d can be listed"; '
         'for f in "$d"/*; do cat "$f"/* && echo "$f can be read"; done; done', "sh", gocker.root],
        capture_output=True, text=True,
    )  # fmt: skip
    modes = {
        str(path.relative_to(gocker.root)): oct(path.stat().st_mode & 0o777)
        for top in (gocker.data, gocker.live)
        for path in (top, *top.rglob("*"))
        if path.is_dir() and "containers" not in path.parts and "scratch" not in path.parts
    }
    files = {
        str(path): oct(path.stat().st_mode & 0o777)
        for top in (gocker.data / "runs", gocker.live)
        for path in top.rglob("*")
        if path.is_file() and "scratch" not in path.parts
    }
    running.send(15)
    running.finish()
    assert "can be" not in found.stdout, found.stdout
    assert found.stderr.count("Permission denied") >= 2
    # A volume is its containers' to open, and nobody gets as far as to it.
    private = {name: mode for name, mode in modes.items() if "volumes/" not in name}
    assert set(private.values()) == {"0o700"}, private
    assert set(files.values()) <= {"0o600"}, files


SECRET = "canary-5b0c6f5e"


def test_b18_a_secret_is_in_the_containers_tmpfs_only(gocker: Gocker, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    spec = {
        "services": {
            "job": {
                "command": ["sh", "-c",
                            "cat /run/secrets/s >/dev/null; stat -c %a:%u /run/secrets/s;"
                            "grep ' /run/secrets/s ' /proc/self/mountinfo; (: >>/run/secrets/s) ||"
                            " echo refused; echo ready; sleep 1000"],
                "secrets": [{"source": "s", "mode": 0o400}],
            }
        },
        "secrets": {"s": {"file": str(tmp_path / "secret")}},
    }  # fmt: skip
    running = gocker.start(spec)
    running.wait_for_output("ready")
    during = _holders(gocker.root, SECRET)
    running.send(15)
    result = running.finish()
    lines = result.log().splitlines()
    assert lines[0] == "400:0"
    kind, options = lines[1].split(" - ")[1].split()[0], lines[1].split()[5].split(",")
    assert kind == "tmpfs"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options)
    assert "refused" in lines
    assert during == []
    assert _holders(gocker.root, SECRET) == []
    assert SECRET not in result.out + result.err
    shown = gocker.command("ps", "-a", "--format", "json").out
    shown += gocker.command("config", str(gocker.root / "spec.yaml")).out
    assert SECRET not in shown


def _holders(top: Path, text: str) -> list[str]:
    found = subprocess.run(["grep", "-rlaF", text, top], capture_output=True, text=True).stdout
    return found.splitlines()
