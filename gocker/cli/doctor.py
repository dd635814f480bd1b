"""``gocker doctor``: what this host can do, what is missing, and the command that mends it."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from gocker.cli.facts import read
from gocker.errors import GockerError, from_wire
from gocker.nested import has_one_id, in_user_namespace, program
from gocker.state import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots

Status = Literal["ok", "warn", "fail"]
_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy`: the command that mends it."""

    status: Status
    what: str
    detail: str
    remedy: str = ""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(
        prog="gocker doctor", allow_abbrev=False,
        description="Tell what this host can do, by trying it; exit code 3 if it is not enough.",
    )  # fmt: skip
    made.add_argument("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Print the findings; exit code 3 if one of them is a failure."""
    findings = [*_host()]
    if rootless.failure() is None:
        findings += _trial(launcher)
    if arguments.format == "table":
        for item in findings:
            sys.stdout.write(f"{item.status:<4}  {item.what:<18}  {item.detail}\n")
            if item.remedy:
                sys.stdout.write(f"      {'':<18}  -> {item.remedy}\n")
    else:
        from gocker.report.table import rows_as

        sys.stdout.write(rows_as([asdict(item) for item in findings], arguments.format))
    return 3 if any(item.status == "fail" for item in findings) else 0


def _host() -> Iterator[Finding]:
    version = sys.version.split()[0]
    yield Finding("ok", "python", f"{version}, {sys.executable}")
    kernel = os.uname().release
    numbers = tuple(int(part) for part in kernel.split("-")[0].split(".")[:2])
    if numbers < (5, 12):
        yield Finding(
            "fail", "kernel", f"{kernel}: mount_setattr(2) needs 5.12", "upgrade the kernel"
        )
    else:
        pool = (
            "" if numbers >= (6, 15) else "; overlays are made anew for each container before 6.15"
        )
        yield Finding("ok", "kernel", kernel + pool)
    yield from _privileges()
    if "overlay" not in read("/proc/filesystems"):
        yield Finding("fail", "overlay", "the kernel does not know overlayfs", "modprobe overlay")
    if "Seccomp:" not in read("/proc/self/status"):
        yield Finding(
            "fail", "seccomp", "the kernel has no seccomp filters", "CONFIG_SECCOMP_FILTER"
        )
    yield from _space()


def _privileges() -> Iterator[Finding]:
    failure = rootless.failure()
    if failure is not None:
        error = from_wire(failure)
        yield Finding(
            "fail", "privileges", f"uid {rootless.uid()}: {error.message}", error.hint or ""
        )
        return
    if not in_user_namespace():
        yield Finding("ok", "privileges", "root")
        return
    who = f"uid {rootless.uid()}, root of a user namespace"
    if has_one_id():
        first, user = 100_000, os.environ.get("USER") or rootless.uid()
        ids = f"{first}-{first + 65535}"
        yield Finding(
            "warn", "privileges", f"{who} with one id: no image with files of others can run",
            "as root: apt-get install uidmap; "
            f"usermod --add-subuids {ids} --add-subgids {ids} {user}",
        )  # fmt: skip
    else:
        count = sum(int(line.split()[2]) for line in read("/proc/self/uid_map").splitlines())
        yield Finding("ok", "privileges", f"{who} with {count} ids")
    yield from _way_out()


def _way_out() -> Iterator[Finding]:
    """Tell whether an ordinary user's networks can lead out."""
    if not program("slirp4netns"):
        yield Finding("warn", "network", "no slirp4netns: networks are internal, or the host's",
                      "as root: apt-get install slirp4netns")  # fmt: skip
    elif not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        yield Finding("warn", "network", "/dev/net/tun cannot be opened: networks are internal",
                      "as root: modprobe tun; chmod 666 /dev/net/tun")  # fmt: skip
    else:
        yield Finding("ok", "network", "slirp4netns")


def _space() -> Iterator[Finding]:
    from gocker.report.human import size
    from gocker.state.roots import Roots

    try:
        with Roots.open(os.environ) as roots:
            free = os.statvfs(roots.data)
            detail = f"{roots.data}, {size(free.f_bavail * free.f_frsize)} free"
            low = free.f_bavail * free.f_frsize < 1 << 30
            yield Finding("warn" if low else "ok", "data root", detail,
                          "free some space" if low else "")  # fmt: skip
    except GockerError as error:
        yield Finding("fail", "data root", error.message, error.hint or "")


def _trial(launcher: Launcher) -> Iterator[Finding]:
    """Start one container with every kind of limit, and report what the kernel refused."""
    from gocker.cli.opening import prepare_launcher
    from gocker.state.roots import Roots

    try:
        with Roots.open(os.environ) as roots:
            ready = prepare_launcher(launcher, roots, None)
            yield Finding("ok", "cgroup", ready["cgroup"])
            yield from _limits(ready)
            yield from _run_trial(launcher, roots, ready)
    except GockerError as error:
        cause = error.__cause__
        because = f" ({cause.message})" if isinstance(cause, GockerError) else ""
        yield Finding("fail", "container", error.message + because, error.hint or "")


def _limits(ready: dict[str, Any]) -> Iterator[Finding]:
    """Tell if no limit can be set at all, once for all of them."""
    if ready["controllers"]:
        return
    if ready["cgroup"] == "v2":
        remedy = "systemd-run --user --scope -p Delegate=yes gocker …"
    else:
        remedy = (
            "as root, for each controller: D=/sys/fs/cgroup/memory/me; mkdir $D; "
            f"chown {rootless.uid()} $D $D/tasks $D/cgroup.procs; echo PID > $D/cgroup.procs"
        )
    yield Finding(
        "warn", "limits", "no cgroup is this user's: limits are refused, or with "
        "--limits best-effort left out", remedy,
    )  # fmt: skip


def _run_trial(launcher: Launcher, roots: Roots, ready: dict[str, Any]) -> Iterator[Finding]:
    from gocker.cli.facts import facts
    from gocker.cli.host import host_of
    from gocker.image.resolve import resolve
    from gocker.plan.container import container
    from gocker.spec.model import load

    project = load({"name": "doctor", "services": {"trial": {
        "command": ["/bin/true"], "mem_limit": str(_MEMORY), "memswap_limit": str(_MEMORY),
        "mem_reservation": str(_MEMORY // 2), "cpus": 0.5, "cpu_shares": 512, "cpuset": _one_cpu(),
        "pids_limit": 16, "blkio_config": {"weight": 500},
    }}}, lambda _: None)  # fmt: skip
    made = container(
        project.services["trial"], "trial", project,
        host_of(facts(roots), os.environ, lambda reference: resolve(reference, roots, "/")),
        job=True,
    )  # fmt: skip
    name = f"doctor-{os.getpid()}"
    config: dict[str, Any] = {**made.config}
    config["linux"] = {**made.config["linux"], "cgroupsPath": name}
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        answer = launcher.call({
            "op": "start", "id": name, "config": config, "best_effort": True,
            "overlay": {"lower": made.lower, "hidden": made.hidden}, "files": made.files,
        }, (null, null, null))  # fmt: skip
    finally:
        os.close(null)
    yield Finding("ok", "container", f"started in {answer['start_s'] * 1000:.1f} ms")
    for limit, _, effective, file in answer["applied"]:
        yield Finding("ok", limit, f"{file} reads {effective}")
    for limit, _, reason in answer["skipped"] if ready["controllers"] else ():
        yield Finding("warn", limit, f"cannot be limited here: {reason}", _remedy(limit))


def _remedy(limit: str) -> str:
    controller = {"blockIO": "blkio"}.get(limit.split(".")[0], limit.split(".")[0])
    return f"enable the cgroup controller {controller!r}, or set x-gocker.limits: best-effort"


def _one_cpu() -> str:
    return str(min(os.sched_getaffinity(0)))
