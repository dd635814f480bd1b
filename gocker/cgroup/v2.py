"""The v2 driver: one hierarchy, controllers switched on where they are needed."""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, ESRCH

from gocker.cgroup import base, device_program, devices, tree, v2_limits
from gocker.cgroup.v2_group import Cgroup
from gocker.errors import HostError, SyscallError
from gocker.linux import bpf
from gocker.nested import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from gocker.cgroup.limits import Setting
    from gocker.cgroup.mounts import Hierarchy

# Switched on for statistics of every container, if the host has them. Others cost time in every
# mkdir and are switched on when a limit of theirs is asked for.
_ALWAYS = ("memory", "pids")
# Where processes of a delegated cgroup go: it can only have controlled children when it has no
# processes of its own (cgroup-v2.rst, "No Internal Process Constraint").
SUPERVISOR = "gocker-supervisor"


class Manager(base.Manager):
    """See `base.Manager`.

    Args:
        mount: the mount point, as far up as controllers may be switched on.
        parent: the directory below which containers' cgroups are made.
    """

    def __init__(self, mount: str, parent: str) -> None:
        self._mount = mount
        self._parent = parent
        self._enabled: set[tuple[str, str]] = set()
        self._program: tuple[bytes, int] | None = None
        self._bfq: bool | None = None
        # The core's files (cpu.stat, cgroup.kill) and the device program need no controller.
        available = _available(mount, parent)
        self._always = tuple(name for name in _ALWAYS if name in available)
        names = [v2_limits.CORE, "devices", *available]
        super().__init__(dict.fromkeys(names, parent), (v2_limits.CORE,), "v2")

    def settings(self, resources: Mapping[str, Any]) -> list[Setting]:
        """See `v2_limits.settings`."""
        bfq = False
        if "blockIO" in resources and "io" in self.directories:
            if self._bfq is None:
                # Not in the root; there from the moment that io is switched on above.
                self.enable("io", "")
                self.fd(self._parent)
                self._bfq = os.path.exists(f"{self._parent}/io.bfq.weight")
            bfq = self._bfq
        return v2_limits.settings(resources, bfq=bfq)

    def compile_rules(self, rules: Sequence[Mapping[str, Any]]) -> bytes | None:
        """Return the program, or None if everything is allowed."""
        everything, exceptions = devices.lists(devices.parse(rules))
        if everything and not exceptions:
            return None
        return device_program.build(exceptions, everything=everything)

    def need_devices(self) -> None:
        """Do nothing: the kernel has the program type since Linux 4.15; loading it tells."""

    def program(self, code: bytes) -> int:
        """Return the descriptor of a loaded device program; the last one is kept."""
        if self._program is not None:
            if self._program[0] == code:
                return self._program[1]
            os.close(self._program[1])
            self._program = None
        self._program = (code, bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, code))
        return self._program[1]

    def group(self, path: str, directories: Iterable[str]) -> Cgroup:
        """Return the object for a container's cgroup, nothing made."""
        return Cgroup(self, path, directories)

    def missing(self, controller: str, limit: str) -> HostError:
        """Return the error for a controller that is not available."""
        where = os.path.dirname(self._parent)
        return HostError(
            f"{limit} needs the cgroup controller {controller!r}, which is not in "
            f"{where + '/cgroup.controllers'!r}",
            hint=f"switch it on in the parents (echo +{controller} > cgroup.subtree_control), or "
            "delegate it: systemctl edit user@.service, [Service] Delegate=yes",
            controller=controller,
        )

    def prepare(self, directory: str, path: str) -> None:  # noqa: ARG002  # v1 needs it
        """Forget what was switched on in a parent of this name that another gocker removed."""
        self._enabled = {entry for entry in self._enabled if entry[1] != path}

    def mkdir(self, directory: str, path: str) -> None:
        """Make a container's cgroup with the controllers of every container."""
        super().mkdir(directory, path)
        for controller in self._always:
            self.enable(controller, path)

    def enable(self, controller: str, container_path: str) -> None:
        """Switch a controller on for the children of every parent of a container."""
        self.fd(self._parent)
        directory = self._parent
        self._enable_in(controller, directory)
        for part in container_path.split("/")[:-1]:
            directory += f"/{part}"
            self._enable_in(controller, directory)

    def _enable_in(self, controller: str, directory: str) -> None:
        if (controller, directory) in self._enabled:
            return
        with open(f"{directory}/cgroup.subtree_control") as file:
            on = controller in file.read().split()
        if not on:
            if directory != self._mount:
                self._enable_in(controller, os.path.dirname(directory))
            _switch_on(controller, directory)
        self._enabled.add((controller, directory))

    def close(self) -> None:
        """Close the descriptors and remove the parents that were made here and are empty."""
        if self._program is not None:
            os.close(self._program[1])
            self._program = None
        super().close()


def _switch_on(controller: str, directory: str) -> None:
    path = f"{directory}/cgroup.subtree_control"
    try:
        with open(path, "w") as file:
            file.write(f"+{controller}")
    except OSError as err:
        hint = "run as root, or delegate: systemd-run --user --scope -p Delegate=yes gocker …"
        if err.errno == EBUSY:
            hint = f"processes are in {directory!r} itself: give gocker an empty --cgroup-parent"
        raise HostError(
            f"cannot switch on the cgroup controller {controller!r} in {directory!r}: "
            f"{os.strerror(err.errno or 0)}",
            hint=hint, controller=controller,
        ) from err  # fmt: skip


def _available(mount: str, parent: str) -> list[str]:
    """Return the controllers that a child of `parent` can have.

    They are those of the highest cgroup from which on we may switch them on all the way down: of
    the mount point, or of what was delegated.
    """
    top = mount
    if not os.access(f"{mount}/cgroup.subtree_control", os.W_OK):
        top = parent
        while not os.path.isdir(top):
            top = os.path.dirname(top)
        while top != mount and os.access(f"{os.path.dirname(top)}/cgroup.subtree_control", os.W_OK):
            top = os.path.dirname(top)
    with open(f"{top}/cgroup.controllers") as file:
        return file.read().split()


def choose_parent(hierarchy: Hierarchy, parent: str | None, name: str) -> str:
    """Return the directory below which containers' cgroups are made.

    A cgroup with processes cannot have children with controllers, the root excepted. So:

    1. `parent`, if given, relative to the mount point.
    2. below the own cgroup, if it is the root or its controllers are on already;
    3. below the own cgroup after moving its processes into a leaf, if it is ours alone: we are
       not root (it was delegated), or it is the root of a cgroup namespace (a container, where
       dockerd's own start script does the same);
    4. below the root, if we are root: limits around the caller then do not hold for containers.

    Raises:
        HostError: if none of these is possible.
    """
    mount, own = hierarchy.mount.rstrip("/"), hierarchy.directory
    if parent is not None:
        return f"{mount}/{parent.strip('/')}"
    if own is not None and os.path.basename(own) == SUPERVISOR:
        # An earlier gocker moved our shell there.
        own = os.path.dirname(own)
    # Only the true root of the hierarchy has no cgroup.events.
    is_root = not os.path.exists(f"{mount}/cgroup.events")
    if own is not None and ((is_root and own == hierarchy.mount) or _has_children(own)):
        return f"{own.rstrip('/')}/{name}"
    private = own == hierarchy.mount or os.geteuid() != 0 or in_user_namespace()
    if own is not None and private and os.access(f"{own}/cgroup.subtree_control", os.W_OK):
        evacuate(own)
        return f"{own}/{name}"
    if is_root and os.access(f"{mount}/cgroup.subtree_control", os.W_OK):
        return f"{mount}/{name}"
    raise HostError(
        f"no cgroup below {hierarchy.mount!r} can hold containers: this process is in "
        f"{hierarchy.path!r}, which is not delegated to it",
        hint="systemd-run --user --scope -p Delegate=yes gocker …, or run as root",
    )


def _has_children(directory: str) -> bool:
    with open(f"{directory}/cgroup.subtree_control") as file:
        return set(_ALWAYS) <= set(file.read().split())


def evacuate(directory: str) -> None:
    """Move every process of a cgroup into a leaf below it.

    Raises:
        SyscallError: EACCES, if it is not ours to do so.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            tree.mkdir(SUPERVISOR, fd)
        except SyscallError as err:
            if err.errno != EEXIST:
                raise
        moved: set[int] = set()
        # Again until nothing new: a process may fork while we move it.
        while fresh := tree.members("cgroup.procs", fd) - moved:
            for pid in fresh:
                try:
                    tree.write(f"{SUPERVISOR}/cgroup.procs", str(pid), fd)
                except SyscallError as err:
                    if err.errno != ESRCH:  # it has exited
                        raise
            moved |= fresh
    finally:
        os.close(fd)
