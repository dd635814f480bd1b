"""Checks between keys."""

from gocker.spec.model.project import Found, Project


def problems(project: Project) -> list[Found]:
    """Return what is wrong between the keys of a project."""
    return []
