"""Frozen models of the Compose Specification and of gocker's batch extensions.

`Project.from_canonical` is the only way in. The modules follow the specification's chapters;
those of rare parts are imported when a spec uses them, because every class costs about a
millisecond of a cold start.
"""

from gocker.spec.model.project import Ignored, Project
from gocker.spec.model.service import Service

__all__ = ["Ignored", "Project", "Service"]
