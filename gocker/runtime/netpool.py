"""Network namespaces with nothing but ``lo``, used again while as good as new.

Making one, its ``lo`` and its sysctls costs more than any other step of a start, and taking it
apart keeps a kernel thread busy, under a lock that the next one waits for. So a container gets
one from here, and when it is gone, its network's own counters tell whether anything ever was sent,
received, opened or refused in it: a namespace in which one differs is never used again.

Nobody gets one who could have changed it otherwise (`fits`): that takes a capability over it, or
procfs with writable sysctls; or who could have handed on a descriptor of it: a socket belongs to
the namespace that it was made in (network_namespaces(7)).
"""

from __future__ import annotations

import os

from gocker.runtime import init, netspace, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci

    Sysctls = tuple[tuple[str, str], ...]

# More than short containers there are at once; each is a descriptor and memory of the kernel's.
MAX = 16
# All that the kernel counts for a network namespace: by interface, protocol and family.
_COUNTERS = ("dev", "snmp", "netstat", "snmp6")
_MOST = 1 << 16
# Any of them is power over the namespace, its packets or the mounts that protect its sysctls.
_POWERS = frozenset(
    ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE",
     "CAP_BPF", "CAP_PERFMON", "CAP_SYS_RAWIO")
)  # fmt: skip


def fits(config: oci.Config) -> bool:
    """Return whether a container leaves a network as it found it, but for what is counted."""
    linux = config["linux"]
    kinds = [entry["type"] for entry in linux.get("namespaces", ()) if not entry.get("path")]
    bounding = config["process"].get("capabilities", {}).get("bounding", [])
    return (
        {"network", "pid", "mount", "ipc"} <= set(kinds)
        and "user" not in kinds
        and "/proc/sys" in linux.get("readonlyPaths", ())
        and _POWERS.isdisjoint(bounding)
        and not any(entry.get("type") == "bind" for entry in config.get("mounts", ()))
    )


class Network:
    """A network namespace, by its descriptor."""

    __slots__ = ("_fresh", "_home", "fd", "key")

    def __init__(self, key: Sysctls, home: int) -> None:
        """Make it and come back to the namespace `home`.

        Raises:
            OSError: nothing is left then.
        """
        self.key = key
        self._home = home
        self.fd = netspace.new()
        try:
            init.bring_up_loopback()
            for name, value in key:
                sysctl.write(name.replace(".", "/"), value)
            self._fresh = _counters()
        except BaseException:
            os.close(self.fd)
            raise
        finally:
            netspace.enter(home)

    def untouched(self) -> bool:
        """Return whether nothing has ever happened in it."""
        with netspace.On(self.fd, self._home):
            return _counters() == self._fresh


def _counters() -> list[bytes]:
    """Return everything that the kernel counts for the namespace that this process is in."""
    found = []
    for name in _COUNTERS:
        try:
            fd = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        try:
            found.append(os.read(fd, _MOST))
        finally:
            os.close(fd)
    return found


class Pool:
    """The networks of one launcher that serve again; `MAX` at most, the rest are nobody's."""

    def __init__(self) -> None:
        self._home = netspace.current()
        self._idle: dict[Sysctls, list[Network]] = {}
        self._count = 0

    def take(self, linux: oci.Linux) -> Network | None:
        """Return a network with a configuration's sysctls, an idle one if there is one.

        None if enough are in use: a container then makes one of its own, which costs no descriptor.

        Raises:
            OSError: it cannot be made.
        """
        sysctls = linux.get("sysctl", {})
        key = tuple((name, sysctls[name]) for name in sorted(sysctls) if name.startswith("net."))
        idle = self._idle.get(key)
        if idle:
            return idle.pop()
        if self._count >= MAX:
            return None
        made = Network(key, self._home)
        self._count += 1
        return made

    def give_back(self, network: Network, *, private: bool) -> None:
        """Keep a network whose container is gone if it can serve another one.

        Args:
            network: no process is in it any more.
            private: whether nobody else can have a descriptor of it.
        """
        if private and network.untouched():
            self._idle.setdefault(network.key, []).append(network)
        else:
            self._close(network)

    def drop_idle(self) -> None:
        """Let go of all that nobody uses."""
        for idle in self._idle.values():
            for network in idle:
                self._close(network)
        self._idle.clear()

    def _close(self, network: Network) -> None:
        """Let go of it; the kernel removes it when its last process is gone."""
        os.close(network.fd)
        self._count -= 1
