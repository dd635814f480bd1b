"""Makes what a project implies explicit: networks, dependencies, names (loader/normalize.go)."""

from __future__ import annotations

from gocker.spec.defaults import replaced
from gocker.spec.nodes import Mapping, Place, Scalar, Sequence, from_plain
from gocker.spec.shortforms import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.nodes import Node

_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def normalize(project: Mapping, name: str, environment: dict[str, str]) -> Mapping:
    """Return the project with its implicit parts written out."""
    uses_default = False
    for section in ("services", "jobs"):
        services = project.get(section)
        if not isinstance(services, Mapping):
            continue
        items: dict[str, Node] = {}
        for key, service in services.items.items():
            if isinstance(service, Mapping):
                networked, default = _networked(service)
                uses_default = uses_default or default
                items[key] = _service(networked, environment)
            else:
                items[key] = service
        project = replaced(project, section, Mapping(items, services.place, services.keys))
    networks = project.get("networks")
    if uses_default and (not isinstance(networks, Mapping) or "default" not in networks.items):
        known = networks.items if isinstance(networks, Mapping) else {}
        place = networks.place if networks is not None else project.place
        keys = networks.keys if isinstance(networks, Mapping) else {}
        default_network = Scalar(None, place, None, "default")
        project = replaced(
            project, "networks", Mapping({**known, "default": default_network}, place, keys)
        )
    return _named(project, name)


def _networked(service: Mapping) -> tuple[Mapping, bool]:
    """Connect a service without networks to ``default``; say whether it uses that one."""
    if "provider" in service.items or "network_mode" in service.items:
        return service, False
    networks = service.get("networks")
    if isinstance(networks, Mapping) and networks.items:
        return service, "default" in networks.items
    place = service.place
    default = Mapping({"default": Scalar(None, place, None, "default")}, place)
    return replaced(service, "networks", default), True


def _service(service: Mapping, environment: dict[str, str]) -> Mapping:
    items = dict(service.items)
    if service.value("pull_policy") == "if_not_present":
        items["pull_policy"] = Scalar("missing", items["pull_policy"].place)
    if "build" in items:
        items["build"] = _build(items["build"], environment)
    listed = items.get("environment")
    if isinstance(listed, Mapping):
        items["environment"] = _resolved(listed, environment)
    depends = _dependencies(service)
    if depends is not None:
        items["depends_on"] = depends
    volumes = items.get("volumes")
    if isinstance(volumes, Sequence):
        items["volumes"] = Sequence([_cleaned(item) for item in volumes.items], volumes.place)
    hooks, image = items.get("pre_start"), items.get("image")
    if isinstance(hooks, Sequence) and isinstance(image, Scalar) and image.value:
        items["pre_start"] = Sequence(
            [
                replaced(hook, "image", image)
                if isinstance(hook, Mapping) and "image" not in hook.items else hook
                for hook in hooks.items
            ],
            hooks.place,
        )  # fmt: skip
    return Mapping(items, service.place, service.keys)


def _build(build: Node, environment: dict[str, str]) -> Node:
    if not isinstance(build, Mapping):
        return build
    if "dockerfile" not in build.items and "dockerfile_inline" not in build.items:
        build = replaced(build, "dockerfile", Scalar("Dockerfile", build.place, None, "default"))
    arguments = build.get("args")
    if isinstance(arguments, Mapping):
        resolved = _resolved(arguments, environment)
        set_ones = {
            key: item for key, item in resolved.items.items()
            if not isinstance(item, Scalar) or item.value is not None
        }  # fmt: skip
        build = replaced(build, "args", Mapping(set_ones, arguments.place, arguments.keys))
    elif isinstance(arguments, Sequence):
        items: list[Node] = []
        for item in arguments.items:
            text = item.value if isinstance(item, Scalar) else None
            if not isinstance(text, str) or "=" in text:
                items.append(item)
            elif text in environment:
                items.append(Scalar(f"{text}={environment[text]}", item.place))
        build = replaced(build, "args", Sequence(items, arguments.place))
    return build


def _resolved(node: Mapping, environment: dict[str, str]) -> Mapping:
    """Give names without a value the one from the environment."""
    made: dict[str, Node] = {
        key: Scalar(environment[key], item.place, None, f"variable {key}")
        for key, item in node.items.items()
        if isinstance(item, Scalar) and item.value is None and key in environment
    }
    return Mapping({**node.items, **made}, node.place, node.keys) if made else node


def _dependencies(service: Mapping) -> Mapping | None:
    """Return ``depends_on`` with what links and shared namespaces and volumes imply."""
    implied: dict[str, tuple[Place, bool]] = {}
    links = service.get("links")
    for item in links.items if isinstance(links, Sequence) else ():
        link = str(item.value) if isinstance(item, Scalar) else ""
        parts = link.split(":")
        implied.setdefault(parts[0] if len(parts) == 2 else link, (item.place, True))
    for key in _NAMESPACES:
        mode = service.value(key)
        if isinstance(mode, str) and mode.startswith("service:"):
            place = service.items[key].place
            implied.setdefault(mode.removeprefix("service:"), (place, True))
    volumes = service.get("volumes_from")
    for item in volumes.items if isinstance(volumes, Sequence) else ():
        source = str(item.value) if isinstance(item, Scalar) else ""
        if not source.startswith("container:"):
            implied.setdefault(source.partition(":")[0], (item.place, False))
    if not implied:
        return None
    own = service.get("depends_on")
    known = own.items if isinstance(own, Mapping) else {}
    made: dict[str, Node] = {
        name: from_plain(
            {"condition": "service_started", "restart": restart, "required": True}, place
        )
        for name, (place, restart) in implied.items()
    }
    place = own.place if own is not None else service.place
    return Mapping({**made, **known}, place, own.keys if isinstance(own, Mapping) else {})


def _cleaned(volume: Node) -> Node:
    target = volume.get("target") if isinstance(volume, Mapping) else None
    if not isinstance(volume, Mapping) or not isinstance(target, Scalar):
        return volume
    if not isinstance(target.value, str):
        return volume
    tidy = clean(target.value)
    if tidy == target.value:
        return volume
    return replaced(volume, "target", Scalar(tidy, target.place, None, target.origin))


def _named(project: Mapping, name: str) -> Mapping:
    """Give every resource its real name: ``project_key``, or the key when it is external."""
    for section in ("networks", "volumes", "configs", "secrets"):
        resources = project.get(section)
        if not isinstance(resources, Mapping):
            continue
        items: dict[str, Node] = {}
        for key, item in resources.items.items():
            resource = item if isinstance(item, Mapping) else Mapping({}, item.place)
            if resource.value("name") is None:
                external = resource.value("external") in (True, "true")
                real = key if external else f"{name}_{key}"
                text = Scalar(real, resource.place, None, "default")
                resource = replaced(resource, "name", text)
            items[key] = resource
        project = replaced(project, section, Mapping(items, resources.place, resources.keys))
    return project
