"""Finds the files of a project, its directory, its environment and its name (cli/options.go)."""

from __future__ import annotations

import os

from gocker.errors import UsageError
from gocker.spec import files
from gocker.spec.documents import Settings
from gocker.spec.dotenv import read_env_file
from gocker.spec.nodes import Mapping, Place, Scalar
from gocker.spec.parse import parse
from gocker.spec.paths import join
from gocker.spec.problems import Problems, failure
from gocker.spec.template import Template, TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping as MappingType

    from gocker.spec.load import LoadOptions

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml",
    "docker-compose.override.yaml",
)  # fmt: skip
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


def variable(environment: MappingType[str, str], name: str) -> str | None:
    """Return GOCKER_<name>, else COMPOSE_<name>; None when neither is set."""
    for prefix in ("GOCKER_", "COMPOSE_"):
        value = environment.get(prefix + name)
        if value is not None:
            return value
    return None


def find_files(
    options: LoadOptions, environment: dict[str, str], problems: Problems
) -> tuple[list[str], str]:
    """Return the Compose files and the project directory, and complete `environment`.

    ``.env`` of the working directory is read first, since it may set COMPOSE_FILE; then that of
    the project directory. What is set stays set.

    Raises:
        UsageError: if there is no file.
        SpecError: if an environment file is wrong.
    """
    cwd = options.cwd
    directory = options.project_directory
    if directory:
        directory = join(cwd, directory) if not directory.startswith("/") else directory
        directory = os.path.normpath(directory)
    env_files = options.env_files or _named_env_files(environment)
    names = [name if name == "-" else _absolute(name, cwd) for name in options.files]
    _dotenv(env_files, directory or _folder(names) or cwd, cwd, environment, problems)
    if not names:
        names = _from_variable(environment, cwd) or _discovered(directory or cwd, problems)
    if not names:
        raise UsageError(
            "no configuration file provided: not found",
            hint=f"name one with -f, or create {NAMES[0]}",
        )
    _dotenv(env_files, directory or _folder(names) or cwd, cwd, environment, problems)
    return names, directory or _folder(names) or cwd


def _absolute(name: str, cwd: str) -> str:
    return name if name.startswith("/") else join(cwd, name)


def _folder(names: list[str]) -> str:
    """Return the directory of the first file that has one."""
    return next((os.path.dirname(name) or "/" for name in names if name != "-"), "")


def _named_env_files(environment: dict[str, str]) -> list[str]:
    text = variable(environment, "ENV_FILES") or ""
    return [name for name in text.split(",") if name]


_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def _dotenv(
    named: list[str], directory: str, cwd: str, environment: dict[str, str], problems: Problems
) -> None:
    """Add the variables of the environment files that are not set yet."""
    if named:
        paths = [_absolute(name, cwd) for name in named]
    else:
        switch = variable(environment, "DISABLE_ENV_FILE")
        if switch is not None and switch not in _TRUE | _FALSE:
            raise UsageError(f"COMPOSE_DISABLE_ENV_FILE: {switch!r} is not a boolean")
        default = join(directory, ".env")
        if switch in _TRUE or not files.exists(default) or files.is_dir(default):
            return
        paths = [default]
    found: dict[str, str] = {}
    for path in paths:
        read_env_file(path, found, environment, problems)
    for name, value in found.items():
        environment.setdefault(name, value)


def _from_variable(environment: dict[str, str], cwd: str) -> list[str]:
    text = variable(environment, "FILE")
    if not text:
        return []
    separator = variable(environment, "PATH_SEPARATOR") or ":"
    return [name if name == "-" else _absolute(name, cwd) for name in text.split(separator) if name]


def _discovered(directory: str, problems: Problems) -> list[str]:
    """Look for a Compose file in `directory` and its parents, and for an override beside it."""
    while True:
        found = [path for name in NAMES if files.exists(path := join(directory, name))]
        if found:
            over = [path for name in OVERRIDES if files.exists(path := join(directory, name))]
            for kind in (found, over):
                if len(kind) > 1:
                    problems.warn(f"found multiple files: {', '.join(kind)}; using {kind[0]}")
            return [found[0], *over[:1]]
        parent = os.path.dirname(directory)
        if parent == directory:
            return []
        directory = parent


def normalized(name: str) -> str:
    """Return the project name that `name` becomes: lower case, without what is not allowed."""
    return "".join(char for char in name.lower() if char in _NAME_CHARS).lstrip("_-")


def project_name(
    options: LoadOptions, names: list[str], directory: str, environment: dict[str, str],
    settings: Settings,
) -> str:  # fmt: skip
    """Return the project's name: ``-p``, the variable, the last ``name:``, the directory.

    Raises:
        UsageError: if the first two give one that is not allowed.
        SpecError: if a file cannot be read or the name's variables cannot be replaced.
    """
    given = options.project_name or variable(environment, "PROJECT_NAME")
    if given:
        if normalized(given) != given:
            raise UsageError(
                f"invalid project name {given!r}: must consist only of lowercase alphanumeric "
                "characters, hyphens, and underscores as well as start with a letter or number",
                hint=f"use {normalized(given)!r}" if normalized(given) else None,
            )
        return given
    written = _written_name(names, settings)
    if written is not None:
        text = str(written.value)
        if options.interpolate:
            try:
                text = Template(environment.get).substitute(text)
            except TemplateError as error:
                raise failure(written.place, "name", str(error)) from error
        return normalized(text) if options.normalize else text
    return normalized(os.path.basename(directory))


def _written_name(names: list[str], settings: Settings) -> Scalar | None:
    """Return the last ``name:`` of the files. The documents are kept for the load."""
    found: Scalar | None = None
    for name in names:
        try:
            data = files.read(name)
        except files.FileProblem as error:
            raise failure(Place(name, 1, 1), "", f"cannot read {name!r}: {error}") from error
        settings.parsed[name] = parse(data, name, settings.problems)
        for document in settings.parsed[name]:
            root = document.root
            own = root.get("name") if isinstance(root, Mapping) else None
            if isinstance(own, Scalar) and own.value:
                found = own
    settings.problems.check()
    return found
