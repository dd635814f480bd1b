"""Where the cgroup hierarchies are: read once from two texts of /proc.

Source: proc_pid_mountinfo(5), cgroups(7) "/proc files", cgroup_namespaces(7).
"""

from __future__ import annotations

from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Mode = Literal["v1", "v2", "hybrid"]

# Controllers that decide between the drivers. A lone net_cls or name= hierarchy beside a full
# v2 tree (VPN clients and systemd mount such) does not make a host "hybrid".
MAIN_CONTROLLERS = (
    "memory", "pids", "cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Mount:
    root: str
    point: str
    writable: bool
    fstype: str
    super_options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy as this process sees it.

    controllers: tuple of names; a named v1 hierarchy has one, ``name=systemd``; () for v2.
    mount: the mount point. root: the cgroup shown at the mount point (mountinfo's root field).
    path: this process's own cgroup, from /proc/self/cgroup.
    directory: that cgroup in the file system, or None if the mount does not reach it.
    """

    controllers: tuple[str, ...]
    mount: str
    root: str
    path: str
    directory: str | None


class Layout:
    """The hierarchies of this host: `v1` by controller name, `v2` or None, and the mode."""

    __slots__ = ("mode", "v1", "v2")

    def __init__(self, v1: dict[str, Hierarchy], v2: Hierarchy | None) -> None:
        self.v1 = v1
        self.v2 = v2
        on_v1 = any(name in v1 for name in MAIN_CONTROLLERS)
        self.mode: Mode | None = None
        if on_v1:
            self.mode = "hybrid" if v2 is not None else "v1"
        elif v2 is not None:
            self.mode = "v2"


def parse(mountinfo: str, cgroup: str) -> Layout:
    """Return the layout from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    mounts = _cgroup_mounts(mountinfo)
    v1: dict[str, Hierarchy] = {}
    v2: Hierarchy | None = None
    for line in cgroup.splitlines():
        number, names, path = line.split(":", 2)
        if names == "" and number == "0":
            v2 = _best([m for m in mounts if m.fstype == "cgroup2"], (), path)
            continue
        controllers = tuple(names.split(","))
        # The super options of a v1 mount name its controllers, among others (xattr, rw ...).
        candidates = [
            m for m in mounts if m.fstype == "cgroup" and m.super_options.issuperset(controllers)
        ]
        hierarchy = _best(candidates, controllers, path)
        if hierarchy is not None:
            v1.update(dict.fromkeys(controllers, hierarchy))
    return Layout(v1, v2)


def read() -> Layout:
    """Return the layout of this process."""
    with open("/proc/self/mountinfo") as mountinfo, open("/proc/self/cgroup") as cgroup:
        return parse(mountinfo.read(), cgroup.read())


def _cgroup_mounts(mountinfo: str) -> list[_Mount]:
    visible: dict[str, _Mount] = {}
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if not visible and not rest.startswith("cgroup"):
            continue  # the host's others, often many
        fstype, _, rest = rest.partition(" ")
        _, _, _, root, point, options, *_ = fields.split(" ")
        point = unescape(point)
        # A later mount on the same point hides the earlier one; any other file system does too.
        visible.pop(point, None)
        if fstype in ("cgroup", "cgroup2"):
            super_options = frozenset(rest.rpartition(" ")[2].split(","))
            writable = "rw" in options.split(",") and "rw" in super_options
            visible[point] = _Mount(unescape(root), point, writable, fstype, super_options)
    return list(visible.values())


def _best(mounts: list[_Mount], controllers: tuple[str, ...], path: str) -> Hierarchy | None:
    """Return the mount that reaches the own cgroup and is writable, the first among equals."""
    best, best_score = None, -1
    for mount in mounts:
        directory = locate(mount.point, mount.root, path)
        score = 2 * (directory is not None) + mount.writable
        if score > best_score:
            best = Hierarchy(controllers, mount.point, mount.root, path, directory)
            best_score = score
    return best


def locate(mount: str, root: str, path: str) -> str | None:
    """Return the directory of cgroup `path` below a mount that shows cgroup `root`.

    None if it is outside: a bind mount of another part, or a mount made outside of this cgroup
    namespace, whose root reads ``/..`` (cgroup_namespaces(7)).
    """
    if root.startswith("/.."):
        return None
    if path.startswith("/.."):
        return None
    if root == "/":
        return mount if path == "/" else mount.rstrip("/") + path
    if path == root:
        return mount
    if path.startswith(root + "/"):
        return mount.rstrip("/") + path[len(root) :]
    return None


def unescape(field: str) -> str:
    r"""Return a mountinfo field without the octal escapes of space, tab, newline and \."""
    if "\\" not in field:
        return field
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
