"""Frozen models of the Compose Specification and of gocker's batch extensions.

`load` is the way in. The modules follow the specification's chapters; nothing here imports
pydantic before it is needed, because that takes longer than all the rest of a cold start.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gocker.spec.model.entry import load
    from gocker.spec.model.forms import expand
    from gocker.spec.model.places import Ignored
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Service

# Pydantic looks for plugins in every installed distribution when it builds its first model:
# 12 ms of a cold start, and code we did not ask for inside our process. With this module in
# place it finds none. Should pydantic rename its loader, this has no effect; in a process that
# uses pydantic itself, its plugins are its own affair.
if "pydantic" not in sys.modules:
    _no_plugins = ModuleType("pydantic.plugin._loader")
    _no_plugins.get_plugins = tuple  # type: ignore[attr-defined]  # a module made by hand
    sys.modules[_no_plugins.__name__] = _no_plugins

__all__ = ["Ignored", "Project", "Service", "expand", "load"]

_MODULES = {
    "Ignored": "places",
    "Project": "project",
    "Service": "service",
    "expand": "forms",
    "load": "entry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
