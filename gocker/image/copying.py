"""COPY and ADD: which files go where, as the entries of a layer."""

from __future__ import annotations

import hashlib
import os
import stat

from gocker.errors import HostError
from gocker.image.buildconfig import join
from gocker.image.context import Files
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator

    from gocker.image.layertar import Writer
    from gocker.image.layertree import Entry

_MOST_PASSWD = 1 << 20


@dataclass(frozen=True, slots=True)
class Copy:
    """One COPY. `owner`: numbers, or None for the files' own (``--from``) or root's.

    `mode`: of files and directories, None for their own; `contents`: files of heredocs by name.
    """

    files: Files
    sources: tuple[str, ...]
    target: str
    owner: tuple[int, int] | None = None
    mode: int | None = None
    contents: tuple[tuple[str, bytes], ...] = ()
    keep_owner: bool = False

    def entries(self, image: Files, working_dir: str) -> Iterator[tuple[Entry | bytes, str]]:
        """Yield what to write under which name in the layer; names have no leading slash.

        An entry is open until the next one is asked for.

        Raises:
            HostError: if a source is missing, or the target cannot take them all.
        """
        into = self.target.endswith("/") or self.target in (".", "..")
        target = join(working_dir, self.target).lstrip("/")
        resolved = image.resolve(target) if target else ""
        status = image.status(resolved) if resolved else None
        into = into or resolved == "" or (status is not None and stat.S_ISDIR(status.st_mode))
        found = self._found()
        count = len(found) + len(self.contents)
        if count > 1 and not into:
            raise HostError(
                f"{count} files cannot become the one {self.target!r}",
                hint="end the target with / to make it a directory",
            )
        for path in found:
            yield from self._one(path, target, into=into)
        for name, data in self.contents:
            yield data, f"{target}/{name}".lstrip("/") if into else target

    def _found(self) -> list[str]:
        found: list[str] = []
        for source in self.sources:
            matched = self.files.match(source)
            if not matched:
                raise HostError(f"{source!r} is not there, or .dockerignore leaves it out")
            found += matched
        return found

    def _one(self, path: str, target: str, *, into: bool) -> Iterator[tuple[Entry | bytes, str]]:
        status = self.files.status(path) if path else None
        if path == "" or (status is not None and stat.S_ISDIR(status.st_mode)):
            # The contents of a directory, not the directory itself.
            cut = len(path) + 1 if path else 0
            for entry in self.files.below(path):
                yield entry, f"{target}/{entry.path[cut:]}".lstrip("/")
            return
        name = f"{target}/{os.path.basename(path)}".lstrip("/") if into else target
        for entry in self.files.one(path):
            yield entry, name

    def change(self, info: tarfile.TarInfo) -> None:
        """Give an entry the owner and mode that were asked for."""
        if self.owner is not None:
            info.uid, info.gid = self.owner
        elif not self.keep_owner:
            info.uid = info.gid = 0
        if self.mode is not None and not info.issym():
            info.mode = self.mode


def checksum(made: Iterator[tuple[Entry | bytes, str]]) -> str:
    """Return a digest of names, modes and contents; times are left out, as in BuildKit."""
    total = hashlib.sha256()
    for item, name in made:
        total.update(f"{name!r}\n".encode())
        if isinstance(item, bytes):
            total.update(item)
            continue
        status = item.status
        total.update(f"{status.st_mode} {status.st_uid} {status.st_gid}\n".encode())
        if stat.S_ISREG(status.st_mode):
            total.update(f"{status.st_size}\n".encode())
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(item.name, flags, dir_fd=item.parent), "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        elif stat.S_ISLNK(status.st_mode):
            total.update(os.fsencode(os.readlink(item.name, dir_fd=item.parent)))
    return total.hexdigest()


def write(writer: Writer, copy: Copy, image: Files, made: Iterator[tuple[Entry | bytes, str]]) -> None:  # fmt: skip  # noqa: E501  # a signature
    """Write the entries; directories on the way that the image has not are root's, mode 0755."""
    uid, gid = copy.owner or (0, 0)
    known: set[str] = set()
    for item, name in made:
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            if above not in known:
                known.add(above)
                if image.resolve(above) is None:
                    writer.directory(above, uid=uid, gid=gid)
        if isinstance(item, bytes):
            writer.content(name, item, copy.mode or 0o644)
            continue
        if stat.S_ISDIR(item.status.st_mode):
            known.add(name)
        writer.add(item, name, copy.change)


def owner(text: str, image: Files) -> tuple[int, int]:
    """Return the numbers of ``user[:group]``, looked up in the image.

    Raises:
        HostError: if the image has no such user or group.
    """
    user, _, group = text.partition(":")
    uid, gid = _number(user, image, "etc/passwd")
    if group:
        _, gid = _number(group, image, "etc/group")
    return uid, gid


def _number(name: str, image: Files, file: str) -> tuple[int, int]:
    if name.isdecimal():
        return int(name), int(name)
    for line in _read(image, file).splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdecimal():
            gid = fields[3] if file.endswith("passwd") else fields[2]
            return int(fields[2]), int(gid) if gid.isdecimal() else int(fields[2])
    raise HostError(f"the image has no {name!r} in /{file}", hint="use a number")


def _read(image: Files, path: str) -> str:
    real = image.resolve(path)
    for entry in image.one(real) if real else ():
        if stat.S_ISREG(entry.status.st_mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(entry.name, flags, dir_fd=entry.parent), "rb") as file:
                return file.read(_MOST_PASSWD).decode("utf-8", "replace")
    return ""
