"""``image: bins:sh,cat,sleep``: a minimal root of host binaries, copied once and cached.

Copies, not hard links: a link would share its inode with the host's file, and one wrong mode or
write would be the host's. copy_file_range(2) shares the blocks where the file system can.
"""

from __future__ import annotations

import errno
import os

from gocker.errors import HostError
from gocker.image.tree import Content, Directory, Link, Tree
from gocker.state.directory import list_names, open_private
from gocker.state.locks import acquire
from gocker.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.image.tree import Entry, File
    from gocker.state.roots import Roots


_UNFINISHED = ".new-"
_LOCK_TIMEOUT_S = 60.0
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_CHUNK = 1 << 24


def bins(names: tuple[str, ...], roots: Roots) -> str:
    """Return the directory of a root with these programs, made if the host has changed since.

    Raises:
        HostError: if a program or a library is missing, or it cannot be written.
    """
    try:
        tree = Tree(names)
        digest = tree.digest()
        path = os.path.join(roots.data, "images", "bins", digest)
        if not os.path.isdir(path):  # it gets this name when it is complete
            _build(tree, roots, digest)
    except OSError as err:
        where = f" {err.filename!r}" if err.filename else ""
        raise HostError(f"cannot make a bins: image:{where} {err.strerror}") from err
    return path


def _build(tree: Tree, roots: Roots, digest: str) -> None:
    cache_fd = roots.open_data("images", "bins")
    try:
        with acquire(
            ".lock", dir_fd=cache_fd, what="the cache of bins: images", timeout_s=_LOCK_TIMEOUT_S
        ):
            if not os.access(digest, os.F_OK, dir_fd=cache_fd):
                _publish(tree, cache_fd, digest)
    finally:
        os.close(cache_fd)


def _publish(tree: Tree, cache_fd: int, digest: str) -> None:
    """Build under another name and rename: nobody sees half a root. Needs the cache's lock."""
    for name in list_names(cache_fd):
        if name.startswith(_UNFINISHED):
            remove_tree(cache_fd, name)  # of a builder that was killed: we have its lock
    hidden = f"{_UNFINISHED}{digest}"
    try:
        os.close(open_private(hidden, dir_fd=cache_fd))
        root_fd = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=cache_fd)
        try:
            for path, entry in sorted(tree.entries.items()):
                _make(entry, path[1:], root_fd)
            os.fchmod(root_fd, 0o755)
            os.fsync(root_fd)
        finally:
            os.close(root_fd)
        os.rename(hidden, digest, src_dir_fd=cache_fd, dst_dir_fd=cache_fd)
    except BaseException:
        remove_tree(cache_fd, hidden)
        raise


def _make(entry: Entry, path: str, root_fd: int) -> None:
    """Make one entry. Parents sort before their children and are real directories."""
    if isinstance(entry, Directory):
        os.mkdir(path, dir_fd=root_fd)
        os.chmod(path, entry.mode, dir_fd=root_fd)
    elif isinstance(entry, Link):
        os.symlink(entry.target, path, dir_fd=root_fd)
    else:
        fd = os.open(path, _NEW, 0o600, dir_fd=root_fd)
        try:
            if isinstance(entry, Content):
                os.write(fd, entry.text.encode())
                os.fchmod(fd, 0o644)
            else:
                _copy(entry, fd)
                os.fchmod(fd, entry.mode)
            os.fsync(fd)  # a cached file that a power cut emptied would stay empty
        finally:
            os.close(fd)


def _copy(file: File, fd: int) -> None:
    source = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            while os.copy_file_range(source, fd, _CHUNK):
                pass
        except OSError as err:
            if err.errno not in _NO_RANGE:
                raise
            _copy_plain(source, fd)
        if os.fstat(fd).st_size != file.size:
            raise HostError(f"{file.source!r} changed while it was copied", hint="run it again")
    finally:
        os.close(source)


def _copy_plain(source: int, fd: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    while chunk := os.read(source, _CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
