"""The launchers of a run, as the loop sees them: where to start a container, what they say.

A launcher waits while a child of its sets up a container, so one keeps one CPU busy. A large
plan has one for each CPU; the first one starts the first containers while the others load.
"""

from __future__ import annotations

import os
import selectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from gocker import oci
    from gocker.plan.model import Container
    from gocker.scheduler.launcher import Launcher
    from gocker.wire import Message

# A further launcher costs about 40 ms of a CPU: as much as starting twenty containers.
UNITS_PER_LAUNCHER = 40
_SHARED_LINUX = ("seccomp", "maskedPaths", "readonlyPaths", "sysctl")


class Link:
    """One launcher in the loop's selector.

    Args:
        launcher: not owned.
        selector: of the loop.
        on_message: takes every event of the launcher.
        on_lost: called when the launcher is gone.
        ready: whether it has answered ``init``.
    """

    def __init__(
        self, launcher: Launcher, selector: selectors.BaseSelector,
        on_message: Callable[[Message], None], on_lost: Callable[[], None], *, ready: bool,
    ) -> None:  # fmt: skip
        self.ready = ready
        # Requests to start that it has not answered: what `Links.least_busy` goes by.
        self.starting = 0
        self._launcher = launcher
        self._selector = selector
        self._on_message = on_message
        self._on_lost = on_lost
        self._writing = False
        launcher.set_nonblocking()
        selector.register(launcher, selectors.EVENT_READ, self._turn)

    def send(
        self, message: dict[str, Any], fds: tuple[int, ...] = (),
        *, close: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        """Send a request; the descriptors are closed after it unless `close` names others.

        Raises:
            HostError: if the request is too long.
        """
        self._launcher.send(message, fds, close=fds if close is None else close)
        self._flush()

    def start(
        self, made: Container, container_id: str, fds: tuple[int, ...],
        anonymous: dict[str, str], *, best_effort: bool, keep: bool, netns: int = -1,
        shared: bool = False, join: dict[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Send the request to start a container; the descriptors are closed after it.

        Args:
            made: the container.
            container_id: its identifier, also the name of its cgroups.
            fds: its standard input, output and error.
            anonymous: the directories of its anonymous volumes by mount source.
            best_effort: start in spite of limits that cannot be set.
            keep: keep the container's files until a `release`.
            netns: descriptor of its network namespace, closed with the others; -1: a new one.
            shared: whether others are in that namespace, too.
            join: descriptors of other containers' namespaces by type, closed with the others.

        Raises:
            HostError: if the request is too long.
        """
        message = {"op": "start", "id": container_id, **_configuration(made, container_id)}
        message["shared"] = self._share(message["config"])
        if anonymous:
            del message["shared"]["mounts"]
            message["config"]["mounts"] = _place(made.config["mounts"], anonymous)
            message["directories"] = list(anonymous.values())
        if keep:
            message["keep"] = True
        if best_effort:
            message["best_effort"] = True
        if made.optional:
            message["optional"] = made.optional
        for kind, fd in (join or {}).items():
            message.setdefault("join", {})[kind] = len(fds)
            fds = (*fds, fd)
        if netns >= 0:
            message["netns"] = "shared" if shared else "own"
            fds = (*fds, netns)
        if made.cgroup_parent is not None:
            message["cgroup_parent"] = made.cgroup_parent
        self.send(message, fds)
        self.starting += 1

    def _share(self, config: dict[str, Any]) -> dict[str, int]:
        """Take what many containers have in common out of `config`; return its keys by name.

        The plan uses the same object for equal values, and keeps it: its id is its key.
        """
        keys: dict[str, int] = {}
        for part, names in ((config["linux"], _SHARED_LINUX), (config, ("mounts",))):
            self._take(part, names, keys)
        return keys

    def _take(self, part: dict[str, Any], names: Iterable[str], keys: dict[str, int]) -> None:
        defined = self._launcher.defined
        for name in names:
            value = part.pop(name, None)
            if value is not None:
                keys[name] = id(value)
                if id(value) not in defined:
                    defined.add(id(value))
                    self.send({"op": "define", "key": id(value), "name": name, "value": value})

    def _flush(self) -> None:
        """Send what is queued; ask for writability only while something is."""
        writing = not self._launcher.flush()
        if writing != self._writing:
            self._writing = writing
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
            self._selector.modify(self._launcher, mask, self._turn)

    def _turn(self) -> None:
        if self._writing:
            self._flush()
        while True:
            try:
                message = self._launcher.receive()
            except BlockingIOError:
                return
            if message is None:
                self._selector.unregister(self._launcher)
                self._on_lost()
                return
            if message["event"] == "ready":
                self.ready = True
            else:
                if message["event"] in ("started", "failed"):
                    self.starting -= 1
                self._on_message(message)


# Starts that a launcher makes while another one is being prepared.
_HEAD_START = 8


class Links:
    """All of them."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._links = list(links)
        self.first = self._links[0]

    def least_busy(self) -> Link:
        """Return the launcher for the next container.

        One that is not ready yet serves what it was asked as soon as it is: better than the last of
        many behind one that is.
        """
        return min(self._links, key=_starting)

    def tell_all(self, message: dict[str, Any], fds: tuple[int, ...]) -> None:
        """Send a request to every launcher; the descriptors stay the caller's."""
        for link in self._links:
            link.send(message, tuple(map(os.dup, fds)))


def _starting(link: Link) -> int:
    return link.starting if link.ready else link.starting + _HEAD_START


def wanted(units: int, cpus: int) -> int:
    """Return how many launchers a plan of `units` is worth on `cpus` CPUs."""
    return max(1, min(cpus, units // UNITS_PER_LAUNCHER))


def _configuration(made: Container, container_id: str) -> dict[str, Any]:
    """Return the parts of a request that make the container, with a copy of its configuration."""
    config: dict[str, Any] = {**made.config}
    config["linux"] = {**made.config["linux"], "cgroupsPath": container_id}
    parts: dict[str, Any] = {
        "config": config,
        "overlay": {"lower": made.lower, "hidden": made.hidden},
        "files": made.files,
    }
    if made.root:
        parts["overlay"]["root"] = made.root
    if made.grants:
        parts["grants"] = made.grants
    if made.init:
        parts["init"] = True
    if made.landlock is not None:
        parts["landlock"] = made.landlock.wire()
    return parts


def _place(mounts: list[oci.Mount], sources: dict[str, str]) -> list[oci.Mount]:
    """Return the mounts with the directories of anonymous volumes put in."""
    return [
        {**mount, "source": sources.get(mount.get("source", ""), mount.get("source", ""))}
        for mount in mounts
    ]
