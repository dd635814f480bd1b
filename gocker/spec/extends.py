"""``extends``: lays a service over another one of the same or of another file."""

from __future__ import annotations

import os

from gocker.spec.nodes import Mapping, Place, Scalar
from gocker.spec.paths import Resolver, join
from gocker.spec.problems import Near, failure
from gocker.spec.reset import delete, take_tags
from gocker.spec.unique import unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.documents import Documents
    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems
    from gocker.spec.reset import Path

MAX_CHAIN = 100
_REMOTE = ("git@", "github.com/", "oci:")


class _Base:
    """A file named by ``extends``: its services are resolved where they are."""

    __slots__ = ("file", "paths", "sections")

    def __init__(self, file: str, root: Mapping, paths: list[Path]) -> None:
        self.file = file
        self.paths = paths
        self.sections = {
            name: dict(section.items)
            for name in ("services", "jobs")
            if isinstance(section := root.get(name), Mapping)
        }


class Extender:
    """Resolves extends for one loader; files named by it are read once."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.problems = documents.problems
        self.bases: dict[str, _Base | None] = {}

    def document(self, document: Mapping, paths: list[Path], name: str) -> Mapping:
        """Return a document with the services of its own that extend others merged."""
        changed: dict[str, Node] = {}
        own = _Base(name, document, paths)
        for section, services in own.sections.items():
            for service, item in list(services.items()):
                if isinstance(item, Mapping) and "extends" in item.items:
                    self._extended(own, section, service, ())
            whole = document.items[section]
            if isinstance(whole, Mapping):
                changed[section] = Mapping(services, whole.place, whole.keys)
        return Mapping({**document.items, **changed}, document.place, document.keys)

    def _extended(
        self, own: _Base, section: str, name: str, chain: tuple[tuple[str, str], ...]
    ) -> Node:
        """Return a service with what it extends merged in; remembers it in `own`."""
        services = own.sections[section]
        service = services[name]
        if not isinstance(service, Mapping):
            return service
        extends = service.get("extends")
        if extends is None:
            return service
        path = f"{section}.{name}"
        link = (own.file, name)
        if link in chain or len(chain) > MAX_CHAIN:
            self._circular(extends, path, (*chain, link), link in chain)
        without = Mapping(
            {key: item for key, item in service.items.items() if key != "extends"},
            service.place, service.keys,
        )  # fmt: skip
        services[name] = without
        source = self._source(own, section, name, extends, path)
        if source is None:
            return without
        base, reference = source
        services[name] = service  # so that a cycle comes back here
        found = self._extended(base, section, reference, (*chain, link))
        services[name] = without
        if isinstance(found, Mapping):
            reset = [p[2:] for p in own.paths if p[:2] == (section, name) and len(p) > 2]
            services[name] = self.documents.merger.service(delete(found, reset), without, path)
        return services[name]

    def _circular(
        self, extends: Node, path: str, chain: tuple[tuple[str, str], ...], cycle: bool
    ) -> None:
        names = " extends ".join(f"{service!r} in {file}" for file, service in chain[-8:])
        what = "circular reference" if cycle else f"more than {MAX_CHAIN} levels of extends"
        raise failure(extends.place, f"{path}.extends", f"{what}: {names}")

    def _source(
        self, own: _Base, section: str, name: str, extends: Node, path: str
    ) -> tuple[_Base, str] | None:
        """Return the file and the name of the service that is extended; None after a problem."""
        if isinstance(extends, Mapping):
            reference, file = extends.value("service"), extends.get("file")
        else:
            reference, file = getattr(extends, "value", None), None
        where = f"{path}.extends"
        if not isinstance(reference, str):
            self.problems.add(extends.place, where, "missing key 'service'")
            return None
        base: _Base | None = own
        if isinstance(file, Scalar) and file.value is not None:
            if not isinstance(file.value, str):
                self.problems.add(file.place, f"{where}.file", "must be a string")
                return None
            base = self._base_file(file.value, file.place, f"{where}.file")
        if base is None:
            return None
        known = base.sections.get(section, {})
        if reference not in known:
            self.problems.add(
                extends.place, where,
                f"cannot extend service {name!r}: service {reference!r} not found in {base.file}",
                Near(reference, known),
            )  # fmt: skip
            return None
        return base, reference

    def _base_file(self, file: str, place: Place, path: str) -> _Base | None:
        """Read a file named by extends, once; its paths become relative to the project."""
        if is_remote(file, place, path, self.problems):
            return None
        name = join(self.documents.working_dir, file) if not file.startswith("/") else file
        if name not in self.bases:
            self.bases[name] = self._read_base(name, place)
        return self.bases[name]

    def _read_base(self, name: str, place: Place) -> _Base:
        project = Mapping({}, Place(name, 1, 1))
        paths: list[Path] = []
        for document in self.documents.read(name, place):
            root = document.root
            if not isinstance(root, Mapping):
                self.problems.add(root.place, "", "top-level object must be a mapping")
                continue
            clean, paths = take_tags(root, tagged=document.tagged)
            clean = self.documents.interpolated(clean)
            clean = Mapping(
                {key: clean.items[key] for key in ("services", "jobs") if key in clean.items},
                clean.place, clean.keys,
            )  # fmt: skip
            project = unique(self.documents.merger.project(delete(project, paths), clean))
            project = unique(self.documents.canonical.project(project))
        folder = os.path.dirname(name)
        base = (
            folder
            if self.documents.settings.resolve_paths
            else os.path.relpath(folder, self.documents.working_dir)
        )
        project = Resolver(base, self.documents.settings.home, self.problems).project(project)
        return _Base(name, project, paths)


def is_remote(name: str, place: Place, path: str, problems: Problems) -> bool:
    """Refuse what the reference would fetch from a network; say whether it was that."""
    if "://" not in name and not name.startswith(_REMOTE):
        return False
    problems.add(
        place, path, f"{name!r} is not a local file: there are no network loaders",
        "fetch it first",
    )  # fmt: skip
    return True
