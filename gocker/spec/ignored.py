"""What is accepted without effect: told once per place, an error with ``--strict``.

These keys would stop people from sharing a file with docker compose if they were refused. What
nobody can honour is refused with the models.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DEPLOY = {
    "labels": "labels of a service have no effect on containers",
    "update_config": "only an orchestrator updates services",
    "rollback_config": "only an orchestrator rolls back services",
    "placement": "there is only this host",
    "endpoint_mode": "only an orchestrator has endpoints",
}


def ignored(model: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path and the reason of each key that has no effect."""
    for section in ("services", "jobs"):
        for name, service in (model.get(section) or {}).items():
            for path, reason in _service(service):
                yield (section, name, *path), reason
    for name, network in (model.get("networks") or {}).items():
        if network.get("attachable"):
            yield ("networks", name, "attachable"), "only swarm attaches containers later"


def _service(service: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if "develop" in service:
        yield ("develop",), "watch mode has no meaning in a batch"
    for key, reason in _DEPLOY.items():
        if (service.get("deploy") or {}).get(key):
            yield ("deploy", key), reason
    for index, volume in enumerate(service.get("volumes") or ()):
        if volume.get("consistency"):
            yield ("volumes", index, "consistency"), "it is a hint for macOS"
