"""Namespaces of other containers that a start request brings along as descriptors."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def apply(config: Any, join: dict[str, int], fds: list[int]) -> None:
    """Put descriptors into a configuration in place of their units.

    Args:
        config: OCI's; its lists may be shared, and stay as they are.
        join: type of a namespace -> place in `fds`; ``mount`` is where /dev/shm comes from.
        fds: the request's descriptors.
    """
    paths = {kind: f"/proc/self/fd/{fds[place]}" for kind, place in join.items()}
    source = paths.pop("mount", None)
    for entry in config["linux"]["namespaces"]:
        if entry["type"] in paths:
            entry["path"] = paths[entry["type"]]
    if source is not None:
        config["mounts"] = [
            {**entry, "namespace": source} if "namespace" in entry else entry
            for entry in config["mounts"]
        ]
