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
    from gocker.cli.options import split_files

    files, services = split_files(words)
    return project_name(arguments, files), services


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
