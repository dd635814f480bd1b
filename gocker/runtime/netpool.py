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

# As many as containers start at once; each is some 100 KiB of the kernel's.
MAX_IDLE = 16
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
    """A network namespace. Owns descriptors of it and of its counters."""

    __slots__ = ("_counters", "_fresh", "fd", "key")

    def __init__(self, key: Sysctls, home: int) -> None:
        """Make it and come back to the namespace `home`.

        Raises:
            OSError: nothing is left then.
        """
        self.key = key
        self.fd = netspace.new()
        self._counters: list[int] = []
        try:
            init.bring_up_loopback()
            for name, value in key:
                sysctl.write(name.replace(".", "/"), value)
            self._open_counters()
            self._fresh = self._read()
        except BaseException:
            self.close()
            raise
        finally:
            netspace.enter(home)

    def _open_counters(self) -> None:
        for name in _COUNTERS:
            try:
                fd = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # a kernel without IPv6
            self._counters.append(fd)

    def _read(self) -> list[bytes]:
        return [os.pread(fd, _MOST, 0) for fd in self._counters]

    def untouched(self) -> bool:
        """Return whether nothing has ever happened in it."""
        return self._read() == self._fresh

    def close(self) -> None:
        """Let go of it; the kernel removes it when its last process is gone."""
        for fd in (self.fd, *self._counters):
            os.close(fd)


class Pool:
    """The networks of one launcher that wait for a container."""

    def __init__(self) -> None:
        self._home = netspace.current()
        self._idle: dict[Sysctls, list[Network]] = {}
        self._count = 0

    def take(self, linux: oci.Linux) -> Network:
        """Return a network with a configuration's sysctls, an idle one if there is one.

        Raises:
            OSError: it cannot be made.
        """
        sysctls = linux.get("sysctl", {})
        key = tuple((name, sysctls[name]) for name in sorted(sysctls) if name.startswith("net."))
        idle = self._idle.get(key)
        if idle:
            self._count -= 1
            return idle.pop()
        return Network(key, self._home)

    def give_back(self, network: Network, *, private: bool) -> None:
        """Keep a network whose container is gone if it can serve another one.

        Args:
            network: no process is in it any more.
            private: whether nobody else can have a descriptor of it.
        """
        if private and self._count < MAX_IDLE and network.untouched():
            self._idle.setdefault(network.key, []).append(network)
            self._count += 1
        else:
            network.close()

    def close(self) -> None:
        """Let go of all of them."""
        for idle in self._idle.values():
            for network in idle:
                network.close()
        self._idle.clear()
        self._count = 0
