"""Loads libyaml's event parser without the rest of ruamel.yaml.

``import ruamel.yaml`` and the extension itself import 25 modules (about 17 ms cold) for eight
exception classes and the tokens of an API that is not used here. So those modules are
replaced while the extension is imported, and only then; nothing stays replaced afterwards.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# Belongs to ruamel.yaml.clib; a top-level module without type information.
_EXTENSION = "_ruamel_yaml"
# What the extension imports and only needs for classes to raise or build in calls not made here.
_UNUSED = (
    "reader", "scanner", "parser", "composer", "constructor", "emitter", "serializer",
    "representer", "tokens",
)  # fmt: skip


class _Stub:
    """A module in which every name is an exception class."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Exception,), {})
        setattr(self, name, made)
        return made


def load() -> ModuleType:
    """Return the module ``_ruamel_yaml``."""
    package = "ruamel.yaml"
    if package in sys.modules or _EXTENSION in sys.modules:
        return importlib.import_module(_EXTENSION)
    import ruamel

    modules: dict[str, Any] = sys.modules
    root = _Stub(package)
    root.__path__ = [f"{path}/yaml" for path in ruamel.__path__]
    names = [package, *(f"{package}.{name}" for name in _UNUSED)]
    modules[package] = root
    modules.update((name, _Stub(name)) for name in names[1:])
    try:
        return importlib.import_module(_EXTENSION)
    finally:
        for name in names:
            del modules[name]
