"""``gocker network``: the networks of projects that are under way.

A network lives in its project's namespace and goes with it: there is nothing to create before
or to remove after.
"""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import parser as new_parser
from gocker.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.scheduler.launcher import Launcher
    from gocker.state.networks import NetworkState
    from gocker.state.roots import Roots
    from gocker.state.run import Run

_WHY = "a network lives in its project's namespace and goes with it"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("network", "List, inspect and change the networks of running projects.")
    add = made.add_argument
    add("action", choices=("ls", "inspect", "connect", "disconnect", "create", "rm", "prune"))
    add("words", nargs="*", metavar="NETWORK|SERVICE")
    add("--alias", action="append", default=[], metavar="NAME", help="connect: a further name")
    add("--ip", metavar="ADDRESS", help="connect: its IPv4 address")
    add("--ip6", metavar="ADDRESS", help="connect: its IPv6 address")
    add("-q", "--quiet", action="store_true", help="ls: only names")
    add("--format", choices=("table", "json", "jsonl"), default="table")
    # As docker's users write it: options between the action and its words.
    vars(made)["parse_args"] = made.parse_intermixed_args
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Carry out the action."""
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        if arguments.action == "ls":
            return _list(arguments, roots)
        if arguments.action == "inspect":
            return _inspect(arguments, roots)
        if arguments.action in ("connect", "disconnect"):
            return _change(arguments, roots)
    if arguments.action == "prune":
        return 0  # nothing outlives its project
    raise UsageError(
        f"gocker network {arguments.action}: {_WHY}",
        hint="declare it under networks: in the spec; networks between projects are not built yet",
    )


def _found(arguments: argparse.Namespace, roots: Roots) -> list[tuple[Run, NetworkState]]:
    from gocker.cli.sweeping import living
    from gocker.state.networks import networks
    from gocker.state.run import runs

    project = arguments.project_name
    alive = living(roots, project) if project else [it for it in runs(roots) if it.alive()]
    return [(run, network) for run in alive for network in networks(run)]


def _list(arguments: argparse.Namespace, roots: Roots) -> int:
    from gocker.report.table import rows_as

    found = [network for _, network in _found(arguments, roots)]
    if arguments.quiet:
        sys.stdout.write("".join(f"{it.name}\n" for it in found))
        return 0
    rows = [
        {"Name": it.name, "Project": it.project, "Driver": it.driver,
         "Internal": it.internal, "Subnets": " ".join(it.subnets), "Run": it.run}
        for it in found
    ]  # fmt: skip
    sys.stdout.write(rows_as(rows, arguments.format))
    return 0


def _one(arguments: argparse.Namespace, roots: Roots, name: str) -> tuple[Run, NetworkState]:
    found = _found(arguments, roots)
    for run, network in found:
        if name in (network.name, network.key):
            return run, network
    known = ", ".join(network.name for _, network in found) or "none"
    raise HostError(f"there is no network {name!r}", hint=f"there are: {known}")


def _show(run: Run) -> dict[str, Any]:
    from gocker.scheduler.network import SOCKET
    from gocker.state.sockets import ask

    return ask(run, SOCKET, {"op": "show"})


def _inspect(arguments: argparse.Namespace, roots: Roots) -> int:
    import json

    documents = []
    for name in arguments.words or [""]:
        run, network = _one(arguments, roots, name)
        shown = _show(run)
        documents.append({
            "Name": network.name, "Project": network.project, "Driver": network.driver,
            "Internal": network.internal, "Subnets": list(network.subnets),
            "Containers": {
                it["unit"]: {"MacAddress": it["mac"], "Addresses": it["addresses"]}
                for it in shown["containers"] if it["network"] == network.key
            },
            "Names": {name: found for key, name, found in shown["names"] if key == network.key},
        })  # fmt: skip
    sys.stdout.write(json.dumps(documents, indent=2) + "\n")
    return 0


def _change(arguments: argparse.Namespace, roots: Roots) -> int:
    """Connect a container to a network of its project, or take it off."""
    from gocker.scheduler.network import SOCKET
    from gocker.state.living import choose, of
    from gocker.state.sockets import ask

    if len(arguments.words) != 2:
        raise UsageError(f"gocker network {arguments.action}: takes a network and a service")
    name, service = arguments.words
    run, network = _one(arguments, roots, name)
    container = choose(of(run), service, None)
    message: dict[str, Any] = {
        "op": arguments.action, "unit": container.instance, "network": network.key,
    }  # fmt: skip
    if arguments.action == "connect":
        names = [container.instance, container.service, *arguments.alias]
        message |= {
            "names": list(dict.fromkeys(names)), "domain": network.name,
            "addresses": [it for it in (arguments.ip, arguments.ip6) if it],
        }  # fmt: skip
    answer = ask(run, SOCKET, message)
    for address in answer["addresses"]:
        sys.stdout.write(f"{address}\n")
    return 0
