"""The pass before validation: every key of the canonical model against the table of support."""

from functools import cache
from typing import Any

from gocker.spec import support
from gocker.spec.support import Branch

Found = tuple[str, str, str | None]


class Walk:
    """One pass. `model` is for pydantic: without extension fields and unsupported keys.

    `problems` holds path, message and hint; `ignored` path and reason.
    """

    def __init__(self, model: dict[str, Any]) -> None:
        self.problems: list[Found] = []
        self.ignored: list[tuple[str, str]] = []
        self.model: dict[str, Any] = self._mapping(_podman_rootfs(model), _tree(), "")

    def _value(self, value: Any, branch: Branch, path: str) -> Any:
        if not branch.below:
            return value
        if isinstance(value, dict):
            return self._mapping(value, branch, path)
        item = branch.below.get("[]")
        if isinstance(value, list) and item is not None:
            return [self._value(each, item, f"{path}[{n}]") for n, each in enumerate(value)]
        if value is None and "[]" not in branch.below:
            return {}
        return value

    def _mapping(self, value: dict[str, Any], branch: Branch, path: str) -> dict[str, Any]:
        result = {}
        anything = branch.below.get("*")
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            below = branch.below.get(key, anything)
            if below is None:
                if not (branch.extensible and key.startswith("x-")):
                    self.problems.append(unknown_key(at, key, branch))
            elif below.row.typed:
                # Null is "not set", but a null entry of a map is an entry with defaults.
                if item is not None or below is anything:
                    result[key] = self._value(item, below, at)
            elif below.row.status == "honoured":
                continue
            elif item and not _harmless(item, below.row.harmless):
                self._unsupported(below.row, at, value)
        return result

    def _unsupported(self, row: support.Row, path: str, beside: dict[str, Any]) -> None:
        if row.unless is not None and beside.get(row.unless[0]):
            self.ignored.append((path, row.unless[1]))
        elif row.status == "warned":
            self.ignored.append((path, row.reason))
        elif row.status == "later":
            self.problems.append((path, f"not built yet: {row.reason}", None))
        else:
            self.problems.append((path, f"refused: {row.reason}", None))


def _podman_rootfs(model: dict[str, Any]) -> dict[str, Any]:
    """Return the model with podman-compose's ``x-podman.rootfs`` as ``x-gocker.rootfs``."""
    services = model.get("services")
    if not isinstance(services, dict):
        return model
    changed = {}
    for name, service in services.items():
        if isinstance(service, dict) and "x-podman.rootfs" in service:
            extension = service.get("x-gocker") or {}
            if isinstance(extension, dict):
                rootfs = {"rootfs": service["x-podman.rootfs"]}
                changed[name] = {**service, "x-gocker": rootfs | extension}
    return {**model, "services": {**services, **changed}} if changed else model


def unknown_key(path: str, key: str, branch: Branch) -> Found:
    """Return the problem of a key that the specification does not have."""
    from gocker.spec.model.wording import did_you_mean

    known = [name for name in branch.below if name not in {"*", "[]"}]
    return path, "unknown key", did_you_mean(key, known)


def _harmless(item: Any, harmless: frozenset[Any]) -> bool:
    return isinstance(item, str | bool) and item in harmless


@cache
def _tree() -> Branch:
    return support.tree()
