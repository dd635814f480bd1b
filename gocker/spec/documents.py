"""Files -> one tree: parse, interpolate, include, reset, extends, merge, validate, widen.

The order is the reference's (loader/loader.go), and people can see it: variables are replaced
before files merge, so a required variable in a value that is overridden later still fails.
"""

from __future__ import annotations

import os

from gocker.spec import dotenv, files, schema
from gocker.spec.canonical import Canonical
from gocker.spec.defaults import check_values, set_defaults
from gocker.spec.interpolate import Interpolator
from gocker.spec.merge import Merger
from gocker.spec.nodes import Mapping, Place, Scalar, Sequence, plain
from gocker.spec.parse import parse
from gocker.spec.paths import Resolver, join
from gocker.spec.problems import failure, suggest
from gocker.spec.reset import delete, take_tags
from gocker.spec.schema_data import INCLUDE, PROJECT
from gocker.spec.unique import unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems

    Path = tuple[str, ...]

MAX_FILES = 200
MAX_CHAIN = 100
MAX_DOCUMENTS = 1000
SECTIONS = ("services", "jobs", "volumes", "networks", "secrets", "configs", "models")
_REMOTE = ("git@", "github.com/", "oci:")


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
        self.parsed: dict[str, list[Node]] = {}  # documents read early, for the project's name


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
        self.bases: dict[str, _Base | None] = {}

    def load(self, names: list[str], place: Place | None = None) -> Mapping:
        """Return the merged project of some files; `place` is where they were named.

        Raises:
            SpecError: if anything is wrong in them.
        """
        project = Mapping({}, Place(names[0], 1, 1))
        for name in names:
            project = self.file(project, name, place)
        self.problems.check()
        project = set_defaults(project)
        check_values(project, self.problems)
        if self.settings.resolve_paths or self.chain:
            resolver = Resolver(self.base, self.settings.home, self.problems)
            project = resolver.project(project)
        self.problems.check()
        return resolve_environment(project, self.environment)

    def read(self, name: str, place: Place | None) -> list[Node]:
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
            documents = parse(data, name, self.problems)
            self.problems.check()
        if len(documents) > MAX_DOCUMENTS:
            raise failure(where, "", f"more than {MAX_DOCUMENTS} documents")
        return documents

    def file(self, project: Mapping, name: str, place: Place | None) -> Mapping:
        for document in self.read(name, place):
            if not isinstance(document, Mapping):
                self.problems.add(document.place, "", "top-level object must be a mapping")
                continue
            project = self.document(project, document, name)
        return project

    def document(self, project: Mapping, document: Mapping, name: str) -> Mapping:
        """Lay one document over the project so far."""
        document, paths = take_tags(document)
        document = self.interpolated(document)
        document = self.include(document, paths, name)
        before = delete(project, paths)
        document = self.extends(document, paths, name)
        merged = self.merger.project(before, document)
        part = unique(_changed(merged, project))
        schema.validate(part, PROJECT, "", self.problems)
        if "version" in part.items:
            self.problems.warn(
                f"{name}: the attribute 'version' is obsolete, it is ignored, please remove it"
            )
        self.problems.check()
        part = unique(self.canonical.project(part))
        # The order is that of the document, so that messages and lists follow it.
        return _replaced(merged, part)

    def interpolated(self, document: Mapping) -> Mapping:
        if not self.settings.interpolate:
            return document
        return Interpolator(self.environment, self.problems, self.settings.used).document(document)

    # --- extends ---

    def extends(self, document: Mapping, paths: list[Path], name: str) -> Mapping:
        changed: dict[str, Node] = {}
        own = _Base(name, document, paths)
        for section, services in own.sections.items():
            for service, item in list(services.items()):
                if isinstance(item, Mapping) and "extends" in item.items:
                    self.extended(own, section, service, ())
            whole = document.items[section]
            if isinstance(whole, Mapping):
                changed[section] = Mapping(services, whole.place, whole.keys)
        return Mapping({**document.items, **changed}, document.place, document.keys)

    def extended(
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
            self.circular(extends, path, (*chain, link), link in chain)
        without = Mapping(
            {key: item for key, item in service.items.items() if key != "extends"},
            service.place, service.keys,
        )  # fmt: skip
        services[name] = without
        source = self.source(own, section, name, extends, path)
        if source is None:
            return without
        base, reference = source
        services[name] = service  # so that a cycle comes back here
        found = self.extended(base, section, reference, (*chain, link))
        services[name] = without
        if isinstance(found, Mapping):
            reset = [p[2:] for p in own.paths if p[:2] == (section, name) and len(p) > 2]
            services[name] = self.merger.service(delete(found, reset), without, path)
        return services[name]

    def circular(
        self, extends: Node, path: str, chain: tuple[tuple[str, str], ...], cycle: bool
    ) -> None:
        names = " extends ".join(f"{service!r} in {file}" for file, service in chain[-8:])
        what = "circular reference" if cycle else f"more than {MAX_CHAIN} levels of extends"
        raise failure(extends.place, f"{path}.extends", f"{what}: {names}")

    def source(
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
            base = self.base_file(file.value, file.place, f"{where}.file")
        if base is None:
            return None
        known = base.sections.get(section, {})
        if reference not in known:
            self.problems.add(
                extends.place, where,
                f"cannot extend service {name!r}: service {reference!r} not found in {base.file}",
                suggest(reference, known),
            )  # fmt: skip
            return None
        return base, reference

    def base_file(self, file: str, place: Place, path: str) -> _Base | None:
        """Read a file named by extends, once; its paths become relative to the project."""
        if self.remote(file, place, path):
            return None
        name = join(self.working_dir, file) if not file.startswith("/") else file
        if name not in self.bases:
            self.bases[name] = self.read_base(name, place)
        return self.bases[name]

    def read_base(self, name: str, place: Place) -> _Base:
        project = Mapping({}, Place(name, 1, 1))
        paths: list[Path] = []
        for document in self.read(name, place):
            if not isinstance(document, Mapping):
                self.problems.add(document.place, "", "top-level object must be a mapping")
                continue
            clean, paths = take_tags(document)
            clean = self.interpolated(clean)
            clean = Mapping(
                {key: clean.items[key] for key in ("services", "jobs") if key in clean.items},
                clean.place, clean.keys,
            )  # fmt: skip
            project = unique(self.merger.project(delete(project, paths), clean))
            project = unique(self.canonical.project(project))
        folder = os.path.dirname(name)
        base = folder if self.settings.resolve_paths else os.path.relpath(folder, self.working_dir)
        project = Resolver(base, self.settings.home, self.problems).project(project)
        return _Base(name, project, paths)

    def remote(self, name: str, place: Place, path: str) -> bool:
        if "://" not in name and not name.startswith(_REMOTE):
            return False
        self.problems.add(
            place, path, f"{name!r} is not a local file: there are no network loaders",
            "fetch it first",
        )  # fmt: skip
        return True

    # --- include ---

    def include(self, document: Mapping, paths: list[Path], name: str) -> Mapping:
        entries = document.get("include")
        if entries is None:
            return document
        items = {key: item for key, item in document.items.items() if key != "include"}
        document = Mapping(items, document.place, document.keys)
        if isinstance(entries, Scalar) and entries.value is None:
            return document
        if not isinstance(entries, Sequence):
            self.problems.add(entries.place, "include", "must be a list")
            return document
        for index, entry in enumerate(entries.items):
            imported = self.included(entry, f"include[{index}]", name)
            if imported is not None:
                document = self.imported(document, imported, paths)
        return document

    def included(self, entry: Node, path: str, name: str) -> Mapping | None:
        """Return the project of one entry of ``include``, None after a problem."""
        before = len(self.problems.found)
        schema.validate(entry, INCLUDE, path, self.problems)
        if len(self.problems.found) > before:
            return None
        config = plain(entry)
        if isinstance(config, str):
            config = {"path": config}
        names = _strings(config["path"])
        if not names or any([self.remote(one, entry.place, path) for one in names]):
            return None
        names = [one if one.startswith("/") else join(self.working_dir, one) for one in names]
        chain = (*self.chain, name)
        if names[0] in chain or len(chain) > MAX_CHAIN:
            shown = " includes ".join((*chain, names[0])[-8:])
            raise failure(entry.place, path, f"include cycle detected: {shown}")
        folder = config.get("project_directory") or os.path.dirname(names[0])
        folder = folder if folder.startswith("/") else join(self.working_dir, folder)
        environment = self.included_environment(entry, config, folder, path)
        base = folder
        if not self.settings.resolve_paths:
            base = os.path.relpath(folder, self.working_dir)
        below = Documents(self.settings, folder, base, environment, chain)
        return below.load(names, entry.place)

    def included_environment(
        self, entry: Node, config: dict[str, object], folder: str, path: str
    ) -> dict[str, str]:
        """Return the environment for an included file: its own ``.env`` gives only defaults."""
        names = _strings(config.get("env_file"))
        if names:
            names = [
                one if one.startswith("/") else join(self.working_dir, one)
                for one in names
                if one != "/dev/null"
            ]
        else:
            default = join(folder, ".env")
            names = [default] if files.exists(default) and not files.is_dir(default) else []
        found: dict[str, str] = {}
        for one in names:
            read_env_file(one, found, self.environment, self.problems, entry.place, path)
        return {**found, **self.environment}

    def imported(self, document: Mapping, imported: Mapping, paths: list[Path]) -> Mapping:
        """Add included resources; where both sides have one, the including file wins."""
        changed: dict[str, Node] = {}
        for section in SECTIONS:
            given = imported.get(section)
            if not isinstance(given, Mapping):
                continue
            own = document.get(section)
            if own is None:
                own = Mapping({}, document.place)
            if not isinstance(own, Mapping):
                continue
            items = dict(own.items)
            for name, item in given.items.items():
                if name in items:
                    reset = [p[2:] for p in paths if p[:2] == (section, name) and len(p) > 2]
                    whole = (section, name) in paths
                    base = delete(item, reset) if isinstance(item, Mapping) else item
                    if not whole:
                        items[name] = self.merger.resource(
                            base, items[name], section, f"{section}.{name}"
                        )
                else:
                    items[name] = item
            changed[section] = Mapping(items, own.place, {**given.keys, **own.keys})
        return Mapping({**document.items, **changed}, document.place, document.keys)


def _strings(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [value] if isinstance(value, str) else []


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


def read_env_file(
    name: str, into: dict[str, str], environment: dict[str, str], problems: Problems,
    place: Place | None = None, path: str = "", *, raw: bool = False,
) -> None:  # fmt: skip
    """Add the variables of a file to `into`; `environment` is asked first for variables.

    Raises:
        SpecError: if it cannot be read.
    """
    try:
        unset = dotenv.parse(files.read(name), into, environment.get, raw)
    except files.FileProblem as error:
        where = place or Place(name, 1, 1)
        raise failure(where, path, f"cannot read env file {name!r}: {error}") from error
    except dotenv.DotenvError as error:
        raise failure(Place(name, error.line, 1), path, str(error)) from error
    for variable in unset:
        problems.warn(f"The {variable!r} variable is not set. Defaulting to a blank string.")


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
