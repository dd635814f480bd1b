"""``gocker net debug``: addresses, routes, rules, and who resolves what, of one container."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import parser as new_parser
from gocker.cli.project import project_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker.scheduler.launcher import Launcher
    from gocker.state.living import Living


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("net", "Tell what a container's network is like.")
    add = made.add_argument
    add("action", choices=("debug",))
    add("service", metavar="SERVICE")
    add("--index", type=int, metavar="N", help="of the service's containers, from 1")
    add("--rules", action="store_true", help="the nftables rules, too")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print it, in words and lines."""
    from gocker.report.human import safe
    from gocker.scheduler.network import SOCKET
    from gocker.state.living import choose, running
    from gocker.state.roots import Roots
    from gocker.state.sockets import ask

    name = project_name(arguments)
    with Roots.open(os.environ) as roots:
        living = choose(running(roots, name), arguments.service, arguments.index)
        made, _names = living.made()
        shown: dict[str, Any] = {}
        if made.network is not None:
            shown = ask(living.run, SOCKET, {"op": "show"})
        for line in _lines(living, shown, rules=arguments.rules):
            sys.stdout.write(safe(line) + "\n")
    return 0


def _lines(living: Living, shown: dict[str, Any], *, rules: bool) -> Iterator[str]:
    from gocker.state import networks

    yield f"{living.instance}: container {living.id}, pid {living.pid}"
    if not shown:
        yield "no network of the project's: loopback only, or the host's network"
    yield "interfaces: " + " ".join(networks.interfaces(living.pid))
    yield "addresses:"
    for interface, address in networks.addresses(living.pid):
        yield f"  {address}{interface and f' on {interface}'}"
    yield "routes:"
    for destination, via, interface in networks.routes(living.pid):
        yield f"  {destination}{via and f' via {via}'} dev {interface}"
    mine = [it for it in shown.get("containers", []) if it["unit"] == living.instance]
    for it in mine:
        where = f"port {it['port']}, {it['mac']}, {' '.join(it['addresses'])}"
        yield f"network {it['network']}: {where}"
    keys = {it["network"] for it in mine}
    if keys:
        yield "names it can resolve:"
    for key, name, addresses in shown.get("names", []):
        if key in keys:
            yield f"  {name} ({key}): {' '.join(addresses)}"
    for port in networks.ports(living.run):
        if port.instance == living.instance:
            yield f"published: {port.host}:{port.published}/{port.protocol} -> {port.target}"
    if rules:
        yield "rules of the project's namespace:"
        yield from shown.get("rules", "").splitlines()
        yield "rules of the host (all tables):"
        yield from shown.get("host_rules", "").splitlines()
