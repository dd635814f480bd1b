"""Fills in defaults and checks single values, after all files were merged.

Source: the reference's transform/defaults.go and validation/.
"""

from __future__ import annotations

from gocker.spec.nodes import Mapping, Scalar, Sequence
from gocker.spec.shortforms import is_ip
from gocker.spec.units import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.spec.nodes import Node, Value
    from gocker.spec.problems import Problems


def with_defaults(node: Node, **defaults: Value) -> Node:
    """Return a mapping with the keys it lacks; anything else as it is."""
    if not isinstance(node, Mapping):
        return node
    missing: dict[str, Node] = {
        key: Scalar(value, node.place, None, "default")
        for key, value in defaults.items()
        if key not in node.items
    }
    if not missing:
        return node
    return Mapping({**node.items, **missing}, node.place, node.keys, node.tag)


def replaced(node: Mapping, key: str, value: Node) -> Mapping:
    """Return `node` with one value replaced."""
    if node.items.get(key) is value:
        return node
    return Mapping({**node.items, key: value}, node.place, node.keys, node.tag)


def set_defaults(project: Mapping) -> Mapping:
    """Return the project with the defaults that do not depend on other keys."""
    for section in ("services", "jobs"):
        services = project.get(section)
        if isinstance(services, Mapping):
            items = {name: _service(service) for name, service in services.items.items()}
            project = replaced(project, section, Mapping(items, services.place, services.keys))
    return project


def _service(service: Node) -> Node:
    if not isinstance(service, Mapping):
        return service
    for key, form in _SERVICE.items():
        item = service.items.get(key)
        if item is not None:
            service = replaced(service, key, form(item))
    return service


def _each(node: Node, form: Callable[[Node], Node]) -> Node:
    if not isinstance(node, Sequence):
        return node
    items = [form(item) for item in node.items]
    if all(new is old for new, old in zip(items, node.items, strict=True)):
        return node
    return Sequence(items, node.place, node.tag)


def _port(node: Node) -> Node:
    return with_defaults(node, protocol="tcp", mode="ingress")


def _secret(node: Node) -> Node:
    source = node.value("source") if isinstance(node, Mapping) else None
    return with_defaults(node, target=f"/run/secrets/{source}")


def _volume(node: Node) -> Node:
    bind = node.get("bind") if isinstance(node, Mapping) else None
    if bind is None or not isinstance(node, Mapping):
        return node
    return replaced(node, "bind", with_defaults(bind, create_host_path=True))


def _request(node: Node) -> Node:
    if isinstance(node, Mapping) and "device_ids" in node.items:
        return node
    return with_defaults(node, count="all")


def _deploy(node: Node) -> Node:
    if not isinstance(node, Mapping):
        return node
    resources = node.get("resources")
    reservations = resources.get("reservations") if isinstance(resources, Mapping) else None
    devices = reservations.get("devices") if isinstance(reservations, Mapping) else None
    if devices is None or not isinstance(resources, Mapping):
        return node
    assert isinstance(reservations, Mapping)  # noqa: S101  # devices were found in it
    wide = replaced(reservations, "devices", _each(devices, _request))
    return replaced(node, "resources", replaced(resources, "reservations", wide))


_SERVICE: dict[str, Callable[[Node], Node]] = {
    "build": lambda node: with_defaults(node, context="."),
    "deploy": _deploy,
    "gpus": lambda node: _each(node, _request),
    "ports": lambda node: _each(node, _port),
    "secrets": lambda node: _each(node, _secret),
    "volumes": lambda node: _each(node, _volume),
}


def check_values(project: Mapping, problems: Problems) -> None:
    """Check what the schema cannot say about single services and resources."""
    for section in ("services", "jobs"):
        for path, service in _entries(project, section):
            _check_targets(service, path, problems)
            _check_ports(service, path, problems)
            _check_requests(service.get("gpus"), f"{path}.gpus", problems)
            deploy = service.get("deploy")
            if isinstance(deploy, Mapping):
                _check_deploy(deploy, f"{path}.deploy", problems)
    for path, volume in _entries(project, "volumes"):
        _check_external(volume, path, problems)
    for path, config in _entries(project, "configs"):
        _check_source(config, ("file", "environment", "content"), path, problems)
    for path, secret in _entries(project, "secrets"):
        _check_source(secret, ("file", "environment"), path, problems)


def _entries(project: Mapping, section: str) -> list[tuple[str, Mapping]]:
    found = project.get(section)
    if not isinstance(found, Mapping):
        return []
    return [
        (f"{section}.{name}", item)
        for name, item in found.items.items()
        if isinstance(item, Mapping)
    ]


def _check_targets(service: Mapping, path: str, problems: Problems) -> None:
    for key in ("ports", "volumes", "devices"):
        listed = service.get(key)
        for index, item in enumerate(listed.items if isinstance(listed, Sequence) else ()):
            if isinstance(item, Mapping) and "target" not in item.items:
                problems.add(item.place, f"{path}.{key}[{index}]", "missing key 'target'")


def _check_ports(service: Mapping, path: str, problems: Problems) -> None:
    ports = service.get("ports")
    for index, port in enumerate(ports.items if isinstance(ports, Sequence) else ()):
        host = port.value("host_ip") if isinstance(port, Mapping) else None
        if isinstance(host, str) and "${" not in host and not is_ip(host):
            problems.add(
                port.place, f"{path}.ports[{index}].host_ip", f"invalid IP address {shorten(host)}"
            )


def _check_deploy(deploy: Mapping, path: str, problems: Problems) -> None:
    resources = deploy.get("resources")
    reservations = resources.get("reservations") if isinstance(resources, Mapping) else None
    if isinstance(reservations, Mapping):
        where = f"{path}.resources.reservations.devices"
        _check_requests(reservations.get("devices"), where, problems)


def _check_requests(node: Node | None, path: str, problems: Problems) -> None:
    for index, item in enumerate(node.items if isinstance(node, Sequence) else ()):
        if isinstance(item, Mapping) and "count" in item.items and "device_ids" in item.items:
            problems.add(item.place, f"{path}[{index}]", "'count' and 'device_ids' are exclusive")


def _check_external(volume: Mapping, path: str, problems: Problems) -> None:
    if volume.value("external") not in (True, "true"):
        return
    for key in volume.items:
        if key not in ("name", "external") and not key.startswith("x-"):
            problems.add(volume.key_place(key), f"{path}.{key}", f"'external' and {key!r} conflict")


def _check_source(node: Mapping, keys: tuple[str, ...], path: str, problems: Problems) -> None:
    given = [key for key in keys if key in node.items]
    names = ", ".join(repr(key) for key in keys)
    if len(given) > 1:
        problems.add(node.key_place(given[1]), path, f"only one of {names} can be set")
    elif not given and "driver" not in node.items and "external" not in node.items:
        problems.add(node.place, path, f"one of {names} must be set")
