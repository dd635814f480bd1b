"""From the canonical model to the project: the way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gocker.spec.model import checks, records
from gocker.spec.model.places import Locate, ignored
from gocker.spec.model.walk import Walk

if TYPE_CHECKING:
    from gocker.spec.model.project import Project


def load(model: dict[str, Any], place: Locate, *, strict: bool = False) -> Project:
    """Return the project of a canonical model; see `Project.from_canonical`.

    When nothing is wrong, the project and its parts are records with the models' fields, and
    pydantic is not imported. Otherwise the models say what is wrong.

    Raises:
        SpecError: with all problems, in the order of the files.
    """
    walk = Walk(model)
    if not walk.problems and not (strict and walk.ignored):
        fields = {**walk.model, "ignored": ignored(walk.ignored, place)}
        try:
            project: Project = records.read("Project", fields)
        except records.Unsure:
            pass
        else:
            if not checks.problems(project, frozenset()):
                return project
    from gocker.spec.model.project import Project as Models

    return Models.from_canonical(model, place, strict=strict)
