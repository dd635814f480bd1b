"""An OCI bundle of one service, for runtimes other than ours."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gocker import oci
from gocker.image.resolve import resolve
from gocker.plan.build import build
from gocker.plan.container import Host
from gocker.spec.model.project import Project
from gocker.spec.model.roles import roles
from gocker.state.roots import Roots

if TYPE_CHECKING:
    from gocker.plan.model import Container, Plan

APPLETS = ("sh", "true", "cat", "sleep", "stat", "head", "id", "dd", "touch", "ls", "readlink")
# crun and podman refuse a hybrid cgroup layout; without these two mounts it is a v1 layout.
# Where they are not there, it is none.
PURE_V1 = "umount /sys/fs/cgroup/unified /sys/fs/cgroup/systemd 2>/dev/null;"


@dataclass(frozen=True)
class Bundle:
    """A bundle's directory, and the command that mounts its root file system."""

    path: Path
    mount: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        return found


def make_rootfs(directory: Path) -> Path:
    """Fill a directory with busybox, its applets and the files of users."""
    busybox = shutil.which("busybox")
    assert busybox, "this needs busybox-static"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc/group").write_text("root:x:0:\n")
    return directory


def make_plan(model: dict[str, Any], state: Path) -> Plan:
    """Return the plan of a canonical model, with gocker's own state below `state`."""
    project = Project.from_canonical(model, lambda _: None)
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    with Roots(str(state / "data"), str(state / "live")) as opened:
        host = Host(
            rootfs=lambda reference: resolve(reference, opened, str(state)),
            volumes_root=str(state / "data/volumes"),
            hard_limits={
                name: resource.getrlimit(getattr(resource, name))[1]
                for name in names
                if name != "RLIMIT_OFILE"
            },
            capabilities=_bounding_set(),
            ipv6=os.path.exists("/proc/sys/net/ipv6"),
            cpus=len(os.sched_getaffinity(0)),
        )
        return build(project, roles(project), host)


def _bounding_set() -> frozenset[str]:
    from gocker.linux import capability

    return capability.bounding_set()


def write_bundle(container: Container, directory: Path) -> Bundle:
    """Write config.json, the generated files and an empty ``rootfs`` into a directory."""
    assert not container.hidden, "what an image hides is no part of an OCI configuration"
    for name in ("rootfs", "upper", "work", "files"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    mounts = list(container.config["mounts"])
    for number, file in enumerate([*container.files, *container.grants]):
        mounts.append(_bind(file, directory / "files" / str(number)))
        if number >= len(container.files):
            mounts[-1]["options"].append("ro")
    config = {**container.config, "mounts": mounts}
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    options = f"lowerdir={':'.join(container.lower)},upperdir={directory}/upper"
    options += f",workdir={directory}/work"
    return Bundle(directory, ("mount", "-t", "overlay", "-o", f"nodev,{options}", "overlay",
                              str(directory / "rootfs")))  # fmt: skip


def _bind(file: oci.File, path: Path) -> oci.Mount:
    path.write_text(file["content"])
    path.chmod(file["mode"])
    if "uid" in file:
        os.chown(path, file["uid"], file["gid"])
    options = ["bind", "private", "nosuid", "nodev", "noexec"]
    return {"destination": file["path"], "type": "bind", "source": str(path), "options": options}


def gocker_config(model: dict[str, Any], service: str, directory: Path) -> Bundle:
    """Return the bundle that ``gocker config --oci SERVICE --bundle DIRECTORY`` describes."""
    plan = make_plan(model, directory / "state")
    return write_bundle(plan.containers[service], directory)


def run_pure_v1(command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a mount namespace of its own with a pure v1 view of cgroups."""
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", PURE_V1 + command],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, **options,
    )  # fmt: skip
