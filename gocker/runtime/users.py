"""Users and groups of the container, read from its own files by our own parser.

No name service is asked: it would load libraries that the image names (CVE-2019-14271).
The files are untrusted: opened inside the root, regular files only, with limits (CVE-2024-9676,
CVE-2026-47262). Digits always mean a number (CVE-2016-3697).
"""

from __future__ import annotations

import os
import stat

from gocker.errors import ContainerError, SyscallError
from gocker.linux.path import open_in_root

_MAX_BYTES = 1 << 20
_MAX_ID = 0xFFFFFFFE  # 0xFFFFFFFF is "no change" to setresuid(2)


class Identity:
    """Numeric ids of the program to run, and the home directory of its user."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def resolve(root_fd: int, user: str, extra_groups: list[str]) -> Identity:
    """Return who ``user[:group]`` is in the root; each part a name or a number.

    Without a group the user's own and its supplementary groups count, as in docker.

    Raises:
        ContainerError: phase ``user``: the name is not there or the number is out of range.
    """
    name, _, group = user.partition(":")
    passwd = _records(root_fd, "/etc/passwd", 7)
    groups = _records(root_fd, "/etc/group", 4)
    entry = _find(passwd, name or "0")
    uid = _number(entry[2] if entry else name or "0", "user", name)
    home = entry[5] if entry and entry[5] else "/"
    supplementary: list[int] = []
    if group:
        gid = _group_id(groups, group)
    else:
        gid = _number(entry[3], "group", name) if entry else 0
        login = entry[0] if entry else None
        supplementary = [
            _number(record[2], "group", record[0])
            for record in groups
            if login in record[3].split(",")
        ]
    for extra in extra_groups:
        supplementary.append(_group_id(groups, extra))
    return Identity(uid, gid, sorted(set(supplementary) - {gid}), home)


def _group_id(groups: list[list[str]], group: str) -> int:
    entry = _find(groups, group)
    return _number(entry[2] if entry else group, "group", group)


def _find(records: list[list[str]], name: str) -> list[str] | None:
    column = 2 if name.isdecimal() and name.isascii() else 0
    wanted = str(int(name)) if column else name
    return next((record for record in records if record[column] == wanted), None)


def _number(text: str, kind: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ContainerError(
            f"no {kind} {name!r} in the container",
            hint=f"use a number, or add {name!r} to the rootfs's /etc/{_FILE_OF[kind]}",
            phase="user",
        )
    if len(text) > 10 or int(text) > _MAX_ID:
        raise ContainerError(f"{kind} id {text} is out of range 0..{_MAX_ID}", phase="user")
    return int(text)


_FILE_OF = {"user": "passwd", "group": "group"}


def _records(root_fd: int, path: str, columns: int) -> list[list[str]]:
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except SyscallError:
        return []  # no such file: numbers still work
    try:
        info = os.fstat(fd)
        # Nor a link to what procfs makes up: those files have no size (CVE-2024-9676).
        if not stat.S_ISREG(info.st_mode) or not info.st_size:
            return []
        data = os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    records = [line.split(":") for line in lines]
    return [record for record in records if len(record) >= columns]
