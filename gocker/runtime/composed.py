"""A lower directory that has mounts below it, in a user namespace: an overlay put together.

The kernel lets no user namespace see what a mount of the host's covers, so an overlay on a
directory with such mounts is refused (has_locked_children() in fs/namespace.c). The usual case is
``host:/``. Each directory below that has none gets an overlay of its own; what leads there is made
anew, on the disk, once for all containers: directories, links, and copies of files. A mount point
is an empty directory, as it is in an overlay that the host's root makes.

Source: overlayfs.rst; mount_namespaces(7), "Restrictions on mount namespaces".
"""

from __future__ import annotations

import os
import stat

from gocker.cgroup.mounts import unescape
from gocker.errors import ContainerError
from gocker.linux import mount as m
from gocker.linux import procfs
from gocker.nested import overlay_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Of files beside directories with mounts, /etc/passwd in a container for one.
MAX_FILE = 1 << 20
MAX_BYTES = 16 << 20
# More would cost more than what they are for; the tree has mounts in odd places then.
MAX_OVERLAYS = 256
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Composition:
    """How a lower directory is put together.

    `skeleton`: the directory with what was made anew. `overlays`: paths, relative to both, that
    get an overlay of their own.
    """

    __slots__ = ("_bytes", "_hidden", "_lower", "_mounts", "overlays", "skeleton")

    def __init__(
        self, lower: str, hidden: Iterable[tuple[str, int]], mounts: Iterable[str], skeleton: str
    ) -> None:  # fmt: skip
        """Make the skeleton.

        Args:
            lower: the directory.
            hidden: paths in it that are shown as empty directories.
            mounts: mount points, in the whole namespace.
            skeleton: a directory to make.

        Raises:
            ContainerError: phase layer; too many files or directories would have to be made.
            OSError: the disk is full ...
        """
        self._lower = lower.rstrip("/")
        self._hidden = {path.strip("/") for path, _ in hidden}
        top = self._lower + "/"
        self._mounts = {path[len(top) :] for path in mounts if path.startswith(top)} - {""}
        self._bytes = 0
        self.skeleton = skeleton
        self.overlays: list[str] = []
        os.mkdir(skeleton, 0o755)
        self._directory("")

    def _directory(self, path: str) -> None:
        with os.scandir(f"{self._lower}/{path}") as entries:
            for entry in entries:
                below = f"{path}/{entry.name}".lstrip("/")
                if below not in self._hidden:
                    self._entry(below, entry)

    def _entry(self, path: str, entry: os.DirEntry[str]) -> None:
        target = f"{self.skeleton}/{path}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            mode = stat.S_IMODE(entry.stat().st_mode)
            os.mkdir(target, 0o700)
            os.chmod(target, mode)
            if path in self._mounts:
                return
            if any(name.startswith(f"{path}/") for name in self._mounts):
                self._directory(path)
            elif _has_entries(entry.path):
                self.overlays.append(path)
                if len(self.overlays) > MAX_OVERLAYS:
                    raise self._too_much(f"more than {MAX_OVERLAYS} directories")
        elif entry.is_file():
            self._copy(entry, target)

    def _copy(self, entry: os.DirEntry[str], target: str) -> None:
        """Copy a file; one that cannot be read is empty, and cannot be read there either."""
        status = entry.stat()
        mode = stat.S_IMODE(status.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
        made = os.open(target, _WRITE, 0o600)
        try:
            try:
                source = os.open(entry.path, _READ)
            except OSError:
                mode = 0
            else:
                self._bytes += status.st_size
                if status.st_size > MAX_FILE or self._bytes > MAX_BYTES:
                    os.close(source)
                    raise self._too_much(f"{entry.path!r} with {status.st_size} bytes")
                try:
                    while data := os.read(source, 1 << 16):
                        os.write(made, data)
                finally:
                    os.close(source)
            os.fchmod(made, mode)
        finally:
            os.close(made)

    def _too_much(self, what: str) -> ContainerError:
        return ContainerError(
            f"cannot show {self._lower or '/'!r}, which has mounts below it, to a user namespace: "
            f"{what} would have to be copied",
            hint="use a directory without mounts below it, or run gocker as root",
            phase="layer",
        )

    def mount(self, hiding: Sequence[str], directory: str, mountpoint: str) -> list[str]:
        """Mount all overlays in one another at `mountpoint`; return their upper directories.

        Args:
            hiding: layers that hide what is below, topmost first.
            directory: with ``upper`` and ``work`` for the root's overlay; the others get theirs.
            mountpoint: of the root; whoever unmounts it, detached, unmounts all.
        """
        uppers = [f"{directory}/upper"]
        _overlay([*hiding, self.skeleton], directory, mountpoint)
        parts = f"{directory}/parts"
        os.mkdir(parts, 0o700)
        for number, path in enumerate(self.overlays):
            own = f"{parts}/{number}"
            lower = f"{self._lower}/{path}"
            os.mkdir(own, 0o700)
            os.mkdir(f"{own}/upper", 0o755)
            os.mkdir(f"{own}/work", 0o700)
            os.chmod(f"{own}/upper", stat.S_IMODE(os.stat(lower).st_mode))
            above = [f"{top}/{path}" for top in hiding if os.path.isdir(f"{top}/{path}")]
            _overlay([*above, lower], own, f"{mountpoint}/{path}")
            uppers.append(f"{own}/upper")
        return uppers

    def gather(self, directory: str) -> None:
        """Put what was written into one tree, ``upper``, as if there had been one overlay."""
        for number, path in enumerate(self.overlays):
            source, target = f"{directory}/parts/{number}/upper", f"{directory}/upper/{path}"
            if not os.listdir(source):
                continue
            at = ""
            for name in path.split("/")[:-1]:
                at = f"{at}/{name}"
                made = f"{directory}/upper{at}"
                if not os.path.isdir(made):
                    os.mkdir(made, 0o700)
                    os.chmod(made, stat.S_IMODE(os.stat(f"{self.skeleton}{at}").st_mode))
            if os.path.isdir(target):
                os.rmdir(target)
            os.rename(source, target)


def _has_entries(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except PermissionError:
        return True  # and nobody in the container can look into it


def mount_points() -> list[str]:
    """Return the mount points of this process's namespace. Source: proc_pid_mountinfo(5)."""
    with open(procfs.open_file("self/mountinfo", os.O_RDONLY), encoding="utf-8") as lines:
        return [unescape(line.split(" ", 5)[4]) for line in lines]


def _overlay(lowers: list[str], directory: str, mountpoint: str) -> None:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fds: list[int] = []
    try:
        fds += [os.open(path, flags) for path in [directory, *lowers]]
        lower = ":".join(f"/proc/self/fd/{fd}" for fd in fds[1:])
        top = f"/proc/self/fd/{fds[0]}"
        data = f"lowerdir={lower},upperdir={top}/upper,workdir={top}/work,"
        data += ",".join(("volatile", *overlay_options()))
        m.mount("overlay", mountpoint, "overlay", m.MS_NODEV | m.MS_NOSUID, data)
    finally:
        for fd in fds:
            os.close(fd)
