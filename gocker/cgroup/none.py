"""The driver where no cgroup is ours to use: containers run, limits are refused.

Nothing is made, so nothing is counted either, and a container is ended through its PID
namespace alone. A limit that is asked for is a HostError, or skipped where that is allowed.
"""

from __future__ import annotations

from gocker.cgroup import base, group, v1_limits, v2_limits
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from gocker.cgroup.limits import Setting


class Cgroup(group.Cgroup):
    """See `group.Cgroup`: a container without any."""

    __slots__ = ()

    def dir_fd(self) -> int | None:
        """Return None."""
        return None

    def fds(self) -> list[int]:
        """Return nothing to join."""
        return []

    def add(self, pid: int) -> None:
        """Do nothing."""

    def stats(self) -> dict[str, int | float | None]:
        """Return nothing: nobody counts."""
        return {}

    def memory_usage(self) -> int | None:
        """Return None."""
        return None

    def read_oom(self) -> int | None:
        """Return None: the kernel does not say."""
        return None

    def watch_oom(self) -> tuple[int, int]:
        """Raise HostError."""
        raise self.manager.missing("memory", "watching for OOM kills")

    def clear_oom(self) -> None:
        """Do nothing."""

    def freeze(self, frozen: bool) -> None:  # noqa: ARG002  # neither is possible
        """Raise HostError."""
        raise self.manager.missing("freezer", "pause")

    def is_frozen(self) -> bool:
        """Return False."""
        return False

    def kill(self) -> None:
        """Do nothing: there is no list of processes. `Starter` sees to a PID namespace."""

    def mounts(self) -> list[tuple[str, str]]:
        """Return nothing to show."""
        return []


class Manager(base.Manager):
    """See `base.Manager`.

    Args:
        mode: how cgroups are mounted: ``v1``, ``hybrid`` or ``v2``.
        reason: why none can be used; hint: the line that mends it.
    """

    def __init__(self, mode: str, reason: str, hint: str) -> None:
        super().__init__({}, (), mode)
        self._reason = reason
        self._hint = hint

    def settings(self, resources: Mapping[str, Any]) -> list[Setting]:
        """See `v1_limits.settings`, `v2_limits.settings`."""
        if self.mode == "v2":
            return v2_limits.settings(resources)
        return v1_limits.settings(resources)

    def compile_rules(self, rules: Sequence[Mapping[str, Any]]) -> Any:
        """Return nothing: `need_devices` decides."""
        return rules

    def need_devices(self) -> None:
        """Raise HostError."""
        raise self.missing("devices", "devices")

    def prepare(self, directory: str, path: str) -> None:
        """Do nothing."""

    def group(self, path: str, directories: Iterable[str]) -> Cgroup:
        """Return the object for a container without cgroups."""
        return Cgroup(self, path, directories)

    def missing(self, controller: str, limit: str) -> HostError:
        """Return the error for a limit that cannot be."""
        return HostError(f"{limit} needs the cgroup controller {controller!r}, and {self._reason}",
                         hint=self._hint, controller=controller)  # fmt: skip
