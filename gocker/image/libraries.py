"""Where the dynamic linker would find the libraries of a program. Source: ld.so(8).

The order is DT_RPATH (of the object and its loaders, unless it has DT_RUNPATH), DT_RUNPATH, the
directories of /etc/ld.so.conf, which stand for /etc/ld.so.cache, then the default directories.
LD_LIBRARY_PATH is our caller's and has no part in it.
"""

from __future__ import annotations

import glob
import os

from gocker.errors import HostError
from gocker.image.elf import read_elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.image.elf import Elf


_CONF = "/etc/ld.so.conf"
# e_machine of elf.h, and the directory name of Debian's multiarch.
_TRIPLETS = {
    3: "i386-linux-gnu",
    21: "powerpc64le-linux-gnu",
    22: "s390x-linux-gnu",
    40: "arm-linux-gnueabihf",
    62: "x86_64-linux-gnu",
    183: "aarch64-linux-gnu",
    243: "riscv64-linux-gnu",
}
_MAX_INCLUDES = 8


class Libraries:
    """Finds libraries; remembers what it read.

    `configured` is set once a library came from a directory of /etc/ld.so.conf that the linker
    does not know by itself, so that it needs /etc/ld.so.cache, too.
    """

    def __init__(self) -> None:
        self._elves: dict[str, Elf | None] = {}
        self._conf: list[str] | None = None
        self.configured = False

    def elf(self, path: str) -> Elf | None:
        """Return the ELF facts of a file, or None if it is none."""
        if path not in self._elves:
            self._elves[path] = read_elf(path)
        return self._elves[path]

    def closure(self, program: str) -> list[str]:
        """Return the interpreter and all libraries of an ELF program, as absolute paths.

        Raises:
            HostError: if a library is not found.
        """
        elf = self.elf(program)
        if elf is None or (elf.interpreter is None and not elf.needed):
            return []
        found: dict[str, str] = {}
        if elf.interpreter is not None:
            found[os.path.basename(elf.interpreter)] = elf.interpreter
        # Each object waits with the RPATHs of those that led to it.
        queue: list[tuple[str, Elf, tuple[str, ...]]] = [(program, elf, ())]
        while queue:
            path, asking, inherited = queue.pop(0)
            own = () if asking.runpath else tuple(_expand(path, asking.rpath, asking))
            for name in asking.needed:
                if name in found:
                    continue
                library = self._find(name, path, asking, (*own, *inherited))
                if library is None:
                    raise HostError(
                        f"{path!r} needs the library {name!r}, which is not found",
                        hint="install it, or run ldconfig if it is in a new directory",
                    )
                found[name] = library
                needed = self.elf(library)
                if needed is not None:
                    queue.append((library, needed, (*own, *inherited)))
        return list(found.values())

    def _find(self, name: str, path: str, asking: Elf, rpath: tuple[str, ...]) -> str | None:
        if "/" in name:
            return name if self._fits(name, asking) else None
        places = [] if asking.runpath else list(rpath)
        places += _expand(path, asking.runpath, asking)
        for directory in places:
            if self._fits(os.path.join(directory, name), asking):
                return os.path.join(directory, name)
        defaults = _defaults(asking)
        for directory in (*self._configured(), *defaults):
            if self._fits(os.path.join(directory, name), asking):
                self.configured |= directory not in defaults
                return os.path.join(directory, name)
        return None

    def _fits(self, path: str, asking: Elf) -> bool:
        if not os.path.isfile(path):
            return False
        elf = self.elf(path)
        return elf is not None and elf.kind == asking.kind

    def _configured(self) -> list[str]:
        if self._conf is None:
            self._conf = list(_conf_directories(_CONF, _MAX_INCLUDES))
        return self._conf


def _defaults(elf: Elf) -> list[str]:
    triplet = _TRIPLETS.get(elf.kind[2])
    multiarch = [f"/lib/{triplet}", f"/usr/lib/{triplet}"] if triplet else []
    return [*multiarch, "/lib64", "/usr/lib64", "/lib", "/usr/lib"]


def _expand(path: str, entries: tuple[str, ...], elf: Elf) -> Iterator[str]:
    """Yield the directories of RPATH entries, but not relative ones: they depend on the cwd."""
    origin = os.path.dirname(os.path.realpath(path))
    lib = "lib64" if elf.kind[0] == 2 else "lib"
    for entry in entries:
        expanded = entry
        for name, value in (("ORIGIN", origin), ("LIB", lib)):
            expanded = expanded.replace(f"${{{name}}}", value).replace(f"${name}", value)
        if expanded.startswith("/"):
            yield os.path.normpath(expanded)


def _conf_directories(path: str, depth: int) -> Iterator[str]:
    """Yield the directories of a file in the format of /etc/ld.so.conf. Source: ldconfig(8)."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return  # musl's and Nix's hosts have none
    for line in lines:
        words = line.partition("#")[0].replace(",", " ").split()
        if words[:1] == ["include"] and depth:
            for pattern in words[1:]:
                for included in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
                    yield from _conf_directories(included, depth - 1)
        else:
            yield from (word for word in words if word.startswith("/"))
