"""Loads a Compose project: files, environment, name -> the canonical model.

The canonical model is what ``docker compose config --format json`` prints, as plain values; in
addition it keeps ``x-*`` keys wherever they were written and the ``jobs`` element. Its order of
precedence and every deviation are described in docs/compose-compat.md.
"""

from __future__ import annotations

import gc
import os

from gocker.errors import SpecError, UsageError
from gocker.spec import consistency, dotenv, files, select
from gocker.spec.decode import UNSET, Decoder
from gocker.spec.documents import Documents, Settings
from gocker.spec.dotenv import read_env_file
from gocker.spec.find import find_files, project_name, variable
from gocker.spec.ignored import ignored
from gocker.spec.interpolate import unset
from gocker.spec.nodes import Mapping, Place, join_path, place_of, plain, split_path
from gocker.spec.normalize import normalize
from gocker.spec.problems import Near, Problems, failure, suggest
from gocker.spec.schema_data import PROJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping as MappingType
    from typing import Any

    from gocker.spec.parse import Document


class LoadOptions:
    """What to load and how.

    Attributes:
        files: paths of Compose files, ``-`` is standard input; empty means look for them.
        project_name, project_directory: as the command line gives them, or None.
        env_files: paths; empty means ``.env``.
        profiles: None or empty means those of COMPOSE_PROFILES.
        services: names or patterns; empty means all.
        environ: the process environment.
        cwd: the working directory.
        interpolate, normalize, resolve_paths, consistency, resolve_env: the passes that
            ``config --no-...`` leaves out.
        all_resources: keep networks, volumes ... that nothing uses.
    """

    def __init__(
        self,
        files: Iterable[str] = (),
        *,
        project_name: str | None = None,
        project_directory: str | None = None,
        env_files: Iterable[str] = (),
        profiles: Iterable[str] | None = None,
        services: Iterable[str] = (),
        environ: MappingType[str, str] | None = None,
        cwd: str | None = None,
        interpolate: bool = True,
        normalize: bool = True,
        resolve_paths: bool = True,
        consistency: bool = True,
        resolve_env: bool = True,
        all_resources: bool = False,
    ) -> None:
        self.files = list(files)
        self.project_name = project_name
        self.project_directory = project_directory
        self.env_files = list(env_files)
        self.profiles = list(profiles or ())
        self.services = list(services)
        self.environ = dict(os.environ if environ is None else environ)
        self.cwd = cwd or os.getcwd()
        self.interpolate = interpolate
        self.normalize = normalize
        self.resolve_paths = resolve_paths
        self.consistency = consistency
        self.resolve_env = resolve_env
        self.all_resources = all_resources
        # Places of keys to leave out, on a second look at a wrong spec: gocker.spec.further.
        self.without: frozenset[Place] = frozenset()


class Source:
    """What a project was made of: `parsed` has the documents by file, `names` the first files."""

    __slots__ = ("names", "options", "parsed")

    def __init__(
        self, options: LoadOptions, names: list[str], parsed: dict[str, list[Document]]
    ) -> None:
        self.options = options
        self.names = names
        self.parsed = parsed


class Loaded:
    """A loaded project.

    Attributes:
        name, working_dir: of the project.
        files: every file that was read, included and extended ones too.
        model: the canonical model.
        disabled: services left out because of their profiles, by name.
        services: names of all services and jobs, also of those left out.
        profiles: the profiles in force.
        ignored: (path, place, reason) of what was accepted without effect.
        environment: variables for interpolation: the process's and those of ``.env``.
        variables: name -> value (None: not set) of the variables that the files use.
        warnings: sentences for people.
        root: the tree behind the model, before profiles and selection.
        source: what it was made of.
        resources: networks, volumes, secrets, configs, also those that nothing uses.
    """

    def __init__(self, name: str, working_dir: str, root: Mapping, source: Source) -> None:
        self.name = name
        self.working_dir = working_dir
        self.root = root
        self.source = source
        self.files: list[str] = []
        self.services: tuple[str, ...] = ()
        self.model: dict[str, Any] = {}
        self.resources: dict[str, Any] = {}
        self.disabled: dict[str, Any] = {}
        self.profiles: list[str] = []
        self.ignored: list[tuple[str, Place, str]] = []
        self.environment: dict[str, str] = {}
        self.variables: dict[str, str | None] = {}
        self.warnings: list[str] = []

    def place(self, path: str | Iterable[str | int]) -> Place:
        """Return where the value at `path` was written, or its nearest parent that was.

        `path` is text as in problems (``services.web.ports[0].target``) or its parts.
        """
        parts = split_path(path, self.root) if isinstance(path, str) else tuple(path)
        return place_of(self.root, parts)


def load(options: LoadOptions) -> Loaded:
    """Load a project.

    Raises:
        SpecError: with every independent mistake, each with its place.
        UsageError: no file, an unknown service, an invalid project name on the command line.
    """
    # The nodes live until the end of the load and have no cycles: looking for some, again and
    # again, would double the time of a large file.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return Loading(options).run()
    finally:
        if collecting:
            gc.enable()


def name_of(options: LoadOptions) -> str:
    """Return the name of a project, reading no more of its files than that takes.

    Raises:
        SpecError: if a file cannot be read.
        UsageError: no file, an invalid project name on the command line.
    """
    return Loading(options).name()


class Loading:
    """One load: its options, its variables and the problems found."""

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.problems = Problems()
        self.environment = dict(options.environ)
        self.environment.setdefault("PWD", options.cwd)

    def name(self) -> str:
        """Return the project's name."""
        names, directory = find_files(self.options, self.environment, self.problems)
        settings = Settings(
            self.problems, home=self.environment.get("HOME"), interpolate=True, resolve_paths=True
        )
        return project_name(self.options, names, directory, self.environment, settings)

    def run(self) -> Loaded:
        """Load the project."""
        options, problems = self.options, self.problems
        names, directory = find_files(options, self.environment, problems)
        settings = Settings(
            problems, home=self.environment.get("HOME"), interpolate=options.interpolate,
            resolve_paths=options.resolve_paths,
        )  # fmt: skip
        settings.without = options.without
        name = project_name(options, names, directory, self.environment, settings)
        self.environment["COMPOSE_PROJECT_NAME"] = name
        documents = Documents(settings, directory, directory, self.environment)
        try:
            root = documents.load(names)
        except SpecError as error:
            raise problems.and_then(error) from error.__cause__
        if not root.items:
            raise failure(Place(names[0], 1, 1), "", "empty compose file")
        if not name:
            raise failure(
                root.place, "name", "project name must not be empty", "set name: or use -p"
            )
        if options.normalize:
            root = normalize(root, name, self.environment)
        loaded = Loaded(name, directory, root, Source(options, names, settings.parsed))
        loaded.files = settings.read
        loaded.environment = self.environment
        loaded.variables = settings.used
        if options.interpolate:
            self.model(loaded)
        else:
            # Values that a variable stands for have no type yet: the tree as it is.
            loaded.model = plain(root)
            if options.normalize:
                loaded.model["name"] = name
        problems.check()
        by_matrix = {unset(name) for name in _matrix_variables(loaded.model)}
        loaded.warnings = [text for text in problems.warnings if text not in by_matrix]
        return loaded

    def model(self, loaded: Loaded) -> None:
        """Decode the tree, then take what profiles and the chosen services leave."""
        options = self.options
        decoder = Decoder(self.problems)
        # Sections that must be there keep their emptiness; `docker compose` prints services: {}.
        model = {
            key: value
            for key, value in decoder.object(loaded.root, PROJECT, "").items()
            if value is not UNSET
        }
        model = {"name": "", "services": {}, **model} | {"name": loaded.name}
        self.problems.check()
        profiles = self.profiles()
        model, disabled = select.split_profiles(model, profiles)
        report = self.reporter(loaded)
        if options.consistency:
            consistency.check(model, disabled, report)
            self.problems.check()
        checked = frozenset(model["services"])
        loaded.services = (*model["services"], *(model.get("jobs") or {}), *disabled)
        if options.services:
            wanted = select.profiles_of(disabled, options.services)
            if wanted:
                # Naming a service enables its profiles, with everything else that has them.
                profiles = [*profiles, *wanted]
                everyone = {**model["services"], **disabled}
                model, disabled = select.split_profiles({**model, "services": everyone}, profiles)
            model = self.selected(model, options.services)
            if options.consistency:
                consistency.check_services(model, disabled, report, checked)
                self.problems.check()
        for service in model["services"].values():
            if service.get("scale") is not None and "deploy" in service:
                service["deploy"]["replicas"] = service["scale"]
        loaded.resources = {key: model[key] for key in select.RESOURCES if key in model}
        if not options.all_resources:
            model = select.prune(model)
        if options.consistency and options.resolve_paths:
            consistency.check_secret_files(model, report)
        self.problems.check()
        for section in ("services", "jobs"):
            for name, service in (model.get(section) or {}).items():
                self.environment_of(service, (section, name), loaded)
                self.labels_of(service, (section, name), loaded)
        loaded.model = model
        loaded.ignored = [
            (join_path(path), place_of(loaded.root, path), reason)
            for path, reason in ignored(model)
        ]
        loaded.disabled = disabled
        loaded.profiles = profiles

    def reporter(self, loaded: Loaded) -> consistency.Report:
        """Return what notes a problem at the parts of a path."""

        def report(parts: tuple[str | int, ...], message: str, hint: str | Near | None) -> None:
            self.problems.add(place_of(loaded.root, parts), join_path(parts), message, hint)

        return report

    def selected(self, model: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Return the model with the named services and what they depend on."""
        try:
            return select.select(model, names)
        except select.NoSuchService as error:
            known = [*model["services"], *(model.get("jobs") or ())]
            raise UsageError(str(error), hint=suggest(error.name, known)) from error

    def profiles(self) -> list[str]:
        """Return the profiles asked for."""
        if self.options.profiles:
            return self.options.profiles
        text = variable(self.environment, "PROFILES") or ""
        return [name.strip() for name in text.split(",") if name.strip()]

    def environment_of(
        self, service: dict[str, Any], parts: tuple[str, str], loaded: Loaded
    ) -> None:
        """Put the variables of ``env_file`` below those of ``environment``."""
        own: dict[str, str | None] = service.get("environment") or {}
        for name, value in own.items():
            if value is None and name in self.environment:
                own[name] = self.environment[name]
        if not self.options.resolve_env:
            return
        named = service.pop("env_file", ())
        found: dict[str, str] = {name: value for name, value in own.items() if value is not None}
        lookup = {**found, **self.environment}
        for entry in named:
            if entry.get("required", True) or files.exists(entry.get("path", "")):
                self.env_file(entry, found, lookup, place_of(loaded.root, (*parts, "env_file")),
                              f"{join_path(parts)}.env_file")  # fmt: skip
        merged = {**found, **own}
        if merged:
            service["environment"] = merged

    def env_file(
        self, entry: dict[str, Any], into: dict[str, str], lookup: dict[str, str], place: Place,
        path: str,
    ) -> None:  # fmt: skip
        """Read one entry of ``env_file`` into `into`."""
        form = entry.get("format") or ""
        if form not in ("", ".env", "raw"):
            raise failure(place, path, f"unsupported env_file format {form!r}")
        name = entry.get("path", "")
        read_env_file(name, into, lookup, self.problems, place, path, raw=form == "raw")

    def labels_of(self, service: dict[str, Any], parts: tuple[str, str], loaded: Loaded) -> None:
        """Put the labels of ``label_file`` below those of ``labels``."""
        named = service.get("label_file") or ()
        labels: dict[str, str] = {}
        for name in named:
            place = place_of(loaded.root, (*parts, "label_file"))
            path = f"{join_path(parts)}.label_file"
            try:
                # Earlier files are all that a value may refer to.
                dotenv.parse(files.read(name), labels, dict(labels).get)
            except files.FileProblem as error:
                raise failure(place, path, f"cannot read label file {name!r}: {error}") from error
            except dotenv.DotenvError as error:
                raise failure(Place(name, error.line, 1), path, str(error)) from error
        if named:
            del service["label_file"]
            labels.update(service.get("labels") or {})
            if labels:
                service["labels"] = labels


def _matrix_variables(model: dict[str, Any]) -> set[str]:
    """Return the variables to which a matrix gives values: nobody has to set them."""
    found: set[str] = set()
    for section in ("services", "jobs"):
        services = model.get(section)
        for service in services.values() if isinstance(services, dict) else ():
            extension = service.get("x-gocker") if isinstance(service, dict) else None
            matrix = extension.get("matrix") if isinstance(extension, dict) else None
            found.update(matrix if isinstance(matrix, dict) else ())
    return found
