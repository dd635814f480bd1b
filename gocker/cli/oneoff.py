"""What ``gocker run`` changes of a service for its one container."""

from __future__ import annotations

import os

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from typing import Any

    from gocker.cli.options import Parser
    from gocker.spec.load import Loaded


def add_changes(made: Parser) -> None:
    """Add the options that change the service."""
    add = made.add_argument
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]")
    add("-u", "--user", metavar="USER")
    add("-w", "--workdir", metavar="DIR")
    add("--entrypoint", metavar="COMMAND")
    add("-v", "--volume", action="append", default=[], metavar="SOURCE:TARGET[:OPTIONS]")
    add("--publish", action="append", default=[], metavar="PORT", help="as an entry of ports")
    add("-P", "--service-ports", action="store_true", help="publish the service's ports, too")
    add("-l", "--label", action="append", default=[], metavar="NAME[=VALUE]")
    add("--cap-add", action="append", default=[], metavar="CAP")
    add("--cap-drop", action="append", default=[], metavar="CAP")
    add("--name", metavar="NAME", help="of the container, as container_name")


def change(loaded: Loaded, arguments: argparse.Namespace, *, terminal: bool) -> None:
    """Change the canonical model's service to what the command line wants.

    Raises:
        UsageError: there is no such service, or an option's value is none.
    """
    model, name = loaded.model, arguments.service
    service = _service(model, name)
    # One container that runs once, whatever the service is.
    for key in ("restart", "scale", "container_name"):
        service.pop(key, None)
    if service.get("x-gocker"):
        service["x-gocker"].pop("matrix", None)
        service["x-gocker"].pop("on_supervisor_death", None)
    for key in ("replicas", "restart_policy"):
        (service.get("deploy") or {}).pop(key, None)
    service["tty"] = terminal
    # Typed input goes through a pipe of ours; a pipe or a file is passed as it is.
    service["stdin_open"] = os.isatty(0) and not terminal
    _program(service, arguments)
    _surroundings(service, arguments)
    for word in arguments.volume:
        _add_volume(loaded, service, word)
    if arguments.no_deps:
        service.pop("depends_on", None)
        model["services"] = {name: service}


def _service(model: dict[str, Any], name: str) -> dict[str, Any]:
    services = model.setdefault("services", {})
    if name in model.get("jobs", {}):
        services[name] = model.pop("jobs")[name]
    if name not in services:
        from gocker.cli.naming import no_such_service

        raise no_such_service([name], services)
    service: dict[str, Any] = services[name]
    return service


def _program(service: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.entrypoint is not None:
        import shlex

        service["entrypoint"] = shlex.split(arguments.entrypoint)
        service["command"] = []
    if arguments.command:
        service["command"] = arguments.command
    if arguments.env:
        from gocker.cli.exec import variables

        given = dict(item.split("=", 1) for item in variables(arguments.env))
        service["environment"] = {**service.get("environment", {}), **given}
    if arguments.user is not None:
        service["user"] = arguments.user
    if arguments.workdir is not None:
        service["working_dir"] = arguments.workdir


def _surroundings(service: dict[str, Any], arguments: argparse.Namespace) -> None:
    from gocker.spec import shortforms

    ports = list(service.pop("ports", ())) if arguments.service_ports else []
    service.pop("ports", None)
    for word in arguments.publish:
        ports += _parsed("--publish", shortforms.ports, word)
    if ports:
        service["ports"] = ports
    if arguments.label:
        pairs = (word.partition("=") for word in arguments.label)
        found = {name: value for name, _, value in pairs}
        service["labels"] = {**(service.get("labels") or {}), **found}
    for key, words in (("cap_add", arguments.cap_add), ("cap_drop", arguments.cap_drop)):
        if words:
            service[key] = [*_without(service.get(key) or (), words), *words]
    if arguments.name is not None:
        service["container_name"] = arguments.name


def _without(items: Iterable[str], words: list[str]) -> list[str]:
    return [item for item in items if item not in words]


def _add_volume(loaded: Loaded, service: dict[str, Any], word: str) -> None:
    """Mount a path or a named volume, in place of what the service has at its target."""
    from gocker.spec import shortforms

    made = _parsed("-v", shortforms.volume, word)
    source = made.get("source", "")
    if made["type"] == "bind":
        made["source"] = os.path.abspath(os.path.expanduser(source))
    elif source:
        volumes = loaded.model.setdefault("volumes", {})
        known = (loaded.resources.get("volumes") or {}).get(source)
        volumes.setdefault(source, known or {"name": f"{loaded.name}_{source}"})
    others = [item for item in service.get("volumes") or () if item["target"] != made["target"]]
    service["volumes"] = [*others, made]


def _parsed(option: str, parse: Any, word: str) -> Any:
    try:
        return parse(word)
    except ValueError as error:
        raise UsageError(f"gocker run {option}: {error}") from error
