"""The content of a minimal root: which files, links and directories of the host it takes.

Deciding is apart from copying (`gocker.image.bins`). Paths keep their places: ``/bin`` is a link
where the host's is one, and a chain of links (``/usr/bin/awk``, ``/etc/alternatives/awk``,
``/usr/bin/mawk``) is there whole.
"""

from __future__ import annotations

import os
import re
import stat

from gocker.digest import hexdigest
from gocker.errors import HostError
from gocker.image.libraries import Libraries
from gocker.image.path import which
from gocker.values import dataclass

_LAYOUT_VERSION = 1
_MAX_LINKS = 40  # as the kernel, path_resolution(7)
_MAX_SCRIPTS = 5
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DIRECTORIES = {
    "/dev": 0o755, "/etc": 0o755, "/proc": 0o555, "/root": 0o700, "/run": 0o755, "/sys": 0o555,
    "/tmp": 0o1777, "/usr": 0o755, "/var": 0o755, "/var/tmp": 0o1777,  # noqa: S108  # made, not used
}  # fmt: skip
_CONTENTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    # Mount points for the ones that gocker writes.
    "/etc/hosts": "",
    "/etc/hostname": "",
    "/etc/resolv.conf": "",
}
# The first names in the table of applets of a busybox; the others follow, NUL-terminated.
_APPLETS = b"\0[\0[["
_APPLET = re.compile(r"[a-z0-9_.+\[-]{1,32}")


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of the host; size and times tell whether it is still the same."""

    source: str
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Content:
    """A file of our own."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory."""

    mode: int


Entry = File | Content | Link | Directory


class Tree:
    """The entries of a root by absolute path, with everything its programs need to run.

    Args:
        programs: names to look up in `PATH`, or paths.

    Raises:
        HostError: if one, its interpreter or a library is not on this host.
    """

    def __init__(self, programs: tuple[str, ...]) -> None:
        self.entries: dict[str, Entry] = {}
        self._libraries = Libraries()
        for path in _MERGED:
            if os.path.islink(path):
                self._walk(path)
        for path, mode in _DIRECTORIES.items():
            self.entries[path] = Directory(mode)
        for path, text in _CONTENTS.items():
            self.entries[path] = Content(text)
        found = [which(name) for name in programs]
        real = [self._add_executable(path, _MAX_SCRIPTS) for path in found]
        # Last, so that an applet does not take the place of a program that was asked for.
        for path, target in zip(found, real, strict=True):
            if os.path.basename(target).startswith("busybox"):
                self._add_applets(path, target)

    def digest(self) -> str:
        """Return a name for this content: equal while the host's files are unchanged."""
        facts = [f"layout {_LAYOUT_VERSION}"]
        facts += [f"{path!r} {entry!r}" for path, entry in sorted(self.entries.items())]
        return hexdigest("\n".join(facts).encode("utf-8", "surrogatepass"))[:32]

    def _add_executable(self, path: str, scripts: int) -> str:
        real = self._walk(path)
        with open(real, "rb") as file:
            start = file.read(256)
        if start.startswith(b"#!"):
            if not scripts:
                raise HostError(f"{path!r}: its interpreters are scripts themselves, too deep")
            self._add_interpreter(path, os.fsdecode(start[2:].split(b"\n")[0]), scripts)
        for needed in self._libraries.closure(real):
            self._walk(needed)
        if self._libraries.configured and os.path.exists("/etc/ld.so.cache"):
            self._walk("/etc/ld.so.cache")
        return real

    def _add_interpreter(self, path: str, line: str, scripts: int) -> None:
        """Add what a ``#!`` line names, and the program behind ``/usr/bin/env``."""
        words = line.split()
        if not words:
            raise HostError(f"{path!r}: the #! line names no interpreter")
        self._add_executable(which(words[0]), scripts - 1)
        if os.path.basename(words[0]) == "env":
            programs = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            if programs:
                self._add_executable(which(programs[0]), scripts - 1)

    def _add_applets(self, path: str, real: str) -> None:
        """Add links to a busybox for its applets, as ``busybox --install`` would."""
        with open(real, "rb") as file:
            content = file.read()
        start = content.find(_APPLETS)
        if start < 0:
            return
        directory = os.path.dirname(self._canonical(path))
        # The table ends with an empty name. The program is not run to ask for it.
        for name in content[start + 1 : start + 16384].split(b"\0"):
            applet = name.decode("latin-1")
            if _APPLET.fullmatch(applet) is None:
                return
            self.entries.setdefault(f"{directory}/{applet}", Link(os.path.basename(path)))

    def _canonical(self, path: str) -> str:
        """Return `path` with its directory resolved and its last component as it is."""
        directory, name = os.path.split(path)
        return os.path.join(os.path.realpath(directory), name)

    def _walk(self, path: str) -> str:
        """Add every link, directory and file on the way to `path`; return where it ends."""
        todo = [part for part in reversed(path.split("/")) if part]
        at, links = "", 0
        while todo:
            part = todo.pop()
            if part in (".", ".."):
                at = os.path.dirname(at) if part == ".." and at != "/" else at
                at = "" if at == "/" else at
                continue
            at = f"{at}/{part}"
            entry = _entry(at)
            self.entries.setdefault(at, entry)
            if isinstance(entry, Link):
                links += 1
                if links > _MAX_LINKS:
                    raise HostError(f"{path!r}: too many symbolic links")
                at = "" if entry.target.startswith("/") else os.path.dirname(at)
                at = "" if at == "/" else at
                todo += [part for part in reversed(entry.target.split("/")) if part]
        return at or "/"


def _entry(path: str) -> Entry:
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return Link(os.readlink(path))
    except OSError as err:
        raise HostError(f"cannot read {path!r}: {err.strerror}") from err
    if stat.S_ISDIR(status.st_mode):
        return Directory(0o755)
    if not stat.S_ISREG(status.st_mode):
        raise HostError(f"{path!r} is not a regular file")
    # Without set-user-ID: what the host's administrator granted is not for containers.
    mode = 0o755 if status.st_mode & 0o111 else 0o644
    return File(path, mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
