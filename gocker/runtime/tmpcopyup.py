"""The mount option ``tmpcopyup``: a tmpfs that begins with what it covers.

Source: runtime-spec config.md "Linux mount options", tmpcopyup.
"""

from __future__ import annotations

import os

from gocker.errors import ConfigError
from gocker.linux import mount as m
from gocker.runtime import copytree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.runtime.options import MountOptions


def mount(target: int, entry: oci.Mount, options: MountOptions) -> None:
    """Mount a tmpfs with a copy of the directory `target` on it.

    Raises:
        ConfigError: for another file system.
        OSError: it does not fit ...
    """
    if entry.get("type") != "tmpfs":
        raise ConfigError(f"mount {entry['destination']!r}: tmpcopyup is for tmpfs", phase="mounts")
    data = [item.partition("=")[::2] for item in options.data.split(",") if item]
    mode = next((int(value, 8) for key, value in data if key == "mode"), None)
    # Read-only only when it is full.
    writable = options.bind_set & ~m.MOUNT_ATTR_RDONLY
    source = entry.get("source", "tmpfs")
    tree = m.new_mount("tmpfs", (("source", source), *data), writable)
    try:
        below, above = (
            os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            for fd in (target, tree)
        )
        try:
            copytree.copy(below, above)
            if mode is not None:
                os.fchmod(above, mode)
        finally:
            os.close(below)
            os.close(above)
        if options.bind_set & m.MOUNT_ATTR_RDONLY:
            m.mount_setattr(tree, "", attr_set=m.MOUNT_ATTR_RDONLY)
        m.move_mount(tree, target)
    finally:
        os.close(tree)
