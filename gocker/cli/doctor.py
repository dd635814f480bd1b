"""``gocker doctor``: what this host can do, what is missing, and the command that mends it."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from gocker.cli.facts import read
from gocker.errors import GockerError

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
    findings = [*_host(), *_trial(launcher)]
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
    if os.geteuid() == 0:
        yield Finding("ok", "privileges", "root")
    else:
        yield Finding(
            "fail", "privileges", f"uid {os.geteuid()}: rootless is not built yet", "sudo gocker …"
        )
    if "overlay" not in read("/proc/filesystems"):
        yield Finding("fail", "overlay", "the kernel does not know overlayfs", "modprobe overlay")
    if "Seccomp:" not in read("/proc/self/status"):
        yield Finding(
            "fail", "seccomp", "the kernel has no seccomp filters", "CONFIG_SECCOMP_FILTER"
        )
    yield from _space()


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
            yield from _run_trial(launcher, roots)
    except GockerError as error:
        cause = error.__cause__
        because = f" ({cause.message})" if isinstance(cause, GockerError) else ""
        yield Finding("fail", "container", error.message + because, error.hint or "")


def _run_trial(launcher: Launcher, roots: Roots) -> Iterator[Finding]:
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
    for limit, _, reason in answer["skipped"]:
        yield Finding("warn", limit, f"cannot be limited here: {reason}", _remedy(limit))


def _remedy(limit: str) -> str:
    controller = {"blockIO": "blkio"}.get(limit.split(".")[0], limit.split(".")[0])
    return f"enable the cgroup controller {controller!r}, or set x-gocker.limits: best-effort"


def _one_cpu() -> str:
    return str(min(os.sched_getaffinity(0)))
