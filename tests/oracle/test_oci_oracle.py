"""What ``gocker config --oci`` prints makes the same container under runc, crun and gocker.

A probe inside tells all it can see. What differs is stated in DIFFERENCES with its reason; a
difference that is stated and not seen fails, too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gocker.plan import posture
from tests.support import bundle

pytestmark = [pytest.mark.root, pytest.mark.oracle]

PROBE = Path(__file__).with_name("probe.sh")
Seen = dict[str, str]
Differing = dict[str, tuple[str | None, str | None]]
Found = Callable[[str, str], Differing]

SYSCTLS = (
    "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
    "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "kernel/msgmax",
)  # fmt: skip
CGROUP_FILES = (
    "memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes",
    "memory/memory.soft_limit_in_bytes", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us",
    "cpu/cpu.shares", "pids/pids.max", "devices/devices.list", "cpuset/cpuset.cpus",
)  # fmt: skip
WATCHED = {
    "MASKED": " ".join(posture.MASKED_PATHS),
    "READONLY": " ".join((*posture.READONLY_PATHS, "/", "/data")),
    "SYSCTL": " ".join(SYSCTLS),
    "CGROUP": " ".join(CGROUP_FILES),
}
LIMITS = {"mem_limit": "64m", "memswap_limit": "96m", "mem_reservation": "32m", "cpus": 0.5,
          "pids_limit": 77, "cpuset": "0"}  # fmt: skip
SERVICES: dict[str, dict[str, Any]] = {
    "default": {**LIMITS, "environment": {**WATCHED}},
    "custom": {
        **LIMITS,
        "environment": {**WATCHED, "NAME": "a = b", "EMPTY": ""},
        "user": "1000:1001",
        "hostname": "some-host",
        "domainname": "some-domain",
        "working_dir": "/data",
        "read_only": True,
        "cap_add": ["NET_ADMIN", "SYS_CHROOT"],
        "cap_drop": ["CHOWN", "KILL"],
        "oom_score_adj": 321,
        "ulimits": {
            "nofile": {"soft": 100, "hard": 200},
            "core": {"soft": 5, "hard": 9},
            "fsize": 1 << 30,
        },
        "sysctls": {"kernel.msgmax": "9000"},
        "tmpfs": ["/scratch:size=1m,mode=1770", "/tmp:mode=1777"],
        "cpu_shares": 200,
    },
    "relaxed": {
        "environment": {**WATCHED},
        "cap_drop": ["ALL"],
        "security_opt": ["seccomp=unconfined"],
        "network_mode": "host",
    },
}


class Difference(NamedTuple):
    """What may differ: keys as a regular expression, for whom, and why that is right."""

    keys: str
    runtimes: tuple[str, ...]
    reason: str


_NOTHING = {"missing", "file", "directory"}
_MASKS = "|".join(re.escape(path) for path in posture.MASKED_PATHS)
DIFFERENCES = (
    Difference(
        rf"mount\.({_MASKS})",
        ("runc", "crun"),
        "what covers a masked path: a read-only empty file or directory of ours; a tmpfs or "
        "/dev/null of theirs. Both read as empty (masked.*).",
    ),
    Difference(
        r"mount\./etc/(hosts|hostname|resolv\.conf)",
        ("runc", "crun"),
        "generated files are on a tmpfs of the container's own; in a bundle they are files of it.",
    ),
    Difference(
        r"cgroup\.devices/devices\.list",
        ("runc", "crun"),
        "they let every container make any device node (and runc open the tun device); we allow "
        "what the configuration allows.",
    ),
    Difference(
        r"mount\./sys/fs/cgroup",
        ("runc", "crun"),
        "the tmpfs that holds the v1 hierarchies is read-only as its mount options ask; theirs "
        "is not.",
    ),
    Difference(
        r"mount\./sys/fs/cgroup/(blkio|cpu|cpuset)|cgroup\.(cpu|cpuset)/.*",
        ("runc", "crun"),
        "a hierarchy in which nothing is limited is not entered, which saves time; they enter all.",
    ),
    Difference(
        r"mount\./sys/fs/cgroup/systemd",
        ("crun",),
        "crun shows a directory for the named hierarchy, where there is one or not.",
    ),
    Difference(
        r"mount\./",
        ("runc", "crun"),
        "they forget nodev of the root's mount when they change its other options; the option "
        "is of the mount, not of the configuration.",
    ),
    Difference(
        r"mount\./proc/(bus|fs|irq|sys)(/.*)?",
        ("crun",),
        "crun's read-only bind forgets nosuid, nodev and noexec of what it binds.",
    ),
    Difference(
        r"env\.HOME",
        ("crun",),
        "crun sets no HOME for a user that is not in /etc/passwd; runc and we set /.",
    ),
    Difference(
        r"domainname",
        ("runc",),
        "runc 1.1 does not know domainname, which came with OCI 1.1.",
    ),
)


def observations(text: str) -> Seen:
    """Return what the probe printed."""
    seen: Seen = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "mount":
            target, _, value = value.partition(" ")
            key = f"mount.{target}"
        if key.startswith("ns."):
            value = "host's" if value == os.readlink(f"/proc/self/ns/{key[3:]}") else "own"
        while key in seen:
            key += "+"
        seen[key] = value
    return seen


class Places:
    """One root file system, the spec, and a bundle for each service."""

    def __init__(self, top: Path) -> None:
        self.top = top
        rootfs = bundle.make_rootfs(top / "rootfs")
        shutil.copy(PROBE, rootfs / "probe.sh")
        (rootfs / "data").mkdir()
        (top / "volume").mkdir()
        (top / "volume/file").write_text("of the host\n")
        services = {
            name: {
                "image": f"rootfs:{rootfs}",
                "command": ["/bin/sh", "/probe.sh", "an argument", ""],
                "volumes": [{"type": "bind", "source": str(top / "volume"), "target": "/data",
                             "read_only": True}],
                **service,
            }
            for name, service in SERVICES.items()
        }  # fmt: skip
        self.spec = bundle.write_spec(top / "spec.yaml", "oracle", services)

    def by_gocker(self, service: str) -> Seen:
        """Run the service by gocker itself."""
        argv = bundle.command("up", str(self.spec), service, "--no-log-prefix",
                              "--log-format", "none")  # fmt: skip
        environ = bundle.environ(self.top / "state")
        return self._run(shlex.join(argv), environ)

    def by(self, runtime: str, service: str) -> Seen:
        """Run the service's bundle by an OCI runtime."""
        name = f"{runtime}-{service}"
        made = bundle.make_bundle(self.spec, service, self.top / name, self.top / "state")
        config = made.read()
        identifier = f"gocker-test-{uuid.uuid4().hex[:12]}"
        # A parent of its own: tests may run side by side.
        config["linux"]["cgroupsPath"] = f"/{identifier}"
        made.write(config)
        run = f"{runtime} run --bundle {made.path} {identifier}"
        clean = f"code=$?; {runtime} delete -f {identifier} 2>/dev/null; exit $code"
        return self._run(f"{made.mount} && {run}; {clean}", dict(os.environ))

    def _run(self, command: str, environ: dict[str, str]) -> Seen:
        result = bundle.run_pure_v1(command, env=environ)
        assert result.returncode == 0, result.stderr
        return observations(result.stdout)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="module")
def found(places: Places) -> Found:
    """Return a function that tells what differs between gocker and a runtime, run once each."""

    @cache
    def by_gocker(service: str) -> Seen:
        return places.by_gocker(service)

    @cache
    def compare(runtime: str, service: str) -> Differing:
        assert shutil.which(runtime), f"this test needs {runtime}"
        return differences(by_gocker(service), places.by(runtime, service))

    return compare


def differences(ours: Seen, theirs: Seen) -> Differing:
    """Return key -> (ours, theirs) of what differs."""
    keys = sorted({*ours, *theirs})
    pairs = {key: (ours.get(key), theirs.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def unstated(found: Iterable[str], runtime: str) -> list[str]:
    """Return the keys that no stated difference covers."""
    patterns = [re.compile(item.keys) for item in DIFFERENCES if runtime in item.runtimes]
    return [key for key in found if not any(pattern.fullmatch(key) for pattern in patterns)]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_printed_configuration_means_the_same_to(
    runtime: str, service: str, found: Found
) -> None:
    differing = found(runtime, service)
    assert {key: differing[key] for key in unstated(differing, runtime)} == {}


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_every_stated_difference_is_there(runtime: str, found: Found) -> None:
    keys = [key for service in SERVICES for key in found(runtime, service)]
    stale = [
        item.keys for item in DIFFERENCES
        if runtime in item.runtimes and not any(re.fullmatch(item.keys, key) for key in keys)
    ]  # fmt: skip
    assert stale == []


def test_the_probe_sees_what_the_spec_asks_for(places: Places) -> None:
    seen = places.by_gocker("custom")
    wanted = {
        "status.Uid": "1000 1000 1000 1000",
        "status.Gid": "1001 1001 1001 1001",
        "status.NoNewPrivs": "1",
        "status.Seccomp": "2",
        "status.CapEff": "0000000000041000",  # NET_ADMIN, SYS_CHROOT
        "umask": "0022",
        "cwd": "/data",
        "hostname": "some-host",
        "domainname": "some-domain",
        "oom_score_adj": "321",
        "rlimit.open_files": "100 200 files",
        "cgroup.memory/memory.limit_in_bytes": f"{64 << 20} ",
        "cgroup.memory/memory.memsw.limit_in_bytes": f"{96 << 20} ",
        "cgroup.cpu/cpu.cfs_quota_us": "50000 ",
        "cgroup.pids/pids.max": "77 ",
        "env.NAME": "a = b",
    }
    assert {key: seen.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_masked_paths_tell_nothing_in_either(runtime: str, places: Places) -> None:
    for seen in (places.by_gocker("default"), places.by(runtime, "default")):
        masked = {key: value for key, value in seen.items() if key.startswith("masked.")}
        telling = {k: v for k, v in masked.items() if v.strip() not in _NOTHING}
        assert len(masked) == len(posture.MASKED_PATHS)
        assert telling == {}
