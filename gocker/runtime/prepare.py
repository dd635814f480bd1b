"""What the launcher does once, before its first container."""

from __future__ import annotations

import os

from gocker.errors import HostError
from gocker.linux import mount, process, procfs
from gocker.runtime import rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.linux.vfork import Spawner
    from gocker.wire import Message


def spawners() -> tuple[Spawner, Spawner] | None:
    """Return the cheap way to make processes, for a process and its own child, if it can be had."""
    # Here, as gocker-oci has no use for it.
    from gocker.linux import vfork

    if not vfork.supported():
        return None
    try:
        return vfork.Spawner(), vfork.Spawner()
    except OSError:
        return None  # no executable memory here: clone3 does the same for more


def refuse(missing: dict[str, int]) -> None:
    """Refuse to start anything where system calls are missing; ``missing``: see `linux.needed`.

    Raises:
        HostError: naming them.
    """
    if missing:
        reasons = " and ".join(sorted({os.strerror(number) for number in missing.values()}))
        raise HostError(
            "system calls that cannot be done without are refused here: "
            f"{', '.join(sorted(missing))} ({reasons})",
            hint=f"this is Linux {os.uname().release}; 5.12 has them all. In a container its "
            "seccomp filter is in the way: docker run --security-opt seccomp=unconfined "
            "--cap-add SYS_ADMIN",
        )


def scratch(path: str) -> int:
    """Leave the host's mount namespace and make what every container clones from.

    Mounts made from here on are seen by no other process and vanish with the last one in the
    namespace: nothing is left on the host even after SIGKILL. Return a descriptor of the
    host's mount namespace.
    """
    host_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    process.unshare(process.CLONE_NEWNS)
    # Slave, so that containers find what the host mounts later, and the host can unmount it.
    mount.mount(None, "/", None, mount.MS_SLAVE | mount.MS_REC)
    procfs.root()
    fill_scratch(path)
    return host_fd


def fill_scratch(path: str) -> None:
    """Mount the scratch directory, make what `rootfs` looks for in it, and enter it."""
    flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
    # Searchable for roots of user namespaces; its parent is not.
    mount.mount("tmpfs", path, "tmpfs", flags, "mode=711,size=64k")
    os.chdir(path)
    os.mkdir(rootfs.ROOTFS)
    os.mkdir(rootfs.FILES)
    os.mkdir("mask")
    mount.mount("tmpfs", "mask", "tmpfs", flags, "mode=755,size=4k")
    os.mkdir(rootfs.EMPTY_DIR, 0o555)
    os.close(os.open(rootfs.EMPTY_FILE, os.O_CREAT | os.O_CLOEXEC, 0o444))
    # The file system itself becomes read-only: what containers share cannot be written.
    mount.mount("tmpfs", "mask", "tmpfs", flags | mount.MS_REMOUNT | mount.MS_RDONLY)


def stdio(_: Message, fds: list[int]) -> None:
    """Let go of the terminal: ``fds`` are standard input, output and error from now on."""
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
