"""Mount options as OCI and mount(8) write them -> flags, attributes and data of the system calls.

Source: runtime-spec config.md "Mounts", Linux mount options.
"""

from __future__ import annotations

from gocker.linux import mount as m

# name: (bits to set, bits to clear)
_FLAGS = {
    "async": (0, m.MS_SYNCHRONOUS),
    "atime": (0, m.MS_NOATIME),
    "bind": (m.MS_BIND, 0),
    "defaults": (0, 0),
    "dev": (0, m.MS_NODEV),
    "diratime": (0, m.MS_NODIRATIME),
    "dirsync": (m.MS_DIRSYNC, 0),
    "exec": (0, m.MS_NOEXEC),
    "iversion": (m.MS_I_VERSION, 0),
    "lazytime": (m.MS_LAZYTIME, 0),
    "loud": (0, m.MS_SILENT),
    "mand": (m.MS_MANDLOCK, 0),
    "noatime": (m.MS_NOATIME, 0),
    "nodev": (m.MS_NODEV, 0),
    "nodiratime": (m.MS_NODIRATIME, 0),
    "noexec": (m.MS_NOEXEC, 0),
    "noiversion": (0, m.MS_I_VERSION),
    "nolazytime": (0, m.MS_LAZYTIME),
    "nomand": (0, m.MS_MANDLOCK),
    "norelatime": (0, m.MS_RELATIME),
    "nostrictatime": (0, m.MS_STRICTATIME),
    "nosuid": (m.MS_NOSUID, 0),
    "nosymfollow": (m.MS_NOSYMFOLLOW, 0),
    "rbind": (m.MS_BIND | m.MS_REC, 0),
    "relatime": (m.MS_RELATIME, 0),
    "remount": (m.MS_REMOUNT, 0),
    "ro": (m.MS_RDONLY, 0),
    "rw": (0, m.MS_RDONLY),
    "silent": (m.MS_SILENT, 0),
    "strictatime": (m.MS_STRICTATIME, 0),
    "suid": (0, m.MS_NOSUID),
    "symfollow": (0, m.MS_NOSYMFOLLOW),
    "sync": (m.MS_SYNCHRONOUS, 0),
}
PROPAGATION = {
    "private": m.MS_PRIVATE,
    "rprivate": m.MS_PRIVATE | m.MS_REC,
    "shared": m.MS_SHARED,
    "rshared": m.MS_SHARED | m.MS_REC,
    "slave": m.MS_SLAVE,
    "rslave": m.MS_SLAVE | m.MS_REC,
    "unbindable": m.MS_UNBINDABLE,
    "runbindable": m.MS_UNBINDABLE | m.MS_REC,
}
# name: (attributes to set, attributes to clear), for every mount below, by mount_setattr(2)
_RECURSIVE = {
    "rro": (m.MOUNT_ATTR_RDONLY, 0),
    "rrw": (0, m.MOUNT_ATTR_RDONLY),
    "rnosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "rsuid": (0, m.MOUNT_ATTR_NOSUID),
    "rnodev": (m.MOUNT_ATTR_NODEV, 0),
    "rdev": (0, m.MOUNT_ATTR_NODEV),
    "rnoexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "rexec": (0, m.MOUNT_ATTR_NOEXEC),
    "rnosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "rsymfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
    "rnoatime": (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME),
    "rrelatime": (0, m.MOUNT_ATTR__ATIME),
    "rstrictatime": (m.MOUNT_ATTR_STRICTATIME, m.MOUNT_ATTR__ATIME),
    "rnodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "rdiratime": (0, m.MOUNT_ATTR_NODIRATIME),
}
# The same for one bind mount, whose other attributes stay those of its source.
_BIND = {
    "atime": (0, m.MOUNT_ATTR__ATIME),
    "dev": (0, m.MOUNT_ATTR_NODEV),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "exec": (0, m.MOUNT_ATTR_NOEXEC),
    "noatime": (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME),
    "nodev": (m.MOUNT_ATTR_NODEV, 0),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "noexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "nosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "relatime": (0, m.MOUNT_ATTR__ATIME),
    "ro": (m.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, m.MOUNT_ATTR_RDONLY),
    "strictatime": (m.MOUNT_ATTR_STRICTATIME, m.MOUNT_ATTR__ATIME),
    "suid": (0, m.MOUNT_ATTR_NOSUID),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}


class MountOptions:
    """Parsed options of one mount.

    `attr_set`, `attr_clr`: for every mount below, too. `bind_set`, `bind_clr`: for the mount
    alone, for mount_setattr(2); they repeat what `flags` has for mount(2).
    """

    __slots__ = (
        "attr_clr", "attr_set", "bind_clr", "bind_set", "data", "flags", "idmap", "propagation",
        "tmpcopyup",
    )  # fmt: skip

    def __init__(self) -> None:
        self.flags = 0
        self.propagation: list[int] = []
        self.attr_set = 0
        self.attr_clr = 0
        self.bind_set = 0
        self.bind_clr = 0
        self.data = ""
        self.idmap = ""  # idmap, or ridmap with all mounts below
        self.tmpcopyup = False


_parsed: dict[tuple[str, ...], MountOptions] = {}
_KEPT = 512


def parse(options: tuple[str, ...]) -> MountOptions:
    """Return the options parsed; what no table knows is data for the file system."""
    found = _parsed.get(options)
    if found is None:
        if len(_parsed) >= _KEPT:
            _parsed.clear()
        found = _parsed[options] = _parse(options)
    return found


def _parse(options: tuple[str, ...]) -> MountOptions:
    parsed = MountOptions()
    data = []
    for option in options:
        if option in _FLAGS:
            to_set, to_clear = _FLAGS[option]
            parsed.flags = parsed.flags & ~to_clear | to_set
            if option in _BIND:
                to_set, to_clear = _BIND[option]
                parsed.bind_set = parsed.bind_set & ~to_clear | to_set
                parsed.bind_clr = parsed.bind_clr & ~to_set | to_clear
        elif option in PROPAGATION:
            parsed.propagation.append(PROPAGATION[option])
        elif option in _RECURSIVE:
            to_set, to_clear = _RECURSIVE[option]
            parsed.attr_set = parsed.attr_set & ~to_clear | to_set
            parsed.attr_clr = parsed.attr_clr & ~to_set | to_clear
        elif option in ("idmap", "ridmap"):
            parsed.idmap = option
        elif option == "tmpcopyup":
            parsed.tmpcopyup = True
        else:
            data.append(option)
    parsed.data = ",".join(data)
    return parsed


def names() -> list[str]:
    """Return every option that is not data for a file system."""
    return sorted({*_FLAGS, *PROPAGATION, "idmap", "ridmap", "tmpcopyup", *_RECURSIVE})
