"""``gocker config``: the spec as gocker understands it."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from gocker.cli.options import load, make_plan
from gocker.cli.options import parser as new_parser
from gocker.errors import HostError, UsageError

if TYPE_CHECKING:
    from gocker.plan.model import Container
    from gocker.scheduler.launcher import Launcher
    from gocker.spec.load import Loaded
    from gocker.spec.model import Project


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("config", "Print the spec as gocker understands it.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE")
    add("--oci", metavar="SERVICE", help="the OCI config.json of a service's container")
    add("--bundle", metavar="DIR", help="with --oci: write a whole bundle into DIR")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print what was asked for."""
    loaded, project = load(arguments, arguments.words)
    sys.stdout.write(_oci(arguments, loaded, project))
    return 0


def _oci(arguments: argparse.Namespace, loaded: Loaded, project: Project) -> str:
    from gocker.plan import bundle
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        plan = make_plan(loaded, project, roots)
    if arguments.oci not in plan.containers:
        raise UsageError(
            f"--oci: no such service: {arguments.oci!r}",
            hint=f"one of {', '.join(plan.containers)}",
        )
    container = plan.containers[arguments.oci]
    directory = os.path.abspath(arguments.bundle or os.curdir)
    text = bundle.as_json(bundle.config(container, arguments.oci, directory))
    if arguments.bundle is None:
        return text
    _write_bundle(container, directory, text)
    return bundle.mount_command(container, directory) + "\n"


def _write_bundle(container: Container, directory: str, config: str) -> None:
    """Write config.json, the generated files and the empty directories that it speaks of."""
    from gocker.plan import bundle

    try:
        for name in ("rootfs", "upper", "work", "files"):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        _write(os.path.join(directory, "config.json"), config, 0o600)
        for number, file in enumerate(bundle.files(container)):
            path = os.path.join(directory, "files", str(number))
            _write(path, file["content"], file["mode"])
            os.chown(path, file.get("uid", 0), file.get("gid", 0))
    except OSError as error:
        raise HostError(f"cannot write the bundle {directory!r}: {error.strerror}") from error


def _write(path: str, content: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    os.chmod(path, mode)
