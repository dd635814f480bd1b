"""The ``start`` request: from a message to a started container, or to nothing at all."""

from __future__ import annotations

import os
from errno import EMFILE

from gocker import cgroup
from gocker.errors import HostError
from gocker.linux import mount, process
from gocker.nested import in_user_namespace
from gocker.runtime import init, joining, programs, seccomp, substitutes, userns
from gocker.runtime.container import Container
from gocker.runtime.namespaces import Namespaces
from gocker.runtime.netpool import Pool, fits
from gocker.tree import remove_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cgroup.base import Manager
    from gocker.cgroup.group import Cgroup
    from gocker.linux.vfork import Spawner
    from gocker.runtime.layers import Layer, Layers
    from gocker.runtime.userns import User
    from gocker.wire import Message


# Descriptors that one start needs for a moment: a cgroup in each hierarchy, an overlay's layers, a
# Landlock ruleset, and those that the removal of a layer takes.
RESERVE = 32


class Starter:
    """Makes containers. Holds what they share, and the parts of configurations sent once.

    Args:
        own_pidns: the launcher's PID namespace.
        host_mount_fd: the host's mount namespace.
    """

    def __init__(
        self, manager: Manager, layers: Layers, scratch: str,
        spawners: tuple[Spawner, Spawner] | None, own_pidns: int, host_mount_fd: int,
    ) -> None:  # fmt: skip
        self._manager = manager
        self._layers = layers
        self._scratch = scratch
        self._spawners = spawners
        self._own_pidns = own_pidns
        self.networks = Pool()
        # Who has left the host's network in a user namespace cannot go back: setns(2), EPERM.
        self._pooled = not in_user_namespace()
        self._host_mount_fd = host_mount_fd
        self._self_pidfd = os.pidfd_open(os.getpid())
        self._shared: dict[int, Any] = {}
        self._managers_by_parent: dict[str, Manager] = {}
        # All that are to be closed in the end: the launcher's.
        self.managers: list[Manager] = [manager]
        # Where compiled seccomp programs are kept, or None.
        self.programs: str | None = None
        self._most_fds = os.sysconf("SC_OPEN_MAX")
        self._highest = 0

    def define(self, key: int, name: str, value: Any) -> None:
        """Keep a part of many configurations; compile it if it is a seccomp profile."""
        self._shared[key] = programs.program(value, self.programs) if name == "seccomp" else value

    def start(self, message: Message, fds: list[int]) -> Container:
        """Start a container.

        Raises:
            GockerError: nothing is left of it then.
        """
        if self._short_of_descriptors(fds):
            self._layers.drop_idle()
            self.networks.drop_idle()
            raise OSError(EMFILE, f"of {self._most_fds} descriptors")
        program = self._program(message)
        if "join" in message:
            joining.apply(message["config"], message["join"], fds)
        if "netns" in message:
            # The last one, whatever the others are.
            return self._start(message, fds, program, fds[-1])
        network = None
        # Where descriptors are few, none is spent on what a container can make itself.
        if self._pooled and max(fds, default=0) < self._most_fds // 4 and fits(message["config"]):
            network = self.networks.take(message["config"]["linux"])
        if network is None:
            return self._start(message, fds, program, -1)
        try:
            container = self._start(message, fds, program, network.fd)
        except BaseException:
            self.networks.give_back(network, private=False)
            raise
        container.network = network
        return container

    def _short_of_descriptors(self, fds: list[int]) -> bool:
        """Return whether there may be too few for a start.

        The kernel gives the lowest number that is free. So none was ever needed beyond the highest
        that was seen and what a start adds; but those given now may be gaps below many in use.
        """
        self._highest = max(self._highest, *fds, 0)
        if self._highest + 2 * RESERVE <= self._most_fds:
            return False
        return len(os.listdir("/proc/self/fd")) + RESERVE > self._most_fds

    def _start(
        self, message: Message, fds: list[int], program: tuple[bytes, int] | None, network_fd: int
    ) -> Container:
        linux = message["config"]["linux"]
        if network_fd >= 0:
            _use_network(linux, network_fd)
        spaces = Namespaces(linux)
        user = userns.of(linux, spaces)
        try:
            group = self._manager_of(message.get("cgroup_parent")).create(
                linux["cgroupsPath"], linux.get("resources", {}),
                best_effort=message.get("best_effort", False),
                optional=message.get("optional", ()),
            )  # fmt: skip
            try:
                if not group.directories and not spaces.new & process.CLONE_NEWPID:
                    raise HostError(
                        "without a PID namespace of its own a container is ended through its "
                        "cgroup, and there is none here",
                        hint="leave out pid:, or delegate a cgroup to this user (gocker doctor)",
                    )
                if group.skipped:
                    substitutes.apply(group, message["config"]["process"])
                return self._in(group, message, fds, program, spaces, user)
            except BaseException:
                group.remove()
                for directory in message.get("directories", ()):
                    remove_path(directory)
                raise
            finally:
                group.close_fds()
        finally:
            if user is not None:
                user.close()

    def _manager_of(self, parent: str | None) -> Manager:
        """Return the manager for containers below a cgroup of the user's choice.

        They are in a cgroup of gocker's name there, by which leftovers are found.
        """
        if parent is None:
            return self._manager
        if parent not in self._managers_by_parent:
            name = self._manager.name or "gocker"
            made = cgroup.open_manager(parent=f"{parent.strip('/')}/{name}")
            made.name = name
            self._managers_by_parent[parent] = made
            self.managers.append(made)
        return self._managers_by_parent[parent]

    def _in(  # what a container is made of, each part by its name
        self, group: Cgroup, message: Message, fds: list[int],
        program: tuple[bytes, int] | None, spaces: Namespaces, user: User | None,
    ) -> Container:  # fmt: skip
        layer: Layer | None = None
        layer_fd = -1
        if "overlay" in message:
            layer, layer_fd = self._layers.take(**message["overlay"], user=user)
        terminal = message["config"]["process"].get("terminal", False)
        try:
            setup = init.Setup(
                config=message["config"],
                root_fd=layer_fd,
                scratch=self._scratch,
                spaces=spaces,
                user=user,
                join_fds=group.fds(),
                cgroup_mounts=group.mounts(),
                stdio=[] if terminal else fds[:3],
                launcher_pidfd=self._self_pidfd,
                seccomp=program,
                init=message.get("init", False),
                files=message.get("files", []),
                grants=message.get("grants", []),
                landlock=message.get("landlock"),
            )
            if layer_fd >= 0 and not setup.config["process"].get("noNewPrivileges", False):
                mount.mount_setattr(layer_fd, "", attr_clr=mount.MOUNT_ATTR_NOSUID, recursive=True)
            setup.host_mount_fd = self._host_mount_fd
            if terminal:
                setup.console_fd = fds[0]
            made = Container(message["id"], setup, group, layer, self._spawners, self._own_pidns)
        except BaseException:
            if layer is not None:
                layer.remove()
            raise
        finally:
            if layer_fd >= 0:
                os.close(layer_fd)
        made.directories = message.get("directories", [])
        made.keep = message.get("keep", False)
        made.own_network = message.get("netns") == "own"
        return made

    def _program(self, message: Message) -> tuple[bytes, int] | None:
        """Put the shared parts into the configuration; return the seccomp program."""
        config = message["config"]
        program: tuple[bytes, int] | None = None
        for name, key in message.get("shared", {}).items():
            if name == "seccomp":
                program = self._shared[key]
            else:
                part = config if name == "mounts" else config["linux"]
                part[name] = self._shared[key]
        if "seccomp" in config["linux"]:
            program = seccomp.program(config["linux"]["seccomp"])
        return program


def _use_network(linux: Any, fd: int) -> None:
    """Have the container join the network namespace that was made for it, sysctls and all."""
    sysctls = linux.get("sysctl", {})
    linux["sysctl"] = {name: sysctls[name] for name in sysctls if not name.startswith("net.")}
    for entry in linux["namespaces"]:
        if entry["type"] == "network":
            entry["path"] = f"/proc/self/fd/{fd}"
