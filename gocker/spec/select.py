"""Profiles, the choice of services, and what that leaves without use (types/project.go)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


RESOURCES = ("networks", "volumes", "secrets", "configs", "models")


def split_profiles(
    model: dict[str, Any], profiles: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model with the enabled services, and the disabled ones."""
    active = set(profiles)
    enabled: dict[str, Any] = {}
    disabled: dict[str, Any] = {}
    for name, service in (model.get("services") or {}).items():
        own = service.get("profiles") or ()
        on = not own or "*" in active or not active.isdisjoint(own)
        (enabled if on else disabled)[name] = service
    return {**model, "services": enabled}, disabled


def profiles_of(disabled: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Return the profiles that naming these services enables."""
    return [profile for name in names for profile in disabled.get(name, {}).get("profiles") or ()]


class NoSuchService(Exception):  # noqa: N818  # becomes a usage error
    """A service that was asked for does not exist or is not enabled."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no such service: {name}")
        self.name = name


def select(model: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the model with the services that match `names` and what they depend on.

    Raises:
        NoSuchService: if a name matches nothing, or a required dependency is not there.
    """
    services = model.get("services") or {}
    jobs = model.get("jobs") or {}
    everything = {**services, **jobs}
    kept: dict[str, Any] = {}
    todo: list[tuple[str, bool]] = [(name, True) for name in reversed(names)]
    while todo:
        pattern, required = todo.pop()
        # The reference matches names as file name patterns: `up 'test-*'`.
        found = [pattern] if pattern in everything else _matching(pattern, everything)
        if not found and required:
            raise NoSuchService(pattern)
        for name in found:
            if name not in kept:
                kept[name] = everything[name]
                depends = everything[name].get("depends_on") or {}
                todo += [(dep, how.get("required", True)) for dep, how in depends.items()]
    made = {**model, "services": {}}
    for section, known in (("services", services), ("jobs", jobs)):
        if section in model:
            made[section] = {
                name: without(service, kept) for name, service in known.items() if name in kept
            }
    return made


def _matching(pattern: str, known: dict[str, Any]) -> list[str]:
    if not any(char in pattern for char in "*?["):
        return []
    import fnmatch  # rarely needed

    return [name for name in known if fnmatch.fnmatchcase(name, pattern)]


def without(service: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Drop dependencies that are not part of the selection."""
    depends = service.get("depends_on")
    if not depends or all(name in kept for name in depends):
        return service
    left = {name: how for name, how in depends.items() if name in kept}
    rest = {key: value for key, value in service.items() if key != "depends_on"}
    return {**rest, "depends_on": left} if left else rest


def prune(model: dict[str, Any]) -> dict[str, Any]:
    """Return the model without networks, volumes, secrets, configs that nothing uses."""
    used: dict[str, set[str]] = {kind: set() for kind in RESOURCES}
    for section in ("services", "jobs"):
        for service in (model.get(section) or {}).values():
            used["networks"].update(service.get("networks") or ())
            used["models"].update(service.get("models") or ())
            used["volumes"].update(
                item["source"] for item in service.get("volumes") or ()
                if item.get("type") == "volume" and item.get("source")
            )  # fmt: skip
            build = service.get("build") or {}
            for item in [*(service.get("secrets") or ()), *(build.get("secrets") or ())]:
                used["secrets"].add(item.get("source", ""))
            used["configs"].update(item.get("source", "") for item in service.get("configs") or ())
    made = dict(model)
    for kind, names in used.items():
        if kind in made:
            kept = {name: item for name, item in made[kind].items() if name in names}
            if kept:
                made[kind] = kept
            else:
                del made[kind]
    return made
