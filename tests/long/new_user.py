"""A new user's way, in an empty Debian: ``python -m tests.long.new_user``, as root.

Install, demo, a spec of one's own, a job that fails and why: ten commands at most, and nothing
known but what they print. Needs mmdebstrap, a Debian mirror, and pip's index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.support.command import ROOT

_RELEASE = "bookworm"
_PACKAGES = "python3,python3-venv,python3-pip"
# In a mount namespace of its own, as the root of everything that it sees.
_ENTER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
for it in proc sys dev; do mount --rbind /$it $it; done
mount -t tmpfs run run
mkdir -p old
pivot_root . old
umount -l /old
exec sh -c 'cd /root && exec "$0" "$@"' sh -ec "$2"
"""


class Step(NamedTuple):
    """A command that the user types, the exit code, and what has to be in the output."""

    command: str
    code: int = 0
    words: tuple[str, ...] = ()


STEPS = (
    Step("python3 -m venv /opt/gocker && "
         "/opt/gocker/bin/pip install --quiet --no-index --find-links /wheels gocker"),
    Step("ln -s /opt/gocker/bin/gocker /usr/local/bin/"),
    Step("gocker doctor"),
    Step("gocker demo", words=("8 jobs: 6 ok, 1 oom, 1 pids", "gocker down -p demo")),
    Step("gocker init", words=("wrote compose.yaml; gocker up runs it",)),
    Step("gocker up", words=("5 jobs: 5 ok", "matrix-large  | large")),
    Step("sed -i 's/echo all tests passed .*txt/echo disk full; exit 28/' compose.yaml"),
    # What failed, with which code, what it wrote, and what was not run because of it.
    Step("gocker up", 1, ("exit code 28", "disk full", "skipped because of test")),
    Step("sed -i 's/mem_limit: 64m/mem_limt: 64m/' compose.yaml; gocker up", 2,
         ("compose.yaml:", "mem_limt", "did you mean 'mem_limit'?")),
    Step("gocker down -p root --volumes && gocker down -p demo --volumes"),
)  # fmt: skip


def main() -> int:
    """Return 0 if every step went as a new user expects."""
    top = Path(tempfile.mkdtemp(prefix="gocker-new-user-", dir="/var/tmp"))
    try:
        chroot = top / "debian"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
        subprocess.run([*command, _RELEASE, chroot], check=True)
        subprocess.run(
            [sys.executable if _has_pip() else "python3", "-m", "pip", "wheel", "--quiet",
             "-w", chroot / "wheels", ROOT], check=True,
        )  # fmt: skip
        return _walk(chroot)
    finally:
        shutil.rmtree(top)


def _has_pip() -> bool:
    return (
        subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode
        == 0
    )


def _walk(chroot: Path) -> int:
    environ = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
               "TERM": os.environ.get("TERM", "dumb")}  # fmt: skip
    for number, step in enumerate(STEPS, 1):
        result = subprocess.run(
            ["unshare", "-m", "sh", "-c", _ENTER, "sh", chroot, step.command],
            env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        missing = [word for word in step.words if word not in result.stdout]
        good = result.returncode == step.code and not missing
        print(f"{number:2} {'ok ' if good else 'BAD'} {step.command}")
        if not good:
            print(f"   exit code {result.returncode}, missing {missing}\n{result.stdout}")
            return 1
    print(f"{len(STEPS)} commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
