"""The two directories that hold everything gocker remembers.

*data* is durable: runs, volumes, container directories, cached images. *live* belongs to one
boot and holds what has no meaning after it, the locks of projects. Both are verified each time
they are opened; TMPDIR and /tmp are never used.
"""

from __future__ import annotations

import os

from gocker.digest import hexdigest
from gocker.errors import HostError
from gocker.state import rootless
from gocker.state.directory import list_names, open_private, verify_ancestors
from gocker.state.holder import boot_id
from gocker.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


DEFAULT_DATA = "/var/lib/gocker"
# Not `re`: its import is a fifth of a short command.
_BOOT_ID_PARTS = [8, 4, 4, 4, 12]
_HEX = frozenset("0123456789abcdef")


class Roots:
    """The open roots. Owns `data_fd` and `live_fd`; a ``with`` block closes them."""

    def __init__(self, data: str, live: str) -> None:
        self.data = data
        self._kept: list[int] = []
        self.live = os.path.join(live, boot_id())
        self.data_fd = _open_root(data)
        try:
            live_fd = _open_root(live)
            try:
                _forget_other_boots(live_fd, boot_id())
                self.live_fd = open_private(boot_id(), dir_fd=live_fd, shown=self.live)
            finally:
                os.close(live_fd)
        except BaseException:
            os.close(self.data_fd)
            raise

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Roots:
        """Open the roots that the environment and the user give, making them if missing.

        Raises:
            HostError: if one is not ours alone; the hint says how to mend it.
        """
        return cls(*paths(environ, rootless.uid()))

    @property
    def cgroup_name(self) -> str:
        """Name of the cgroup that holds the containers of this data root, and no others."""
        if self.data == DEFAULT_DATA:
            return "gocker"
        real = os.path.realpath(self.data)
        return f"gocker-{hexdigest(os.fsencode(real))[:8]}"

    def __enter__(self) -> Roots:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self._kept:
            os.close(fd)
        self._kept.clear()
        os.close(self.data_fd)
        os.close(self.live_fd)

    def keep(self, fd: int) -> None:
        """Own a descriptor, as of a lock on what is used, until the roots are closed."""
        self._kept.append(fd)

    def open_data(self, *names: str) -> int:
        """Return a descriptor of a private directory below *data*, made if missing."""
        fd, shown = self.data_fd, self.data
        for name in names:
            shown = os.path.join(shown, name)
            try:
                below = open_private(name, dir_fd=fd, shown=shown)
            finally:
                if fd != self.data_fd:
                    os.close(fd)
            fd = below
        return fd

    def programs(self) -> str:
        """Return the path of the directory in which launchers keep compiled seccomp programs."""
        os.close(self.open_data("cache", "seccomp"))
        return os.path.join(self.data, "cache", "seccomp")

    def open_live(self, name: str) -> int:
        """Return a descriptor of a private directory below *live*, made if missing."""
        return open_private(name, dir_fd=self.live_fd, shown=os.path.join(self.live, name))


def paths(environ: Mapping[str, str], uid: int) -> tuple[str, str]:
    """Return the paths of *data* and *live*.

    GOCKER_DATA_ROOT and GOCKER_RUN_ROOT win; root has /var/lib and /run; others have the XDG
    directories, and without XDG_RUNTIME_DIR *live* is below *data*, which is private, too.

    Raises:
        HostError: if a GOCKER_* variable is not an absolute path.
    """
    if uid == 0:
        data, live = DEFAULT_DATA, "/run/gocker"
    else:
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            home = _home(uid)
        data = _xdg(environ, "XDG_DATA_HOME") or os.path.join(home, ".local/share/gocker")
        live = _xdg(environ, "XDG_RUNTIME_DIR") or ""
    data = _override(environ, "GOCKER_DATA_ROOT") or data
    return data, _override(environ, "GOCKER_RUN_ROOT") or live or os.path.join(data, "live")


def _home(uid: int) -> str:
    """Return a user's directory of the password file, which only a login sets as HOME.

    Raises:
        HostError: there is none.
    """
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise HostError(
            f"HOME is not set, and user {uid} is not in /etc/passwd",
            hint="set HOME, or GOCKER_DATA_ROOT and GOCKER_RUN_ROOT, to directories of yours",
        ) from None


def _xdg(environ: Mapping[str, str], name: str) -> str | None:
    # "All paths must be absolute. If a relative path is met, it is to be ignored." (XDG basedir)
    path = environ.get(name, "")
    return os.path.join(path, "gocker") if path.startswith("/") else None


def _override(environ: Mapping[str, str], name: str) -> str | None:
    path = environ.get(name)
    if path and not path.startswith("/"):
        raise HostError(f"{name} is {path!r}, not an absolute path", hint=f"{name}=$PWD/{path}")
    return path or None


def _open_root(path: str) -> int:
    parent, name = os.path.split(path.rstrip("/"))
    try:
        os.makedirs(parent, 0o700, exist_ok=True)
    except OSError as err:
        raise HostError(f"cannot make {parent!r}: {err.strerror}") from err
    # The administrator's links (/var/run) are followed here, and the result is verified.
    real = os.path.join(os.path.realpath(parent), name)
    verify_ancestors(real)
    return open_private(real, shown=path)


def _forget_other_boots(live_fd: int, boot: str) -> None:
    """Remove what a /run that outlives a reboot kept of earlier boots, and nothing else."""
    for name in list_names(live_fd):
        if name != boot and _is_boot_id(name):
            remove_tree(live_fd, name)


def _is_boot_id(name: str) -> bool:
    parts = name.split("-")
    return [len(part) for part in parts] == _BOOT_ID_PARTS and all(
        _HEX.issuperset(p) for p in parts
    )
