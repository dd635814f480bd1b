"""``gocker port``: where a container's port is on the host."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import parser as new_parser
from gocker.cli.project import project_name
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher
    from gocker.state.networks import PortState


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("port", "Print the address and port of the host that lead to a port.")
    add = made.add_argument
    add("service", metavar="SERVICE")
    add("port", nargs="?", type=int, metavar="PORT", help="the container's; default: all")
    add("--protocol", choices=("tcp", "udp"), default=None)
    add("--index", type=int, metavar="N", help="of the service's containers, from 1")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print ``ADDRESS:PORT``, or all of them with what they lead to."""
    from gocker.cli.sweeping import living
    from gocker.state.networks import ports
    from gocker.state.roots import Roots

    name = project_name(arguments)
    with Roots.open(os.environ) as roots:
        found = [it for run in living(roots, name) for it in ports(run)]
    mine = _of(found, arguments.service, arguments.index)
    protocol = arguments.protocol or ("tcp" if arguments.port else None)
    chosen = [
        it for it in mine if arguments.port in (None, it.target) and protocol in (None, it.protocol)
    ]
    if not chosen:
        wanted = f"{arguments.port}/{protocol}" if arguments.port else "any port"
        others = ", ".join(f"{it.target}/{it.protocol}" for it in mine) or "nothing"
        raise HostError(
            f"{arguments.service!r} does not publish {wanted}", hint=f"it publishes {others}"
        )
    for it in chosen:
        where = f"[{it.host}]" if ":" in it.host else it.host
        line = f"{where}:{it.published}"
        if arguments.port is None:
            line = f"{it.target}/{it.protocol} -> {line}"
        sys.stdout.write(f"{line}\n")
    return 0


def _of(found: list[PortState], service: str, index: int | None) -> list[PortState]:
    """Return the ports of one instance of a service."""
    mine = [it for it in found if service in (it.service, it.instance)]
    instances = list(dict.fromkeys(it.instance for it in mine))
    place = (index or 1) - 1
    if not 0 <= place < len(instances):
        return []
    return [it for it in mine if it.instance == instances[place]]
