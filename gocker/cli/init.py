"""``gocker init``: a spec to begin with, every line explained."""

from __future__ import annotations

import os
import re
import sys

from gocker.cli.options import Parser, say
from gocker.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.scheduler.launcher import Launcher

NAME = "compose.yaml"  # the first of `gocker.spec.find.NAMES`

SPEC = """\
# gocker up           runs this; gocker validate tells what is wrong with it
# gocker explain, gocker graph, gocker config   tell what it means
# It is a Compose file; what is below x-gocker is gocker's own (docs/batch.md).
name: {name}

services:
  # A service that others need. It lives until they are done.
  store:
    # No image: the host's own files, read-only, and a layer to write to. Or: image: alpine:3.20
    # No network either; without this line: one of the project's own, with names (needs nftables).
    network_mode: none
    command: [sh, -c, "echo ready > /data/state; exec sleep 1000"]
    volumes:
      - data:/data
    # When it counts as ready.
    healthcheck:
      test: [CMD, test, -s, /data/state]
      interval: 200ms
      retries: 25
    # How it is told to end; sleep(1) as the first process of a container ignores SIGTERM.
    stop_signal: SIGKILL

  # A job: it runs to its end, and its exit code counts.
  test:
    network_mode: none
    command: [sh, -c, "cat /data/state; echo all tests passed | tee /tmp/result.txt"]
    volumes:
      - data:/data:ro
    depends_on:
      store: {{condition: service_healthy}}
    # What it may use. Each limit is read back from the kernel, and a kill has a reason.
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 50
    x-gocker:
      # Longer than this is a failure, tried again once.
      timeout: 1m
      retry: {{max: 1}}
      # Copied out of the container into .gocker/runs/.
      artifacts: {{paths: [/tmp/result.txt]}}

  # One job for each value, at most two at once.
  matrix:
    network_mode: none
    command: [sh, -c, "echo $$GOCKER_MATRIX_SIZE"]
    depends_on:
      test: {{condition: service_completed_successfully}}
    x-gocker:
      matrix:
        SIZE: [small, medium, large]
        max_parallel: 2

volumes:
  data: {{}}
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser("init", f"Write a commented spec to begin with, {NAME}.")
    made.add_argument("file", nargs="?", metavar="FILE", help=f"default: {NAME}; - is stdout")
    made.add_argument("--name", help="of the project; default: the directory's")
    made.add_argument("--force", action="store_true", help="replace a file that is there")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Write the file; one that is there is never replaced unasked."""
    text = SPEC.format(name=_name(arguments.name))
    if arguments.file == "-":
        sys.stdout.write(text)
        return 0
    path = arguments.file or _default(force=arguments.force)
    how = os.O_TRUNC if arguments.force else os.O_EXCL
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC, 0o644)
        with open(fd, "w") as file:
            file.write(text)
    except FileExistsError:
        raise HostError(f"{path!r} is there already", hint="--force replaces it") from None
    except OSError as error:
        raise HostError(f"cannot write {path!r}: {error.strerror}") from error
    say(f"wrote {path}; gocker up runs it")
    return 0


def _default(*, force: bool) -> str:
    """Return the file's name, where no other one would be found instead of it."""
    from gocker.spec.find import NAMES

    found = [name for name in NAMES if os.path.lexists(name)]
    if found and not force:
        raise HostError(f"{found[0]!r} is there already", hint="--force, or name another file")
    return NAME


def _name(given: str | None) -> str:
    if given is not None and not re.fullmatch("[a-z0-9][a-z0-9_-]*", given):
        raise UsageError(
            f"--name {given!r} is no project name",
            hint="lower case letters, digits, - and _; a letter or digit first",
        )
    made = re.sub("[^a-z0-9_-]", "", os.path.basename(os.getcwd()).lower()).lstrip("_-")
    return given or made or "first"
