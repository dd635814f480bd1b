"""What a ``gocker-oci`` process does first: the code of its command comes from one file.

Run before anything can be imported at little cost, so it imports nothing that is not there
anyway, not even ``__future__``; what only some starts need is in `codecache`.
"""

import gc
import os
import sys
from _frozen_importlib import ModuleSpec, spec_from_loader
from _frozen_importlib_external import MAGIC_NUMBER, ExtensionFileLoader
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any, NoReturn

    from gocker.runtime.oci.codecache import Entry
else:
    ModuleType = type(sys)  # without importing types

# Options before the command that take no value.
FLAGS = ("debug", "systemd-cgroup", "version", "help", "v", "h")


class Lazy(ModuleType):
    """A module whose code runs when something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        """Run the code; after that this is a module like any other."""
        module: ModuleType = self
        module.__class__ = ModuleType
        finder: Any = module.__spec__.loader if module.__spec__ is not None else None
        exec(finder.code(self.__name__), self.__dict__)  # noqa: S102  # an import
        return getattr(self, name)


class Cached:
    """A finder and loader of the modules in a file of `codecache`. All of it is in memory.

    A start needs the functions of half of the modules that it imports; the code of the others is
    never made.
    """

    def __init__(self, index: "dict[str, Entry]", codes: memoryview) -> None:
        self.index = index
        self._codes = codes

    def find_spec(self, name: str, *_: object) -> "ModuleSpec | None":
        """Return the spec of a module that is in the file."""
        if name not in self.index:
            return None
        path, _mtime_ns, _size, is_package, _start, end = self.index[name]
        if not end:
            return spec_from_loader(name, ExtensionFileLoader(name, path), origin=path)
        loader: Any = self  # as much of one as is needed
        spec = ModuleSpec(name, loader, origin=path, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(path)]
        return spec

    def create_module(self, _: ModuleSpec) -> None:
        """Have the module made as always."""

    def exec_module(self, module: "ModuleType") -> None:
        """Let the module wait until it is used."""
        module.__class__ = Lazy

    def code(self, name: str) -> "CodeType":
        """Return a module's code."""
        *_, start, end = self.index[name]
        found: CodeType = loads(self._codes[start:end])  # noqa: S302  # trusted as __pycache__ is
        return found

    def stay_in_memory(self) -> None:
        """Look at no file from now on: what needs one is imported now."""
        for name, (*_, end) in self.index.items():
            if not end:
                __import__(name)
        self.index = {name: entry for name, entry in self.index.items() if entry[-1]}


def command(argv: list[str]) -> str | None:
    """Return the word that is the command, or None if it may be none; it is not checked here."""
    value_follows = False
    for word in argv:
        if value_follows:
            value_follows = False
        elif not word.startswith("-"):
            return word if word.isalpha() and word.isascii() else None
        else:
            value_follows = "=" not in word and word.lstrip("-") not in FLAGS
    return None


def load(path: str) -> bool:
    """Import from now on from a file, if it is there and good; return whether it is."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        magic, index, start = loads(data)  # noqa: S302  # trusted as __pycache__ is
        if magic != MAGIC_NUMBER:
            return False
        for source, mtime_ns, size, *_ in index.values():
            found = os.stat(source)
            if found.st_mtime_ns != mtime_ns or found.st_size != size:
                return False
    except (OSError, EOFError, ValueError, TypeError):
        return False
    finder: Any = Cached(index, memoryview(data)[-start:])
    sys.meta_path.insert(0, finder)
    return True


def main(here: str) -> "NoReturn":
    """Run the command of this process and exit with its code. `here`: this file's directory."""
    # Imports make no garbage, and what little the rest makes goes with this short process.
    gc.disable()
    sys.path.insert(0, here.removesuffix("/gocker/runtime/oci"))
    argv = sys.argv[1:]
    name = command(argv)
    path = f"{here}/__pycache__/{name}.{sys.implementation.cache_tag}.modules"
    cached = name is None or load(path)
    from gocker.runtime.oci import slim

    slim.stand_in()
    from gocker.runtime.oci.main import COMMANDS, run

    save: Callable[[str], None] | None = None
    if not cached and name in COMMANDS:
        # Now: a command may make further imports impossible.
        from gocker.runtime.oci import codecache

        save = codecache.save
    code = run(argv)
    if save is not None and code == 0:
        save(path)
    # What the interpreter would tidy up at its end is about to go as a whole.
    sys.stdout.flush()
    os._exit(code)
