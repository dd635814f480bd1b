"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

import gocker

_VERSIONS = {
    "crun": ("crun", "--version"),
    "runc": ("runc", "--version"),
    "bubblewrap": ("bwrap", "--version"),
    "podman": ("podman", "--version"),
    "docker": ("dockerd", "--version"),
    "docker-compose": ("docker-compose", "--version"),
    "podman-compose": ("dpkg-query", "-W", "-f", "${Version}", "podman-compose"),
}


def describe() -> dict[str, str]:
    """Return facts of this machine and the versions of all contenders, as text."""
    commit = _first_line("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    facts = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": os.uname().release,
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cpus": str(len(os.sched_getaffinity(0))),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "load": load(),
        "python": platform.python_version(),
        "gocker": f"{gocker.__version__} {commit}",
    }
    return facts | {name: _first_line(*argv) for name, argv in _VERSIONS.items()}


def load() -> str:
    """Return the load averages of 1, 5 and 15 minutes: how busy others keep the machine."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _field(path: str, name: str) -> str:
    with open(path) as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return "unknown"


def _first_line(*argv: str) -> str:
    try:
        result = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not there"
    return result.stdout.partition("\n")[0]
