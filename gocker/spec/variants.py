"""One service of a loaded project once more, with other variables: an instance of a matrix.

Nothing is read or parsed again: the documents are those of the load, cut down to the service
and what it extends, so hundreds of instances of a large file cost little each.
"""

from __future__ import annotations

from gocker.spec import consistency, select
from gocker.spec.decode import UNSET, Decoder
from gocker.spec.documents import Documents, Settings
from gocker.spec.load import Loaded, Loading
from gocker.spec.nodes import Mapping, Scalar
from gocker.spec.normalize import normalize
from gocker.spec.parse import Document
from gocker.spec.schema_data import PROJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.spec.nodes import Node

_SECTIONS = ("services", "jobs")
# What a narrowed document keeps beside its services: where others come from.
_KEPT = ("include",)


class Variants:
    """Loads services of `loaded` again."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._narrowed: dict[str, dict[str, list[Document]]] = {}

    def load(self, section: str, name: str, values: dict[str, str]) -> Loaded:
        """Return a project whose model has this service only, made with `values` on top.

        Args:
            section: ``services`` or ``jobs``.
            name: of the service, which is in the loaded model.
            values: variables that hide those of the environment.

        Raises:
            SpecError: with what is wrong only with these values.
        """
        base = self._loaded
        loading = Loading(base.source.options)
        loading.environment = {**base.environment, **values}
        root = self._root(loading, name)
        loaded = Loaded(base.name, base.working_dir, root, base.source)
        decoded = Decoder(loading.problems).object(root, PROJECT, "")
        loading.problems.check()
        service = decoded[section][name]
        assert service is not UNSET  # noqa: S101  # the base has it
        service = self._checked(loading, loaded, section, name, service)
        loading.environment_of(service, (section, name), loaded)
        loading.labels_of(service, (section, name), loaded)
        loading.problems.check()
        loaded.model = {section: {name: service}}
        return loaded

    def _root(self, loading: Loading, name: str) -> Mapping:
        source, options = self._loaded.source, loading.options
        settings = Settings(
            loading.problems, home=loading.environment.get("HOME"), interpolate=True,
            resolve_paths=options.resolve_paths,
        )  # fmt: skip
        if name not in self._narrowed:
            self._narrowed[name] = narrowed(source.parsed, name)
        settings.parsed = self._narrowed[name]
        directory = self._loaded.working_dir
        documents = Documents(settings, directory, directory, loading.environment)
        root = documents.load(source.names)
        return normalize(root, self._loaded.name, loading.environment)

    def _checked(
        self, loading: Loading, loaded: Loaded, section: str, name: str, service: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the service without dependencies that were not chosen, checked with the rest."""
        model = self._loaded.model
        everyone = {**model["services"], **(model.get("jobs") or {})}
        depends = service.get("depends_on") or {}
        present = {other: everyone[other] for other in depends if other in everyone}
        service = select.without(service, present)
        around = dict(self._loaded.resources)
        around["services"] = present
        around.setdefault(section, {})[name] = service
        known = frozenset(present) - {name}
        consistency.check_services(around, {}, loading.reporter(loaded), known)
        loading.problems.check()
        return service


def narrowed(parsed: dict[str, list[Document]], name: str) -> dict[str, list[Document]]:
    """Return the documents with the services only that `name` may need.

    When the name of an extended service depends on a variable, they are all that may be.
    """
    extended = _extended(parsed)
    wanted, todo = {name}, [name]
    while todo:
        for other in extended.get(todo.pop(), ()):
            if "$" in other:
                return parsed
            if other not in wanted:
                wanted.add(other)
                todo.append(other)
    return {
        file: [Document(_cut(document.root, wanted), tagged=document.tagged) for document in found]
        for file, found in parsed.items()
    }


def _extended(parsed: dict[str, list[Document]]) -> dict[str, set[str]]:
    """Return the names that each service extends, in whatever file."""
    found: dict[str, set[str]] = {}
    for documents in parsed.values():
        for document in documents:
            for section in _SECTIONS:
                root = document.root
                services = root.get(section) if isinstance(root, Mapping) else None
                for name, service in _items(services):
                    extends = service.get("extends") if isinstance(service, Mapping) else None
                    if isinstance(extends, Mapping):
                        extends = extends.get("service")
                    if isinstance(extends, Scalar):
                        found.setdefault(name, set()).add(str(extends.value))
    return found


def _items(node: Node | None) -> list[tuple[str, Node]]:
    return list(node.items.items()) if isinstance(node, Mapping) else []


def _cut(root: Node, wanted: set[str]) -> Node:
    if not isinstance(root, Mapping):
        return root
    items: dict[str, Node] = {key: root.items[key] for key in _KEPT if key in root.items}
    for section in _SECTIONS:
        services = root.get(section)
        if isinstance(services, Mapping):
            kept = {name: item for name, item in services.items.items() if name in wanted}
            items[section] = Mapping(kept, services.place, services.keys, services.tag)
    return Mapping(items, root.place, root.keys, root.tag)
