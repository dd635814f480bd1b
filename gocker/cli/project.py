"""The name of the project that a command is about, as cheaply as it can be had."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def named(arguments: argparse.Namespace, words: list[str]) -> tuple[str, list[str]]:
    """Return the project's name and the services among a command's words.

    Raises:
        UsageError, SpecError: as `project_name`.
    """
    files, services = split_files(words)
    return project_name(arguments, files), services


def split_files(words: list[str]) -> tuple[list[str], list[str]]:
    """Tell spec files from services: a word that ends in .yaml or .yml or exists as a file."""
    files = [word for word in words if _is_file(word)]
    return files, [word for word in words if not _is_file(word)]


def _is_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or ("/" in word and os.path.isfile(word))


def project_name(arguments: argparse.Namespace, files: list[str] | None = None) -> str:
    """Return the project's name; a spec is read only if neither -p nor the environment names it.

    Of a spec only ``name:`` counts, so one that is invalid elsewhere still tells.

    Raises:
        UsageError: if there is no spec, or the name is not allowed.
        SpecError: if the spec cannot be read.
    """
    given: str | None = arguments.project_name
    if not given and not arguments.file and not files:
        given = os.environ.get("GOCKER_PROJECT_NAME") or os.environ.get("COMPOSE_PROJECT_NAME")
    if given:
        from gocker.state.names import checked

        return checked(given, "project")
    from gocker.cli.options import load_options
    from gocker.spec.load import name_of

    return name_of(load_options(arguments, files or []))
