"""Files -> one tree: parse, interpolate, include, reset, extends, merge, validate, widen.

The order is the reference's (loader/loader.go), and people can see it: variables are replaced
before files merge, so a required variable in a value that is overridden later still fails.
"""

from __future__ import annotations

import os

from gocker.spec import files, schema
from gocker.spec.canonical import Canonical
from gocker.spec.defaults import check_values, set_defaults
from gocker.spec.extends import Extender
from gocker.spec.include import include
from gocker.spec.interpolate import Interpolator
from gocker.spec.merge import Merger
from gocker.spec.nodes import Mapping, Place, Scalar, Sequence
from gocker.spec.parse import parse
from gocker.spec.paths import Resolver
from gocker.spec.problems import failure
from gocker.spec.reset import delete, take_tags
from gocker.spec.schema_data import PROJECT, SECTIONS
from gocker.spec.unique import unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.nodes import Node
    from gocker.spec.parse import Document
    from gocker.spec.problems import Problems
    from gocker.spec.reset import Path

MAX_FILES = 200
MAX_DOCUMENTS = 1000


class Settings:
    """What all files of one load share."""

    __slots__ = ("home", "interpolate", "parsed", "problems", "read", "resolve_paths", "used")

    def __init__(
        self, problems: Problems, *, home: str | None, interpolate: bool, resolve_paths: bool
    ) -> None:
        self.problems = problems
        self.home = home
        self.interpolate = interpolate
        self.resolve_paths = resolve_paths
        self.used: dict[str, str | None] = {}
        self.read: list[str] = []  # every file read, in order
        self.parsed: dict[str, list[Document]] = {}  # what was read, by file


class Documents:
    """Loads the files of one project directory with one environment."""

    def __init__(
        self, settings: Settings, working_dir: str, base: str, environment: dict[str, str],
        chain: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.settings = settings
        self.problems = settings.problems
        self.working_dir = working_dir
        self.base = base
        self.environment = environment
        self.chain = chain
        self.merger = Merger(self.problems)
        self.canonical = Canonical(self.problems, lenient=not settings.interpolate)
        self.extender = Extender(self)

    def below(self, directory: str, environment: dict[str, str], name: str) -> Documents:
        """Return a loader for files that `name` includes from another directory."""
        base = directory
        if not self.settings.resolve_paths:
            base = os.path.relpath(directory, self.working_dir)
        return Documents(self.settings, directory, base, environment, (*self.chain, name))

    def load(self, names: list[str], place: Place | None = None) -> Mapping:
        """Return the merged project of some files; `place` is where they were named.

        Raises:
            SpecError: if anything is wrong in them.
        """
        project = Mapping({}, Place(names[0], 1, 1))
        for name in names:
            project = self._file(project, name, place)
        if self.chain and self.problems.found:
            return project  # the file that includes this one may have mistakes of its own
        self.problems.check()
        project = set_defaults(project)
        check_values(project, self.problems)
        if self.settings.resolve_paths or self.chain:
            resolver = Resolver(self.base, self.settings.home, self.problems)
            project = resolver.project(project)
        self.problems.check()
        return resolve_environment(project, self.environment)

    def read(self, name: str, place: Place | None) -> list[Document]:
        """Return the documents of a file; a problem with the file is raised at once."""
        settings = self.settings
        where = place or Place(name, 1, 1)
        if len(settings.read) >= MAX_FILES:
            raise failure(where, "", f"more than {MAX_FILES} files")
        settings.read.append(name)
        documents = settings.parsed.get(name)
        if documents is None:
            try:
                data = files.read(name)
            except files.FileProblem as error:
                raise failure(where, "", f"cannot read {name!r}: {error}") from error
            before = len(self.problems.found)
            documents = settings.parsed[name] = parse(data, name, self.problems)
            if len(self.problems.found) > before:
                self.problems.check()
        if len(documents) > MAX_DOCUMENTS:
            raise failure(where, "", f"more than {MAX_DOCUMENTS} documents")
        return documents

    def _file(self, project: Mapping, name: str, place: Place | None) -> Mapping:
        for document in self.read(name, place):
            root = document.root
            if not isinstance(root, Mapping):
                self.problems.add(root.place, "", "top-level object must be a mapping")
                continue
            root, paths = take_tags(root, tagged=document.tagged)
            project = self._document(project, root, paths, name)
        return project

    def _document(
        self, project: Mapping, document: Mapping, paths: list[Path], name: str
    ) -> Mapping:
        """Lay one document over the project so far."""
        document = self.interpolated(document)
        document = include(self, document, paths, name)
        before = delete(project, paths)
        document = self.extender.document(document, paths, name)
        merged = self.merger.project(before, document)
        part = unique(_changed(merged, project))
        schema.validate(part, PROJECT, "", self.problems)
        if "version" in part.items:
            self.problems.warn(
                f"{name}: the attribute 'version' is obsolete, it is ignored, please remove it"
            )
        if self.problems.found:
            return merged  # the next file may have mistakes, too, and then the load ends
        part = unique(self.canonical.project(part))
        # The order is that of the document, so that messages and lists follow it.
        return _replaced(merged, part)

    def interpolated(self, document: Mapping) -> Mapping:
        """Return a document with its variables replaced, unless that is switched off."""
        if not self.settings.interpolate:
            return document
        return Interpolator(self.environment, self.problems, self.settings.used).document(document)


def _changed(merged: Mapping, before: Mapping) -> Mapping:
    """Return the part of `merged` that is not in `before`: the rest was checked already."""
    items: dict[str, Node] = {}
    for key, item in merged.items.items():
        old = before.items.get(key)
        if item is old:
            continue
        if key in SECTIONS and isinstance(item, Mapping) and isinstance(old, Mapping):
            known = old.items
            part = {name: one for name, one in item.items.items() if known.get(name) is not one}
            items[key] = Mapping(part, item.place, item.keys)
        else:
            items[key] = item
    return Mapping(items, merged.place, merged.keys)


def _replaced(merged: Mapping, part: Mapping) -> Mapping:
    """Return `merged` with the entries of `part` put in, and without ``version``."""
    items: dict[str, Node] = {}
    for key, item in merged.items.items():
        new = part.items.get(key)
        if key == "version":
            continue
        if new is None:
            items[key] = item
        elif isinstance(new, Mapping) and isinstance(item, Mapping) and key in SECTIONS:
            items[key] = Mapping({**item.items, **new.items}, item.place, item.keys)
        else:
            items[key] = new
    return Mapping(items, merged.place, merged.keys)


def resolve_environment(project: Mapping, environment: dict[str, str]) -> Mapping:
    """Give bare names in lists of ``environment`` their value from the project's environment."""
    changed: dict[str, Node] = {}
    for section in ("services", "jobs"):
        services = project.get(section)
        if not isinstance(services, Mapping):
            continue
        made: dict[str, Node] = {}
        for name, service in services.items.items():
            listed = service.get("environment") if isinstance(service, Mapping) else None
            if isinstance(service, Mapping) and isinstance(listed, Sequence):
                items = [_inherited(item, environment) for item in listed.items]
                if any(new is not old for new, old in zip(items, listed.items, strict=True)):
                    made[name] = Mapping(
                        {**service.items, "environment": Sequence(items, listed.place)},
                        service.place, service.keys,
                    )  # fmt: skip
        if made:
            changed[section] = Mapping({**services.items, **made}, services.place, services.keys)
    return Mapping({**project.items, **changed}, project.place, project.keys)


def _inherited(item: Node, environment: dict[str, str]) -> Node:
    name = item.value if isinstance(item, Scalar) else None
    if not isinstance(name, str) or name not in environment:
        return item
    return Scalar(f"{name}={environment[name]}", item.place, None, f"variable {name}")
