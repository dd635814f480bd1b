"""What both drivers' managers share: parents, checks, creation, sweeping.

Every path is "<container>/<file>" relative to one O_PATH descriptor per hierarchy, held by the
manager: no descriptor per container, no long path lookups.
"""

from __future__ import annotations

import os
from errno import EBUSY, ENOENT, ENOTEMPTY

from gocker.cgroup import tree
from gocker.cgroup.limits import Skipped
from gocker.cgroup.processes import are_orphans
from gocker.errors import HostError, SyscallError
from gocker.nested import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from gocker.cgroup.group import Cgroup
    from gocker.cgroup.limits import Setting

KILL_TIMEOUT_S = 10.0
# How often a parent is made again that another gocker removes meanwhile.
_TRIES = 100


class Manager:
    """Makes containers' cgroups below one directory per hierarchy. One per process.

    Args:
        directories: controller -> directory below which containers' cgroups are made;
            controllers of one hierarchy have the same one (all of them on v2).
        always: controllers whose hierarchy every container enters.
        mode: ``v1``, ``hybrid`` or ``v2``.
    """

    # Last component of the parents' names when it is gocker's own choice (`open_manager`).
    name: str | None = None
    # Whether a container may take a cgroup that is there already and empty: its caller made it.
    reuse = False

    def __init__(self, directories: dict[str, str], always: Iterable[str], mode: str) -> None:
        self.mode = mode
        self.directories = directories
        self._fds: dict[str, int] = {}
        self._made: list[str] = []
        self.always = tuple(
            dict.fromkeys(directories[name] for name in always if name in directories)
        )
        # In a user namespace nobody can make a device node, whatever the rules are, and the
        # kernel takes no rules from there.
        self.enforces_devices = not in_user_namespace()
        self._rules: Sequence[Mapping[str, Any]] = ()
        self._compiled: Any = None

    # What a driver defines.

    def settings(self, resources: Mapping[str, Any]) -> list[Setting]:
        """Return the writes for `resources`, devices excepted; ConfigError if impossible."""
        raise NotImplementedError

    def compile_rules(self, rules: Sequence[Mapping[str, Any]]) -> Any:
        """Return the driver's form of device rules; ConfigError if it has none."""
        raise NotImplementedError

    def need_devices(self) -> None:
        """Raise HostError if device rules cannot be enforced here."""
        raise NotImplementedError

    def prepare(self, directory: str, path: str) -> None:
        """Make a new parent `path` in the hierarchy of `directory` fit for children."""
        raise NotImplementedError

    def group(self, path: str, directories: Iterable[str]) -> Cgroup:
        """Return the driver's object for a container's cgroups, nothing made."""
        raise NotImplementedError

    def missing(self, controller: str, limit: str) -> HostError:
        """Return the error for a controller that is not there."""
        raise NotImplementedError

    # The common part.

    def check(self, resources: Mapping[str, Any], optional: Iterable[str] = ()) -> None:
        """Refuse what this host cannot limit, before anything starts; `optional`: see `create`.

        Raises:
            ConfigError: a value or a combination that the driver cannot express.
            HostError: a controller that is not there.
        """
        rules = resources.get("devices")
        if rules and self.enforces_devices:
            self.rules(rules)
            self.need_devices()
        for setting in self._without(optional, self.settings(resources)):
            self.need(setting.controller, setting.limit)

    def _without(self, optional: Iterable[str], settings: list[Setting]) -> list[Setting]:
        """Return the settings but for those that are optional and cannot be."""
        names = frozenset(optional)
        if not names:
            return settings
        return [
            item for item in settings
            if item.limit not in names or item.controller in self.directories
        ]  # fmt: skip

    def need(self, controller: str, limit: str) -> None:
        """Raise HostError if `controller` is not there."""
        if controller not in self.directories:
            raise self.missing(controller, limit)

    def rules(self, rules: Sequence[Mapping[str, Any]]) -> Any:
        """Return compiled device rules; the last ones are kept, as containers often agree."""
        if rules != self._rules:
            self._compiled = self.compile_rules(rules)
            self._rules = rules
        return self._compiled

    def create(
        self, container_path: str, resources: Mapping[str, Any], *, best_effort: bool = False,
        optional: Iterable[str] = (),
    ) -> Cgroup:  # fmt: skip
        """Make a container's cgroups and put its limits in force; nothing is left on failure.

        `optional`: names of limits that nobody misses where their controller is not there.

        Raises:
            ConfigError, HostError: as `check`.
            ContainerError: phase cgroup; the name exists, or the kernel refused a limit.
        """
        tree.check_name(container_path)
        settings = self._without(optional, self.settings(resources))
        rules = resources.get("devices") or ()
        if not self.enforces_devices:
            rules = ()
        if not best_effort:
            if rules:
                self.need_devices()
            for setting in settings:
                self.need(setting.controller, setting.limit)
        group = self.group(container_path, ())
        kernel = (resources.get("memory") or {}).get("kernel")
        if kernel:  # accepted by every runtime, and by no kernel any more
            group.skipped.append(
                Skipped("memory.kernel", kernel, "Linux has no such limit since 5.16")
            )
        try:
            for directory in self.always:
                group.make(directory)
            group.limit(settings, rules, best_effort=best_effort)
        except BaseException:
            group.remove()
            raise
        return group

    def mkdir(self, directory: str, path: str) -> None:
        """Make a container's cgroup in a hierarchy, with the parents it lacks.

        Raises:
            SyscallError: EEXIST and others of mkdir(2).
        """
        try:
            self._mkdir(directory, path)
        except SyscallError as err:
            if err.errno != ENOENT:
                raise
            # Another gocker ended and removed the parent that we hold: make it again.
            os.close(self._fds.pop(directory))
            self._mkdir(directory, path)

    def _mkdir(self, directory: str, path: str) -> None:
        made = tree.mkdir(path, self.fd(directory))
        for parent in made:
            self.prepare(directory, f"{directory}/{parent}")

    def fd(self, directory: str) -> int:
        """Return an O_PATH descriptor of a hierarchy's directory, made if it is missing."""
        fd = self._fds.get(directory)
        tries = 0
        while fd is None:
            tries += 1
            try:
                fd = self._fds[directory] = self._open(directory)
            except OSError as err:
                # Another gocker, which ends, has removed what it or we had made a moment ago.
                if err.errno != ENOENT or tries == _TRIES:
                    raise
        return fd

    def _open(self, directory: str) -> int:
        made = tree.makedirs(directory)
        self._made += made
        for path in made:
            self.prepare(directory, path)
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _present(self) -> list[str]:
        return [path for path in set(self.directories.values()) if os.path.isdir(path)]

    def names(self) -> list[str]:
        """Return the names of all cgroups directly below the parent, in any hierarchy."""
        found: set[str] = set()
        for directory in self._present():
            found.update(tree.children(".", self.fd(directory)))
        return sorted(found)

    def sweep(
        self, dead: Callable[[str], bool], unknown: Callable[[str], bool] | None = None,
        *, dry_run: bool = False,
    ) -> list[str]:  # fmt: skip
        """Remove the cgroups directly below the parent whose name is `dead`; kill what is inside.

        Those that are `unknown` are removed only if nobody is in them, or orphans alone: see
        `processes.are_orphans`. Reads the kernel alone, no state on disk. Returns the names removed
        completely; with `dry_run` those that would be tried.
        """
        present = self._present()
        removed = []
        for name in self.names():
            group = self.group(name, present)
            if not dead(name) and not (
                unknown is not None and unknown(name) and are_orphans(group.pids())
            ):
                continue
            if dry_run:
                removed.append(name)
                continue
            group.kill()
            if group.wait_empty(KILL_TIMEOUT_S) and group.remove():
                removed.append(name)
        return removed

    def close(self) -> None:
        """Close the descriptors and remove the parents that are empty and ours.

        Ours are those made here and those of our name, which a killed gocker may have left.
        """
        own = [path for path in self._present() if os.path.basename(path) == self.name]
        for path in [*reversed(self._made), *own]:
            try:
                os.rmdir(path)
            except OSError as err:
                # In use by another gocker, or removed by it.
                if err.errno not in (EBUSY, ENOENT, ENOTEMPTY):
                    raise
        while self._fds:
            os.close(self._fds.popitem()[1])
        self._made.clear()
