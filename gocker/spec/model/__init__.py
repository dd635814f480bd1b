"""Frozen models of the Compose Specification and of gocker's batch extensions.

`Project.from_canonical` is the only way in. The modules follow the specification's chapters;
those of rare parts are imported when a spec uses them, because every class costs about a
millisecond of a cold start.
"""

import sys
from types import ModuleType

# Pydantic looks for plugins in every installed distribution when it builds its first model:
# 12 ms of a cold start, and code we did not ask for inside our process. With this module in
# place it finds none. Should pydantic rename its loader, this has no effect; in a process that
# uses pydantic itself, its plugins are its own affair.
if "pydantic" not in sys.modules:
    _no_plugins = ModuleType("pydantic.plugin._loader")
    _no_plugins.get_plugins = tuple  # type: ignore[attr-defined]  # a module made by hand
    sys.modules[_no_plugins.__name__] = _no_plugins

from gocker.spec.model.places import Ignored
from gocker.spec.model.project import Project
from gocker.spec.model.service import Service

__all__ = ["Ignored", "Project", "Service"]
