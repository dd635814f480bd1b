"""Unpacks one layer of an image, in a process of its own that can reach nothing else.

Started by the front, it serves one layer after the other; see `main`. For each, a child enters
a mount namespace and makes the layer its root, so that no name leads to the host even if the
resolution of names had a hole. What parses the archive is a child of that with few
capabilities; only the ``trusted.`` attributes of opaque directories, which take CAP_SYS_ADMIN,
are set after it has ended.
"""

from __future__ import annotations

import _socket
import json
import os
import sys
import zlib
from errno import EDQUOT, ENOSPC
from hashlib import sha256

from gocker import tar
from gocker.errors import GockerError, HostError, SyscallError
from gocker.linux import capability, fsmount, process
from gocker.linux import mount as m
from gocker.linux.path import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from gocker.nested import opaque_xattr
from gocker.runtime.extract import Extractor
from gocker.runtime.layerdirs import NeedsParents
from gocker.tar import bad
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Report = dict[str, Any]

ARCHIVE_FD = 0
_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD",
                 "CAP_SETFCAP")  # fmt: skip
_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"
# What may be had for nothing before the ratios count: small archives of zeros are common.
_FREE_BYTES = 64 << 20
_FREE_ENTRIES = 20_000
_BYTES_PER_ENTRY = 16


class Archive:
    """The uncompressed archive as a stream that hashes what it gives and knows its limits.

    Args:
        fd: gzip or uncompressed.
        limits: ``bytes``, ``ratio``.
        packed: bytes of the compressed archive, if `fd` gives it uncompressed; else 0.
    """

    def __init__(self, fd: int, limits: dict[str, int], packed: int = 0) -> None:
        self._fd = fd
        self._most = limits["bytes"]
        self._ratio = limits["ratio"]
        self.packed = packed
        self.unpacked = 0
        self._counts_packed = not packed
        self._hash = sha256()
        self._first = os.read(fd, _CHUNK)
        self._gzip: Any = zlib.decompressobj(31) if self._first.startswith(_GZIP) else None
        self._waiting = b""
        self._buffer = memoryview(b"")

    def diff_id(self) -> str:
        """Return the digest of all that was read."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end.

        Raises:
            HostError: past a limit, or if the compressed data is damaged.
        """
        buffer = self._buffer
        if len(buffer) >= size:
            self._buffer = buffer[size:]
            return bytes(buffer[:size])
        parts = [bytes(buffer)]
        missing = size - len(buffer)
        while missing > 0:
            data = self._more()
            if not data:
                self._buffer = memoryview(b"")
                return b"".join(parts)
            parts.append(data[:missing])
            self._buffer = memoryview(data)[missing:]
            missing -= len(data)
        return b"".join(parts)

    def drain(self) -> None:
        """Read what comes behind the archive's end: it is in the digest, too."""
        while self._more():
            pass

    def _more(self) -> bytes:
        data = self._inflated() if self._gzip is not None else self._input()
        self.unpacked += len(data)
        if self.unpacked > self._most:
            raise bad(f"it has more than {self._most} bytes")
        if self.unpacked > max(_FREE_BYTES, self.packed * self._ratio):
            raise bad(f"it unpacks to more than {self._ratio} times its size")
        self._hash.update(data)
        return data

    def _input(self) -> bytes:
        data, self._first = self._first or os.read(self._fd, _CHUNK), b""
        if self._counts_packed:
            self.packed += len(data)
        return data

    def _inflated(self) -> bytes:
        try:
            while True:
                if self._gzip.eof:
                    if not self._next_member():
                        return b""
                    continue
                data = self._waiting or self._input()
                if not data:
                    raise bad("the compressed data ends too early")
                found: bytes = self._gzip.decompress(data, 4 * _CHUNK)
                self._waiting = self._gzip.unconsumed_tail
                if found:
                    return found
        except zlib.error as error:
            raise bad(f"gzip: {error}") from error

    def _next_member(self) -> bool:
        """Begin the next gzip member (RFC 1952, 2.2); zeros behind the last are padding."""
        rest = self._gzip.unused_data or self._input()
        while rest and not rest.strip(b"\0"):
            rest = self._input()
        if not rest:
            return False
        if not rest.startswith(_GZIP):
            raise bad("there is something else behind the compressed data")
        self._gzip = zlib.decompressobj(31)
        self._waiting = rest
        return True


def extract(archive: Archive, extractor: Extractor, limits: dict[str, int]) -> int:
    """Write all members; return their number.

    Raises:
        HostError: for an archive that is damaged, hostile or too large.
        NeedsParents: see there.
        OSError: the file system refuses.
    """
    reader = tar.Reader(archive, sparse_limit=limits["bytes"])
    count = 0
    for member in reader:
        count += 1
        if count > limits["entries"]:
            raise bad(f"it has more than {limits['entries']} entries")
        if count > _FREE_ENTRIES and count > archive.packed // _BYTES_PER_ENTRY:
            raise bad(f"{count} entries in {archive.packed} bytes")
        try:
            extractor.add(member, reader)
        except OSError as error:
            raise _refused(error, member) from error
    extractor.directories.finish()
    archive.drain()
    return count


def _refused(error: OSError, member: tar.Member) -> GockerError:
    name = os.fsdecode(member.name[:200])
    hint = None
    if error.errno in (ENOSPC, EDQUOT):
        hint = "free space in gocker's data root, or set GOCKER_DATA_ROOT to another disk"
    return HostError(f"cannot unpack {name!r}: {os.strerror(error.errno or 0)}", hint=hint)


def _confine(directory: str) -> int:
    """Make the directory the root of this process, which is in a mount namespace of its own."""
    # A descriptor from before is on a mount of the other namespace, which cannot be cloned.
    directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    tree = m.open_tree(directory_fd, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
    # Where it is mounted does not matter: it becomes the root.
    m.move_mount(tree, directory_fd)
    os.close(directory_fd)
    os.fchdir(tree)
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    os.chdir("/")
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _child(root_fd: int, lower_fd: int, options: Report, report_fd: int) -> NoReturn:
    """Parse and write with few capabilities, report, and end."""
    report: Report
    try:
        capability.drop_to(_CAPABILITIES)
        limits = options["limits"]
        archive = Archive(ARCHIVE_FD, limits, options["packed"])
        extractor = Extractor(root_fd, lower_fd, bottom=options["bottom"], depth=limits["depth"])
        entries = extract(archive, extractor, limits)
        report = {
            "diff_id": archive.diff_id(), "entries": entries, "bytes": archive.unpacked,
            "root": extractor.root, "positional": extractor.directories.positional,
            "hides": extractor.directories.hides, "dropped": extractor.dropped,
            "opaque": [os.fsdecode(b"/".join(parts)) for parts in extractor.directories.opaque],
        }  # fmt: skip
    except NeedsParents:
        report = {"needs_parents": True}
    except GockerError as error:
        report = {"error": error.to_wire()}
    except Exception as error:  # a bug of ours; the parent tells
        report = {"error": HostError(f"unpack: {type(error).__name__}: {error}").to_wire()}
    report_to(report_fd, report)
    os._exit(0)


def report_to(fd: int, report: Report) -> None:
    """Write a report as JSON."""
    data = json.dumps(report).encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(fd, data) :]


def _run_child(root_fd: int, lower_fd: int, options: Report) -> Report:
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        process.prctl(process.PR_SET_PDEATHSIG, 9)
        os.close(read_fd)
        _child(root_fd, lower_fd, options, write_fd)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status or not data:
        raise HostError(
            "the process that unpacks a layer was killed", hint="see the kernel's log (dmesg)"
        )
    report: Report = json.loads(data.decode("utf-8", "surrogateescape"))
    return report


def _mark_opaque(root_fd: int, paths: list[str]) -> None:
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
    for path in paths:
        try:
            fd = openat2(root_fd, path, os.O_RDONLY | os.O_DIRECTORY, resolve)
        except SyscallError:
            continue  # something else has taken its place, which hides all below as well
        try:
            os.setxattr(fd, opaque_xattr(), b"y")
        finally:
            os.close(fd)


def open_lower(paths: list[str]) -> int:
    """Return a descriptor of the layers below, merged, or -1."""
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in paths]
    if len(fds) < 2:
        return fds[0] if fds else -1
    try:
        return fsmount.overlay(fds)
    finally:
        for fd in fds:
            os.close(fd)


def unpack(options: Report) -> Report:
    """Unpack as `options` say, see `main`; return the report.

    Raises:
        GockerError: why not. What was written so far is the caller's to remove.
    """
    os.umask(0)
    process.unshare(process.CLONE_NEWNS)
    m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    lower_fd = open_lower(options["lower"])
    root_fd = _confine(options["directory"])
    report = _run_child(root_fd, lower_fd, options)
    if "opaque" in report:
        _mark_opaque(root_fd, report.pop("opaque"))
    return report


def _unpack_apart(options: Report, archive_fd: int) -> Report:
    """Unpack in a child, which then has no way back out of the layer."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        process.prctl(process.PR_SET_PDEATHSIG, 9)
        os.dup2(archive_fd, ARCHIVE_FD)
        report_to(write_fd, _guarded(unpack, options))
        os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    if not data:
        raise HostError(
            "the process that unpacks a layer was killed", hint="see the kernel's log (dmesg)"
        )
    report: Report = json.loads(data.decode("utf-8", "surrogateescape"))
    return report


def _sync(path: str) -> Report:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsmount.syncfs(fd)
    finally:
        os.close(fd)
    return {}


def _guarded(action: Callable[..., Report], *arguments: Any) -> Report:
    try:
        return action(*arguments)
    except GockerError as error:
        return {"error": error.to_wire()}
    except Exception as error:  # a bug must reach the front
        return {"error": HostError(f"unpack: {type(error).__name__}: {error}").to_wire()}


def main() -> None:
    """Serve requests on the socket whose descriptor is the first argument, until its end.

    ``unpack``, with the archive's descriptor. ``directory``: path of the layer's empty directory;
    ``lower``: paths of the layers below, topmost first, if they are needed; ``bottom``: there are
    none; ``limits``: ``bytes``, ``entries``, ``ratio``, ``depth``; ``packed``: see `Archive`. The
    report has ``diff_id``, ``entries``, ``bytes``, ``root`` (mode, uid, gid, or null if the archive
    does not say), ``positional`` (the result serves only above these layers), ``hides`` (it has
    whiteouts) and ``dropped`` (extended attributes left out); or ``needs_parents``; or ``error``.

    ``sync``, with ``path``: returns when that file system is written to the disk.
    """
    process.prctl(process.PR_SET_PDEATHSIG, 9)
    process.prctl(process.PR_SET_DUMPABLE, 0)
    connection = Connection(_socket.socket(fileno=int(sys.argv[1])))
    os.set_inheritable(connection.fileno(), False)
    while (received := connection.receive()) is not None:
        message, fds = received
        if message["op"] == "sync":
            report = _guarded(_sync, message["path"])
        else:
            report = _guarded(_unpack_apart, message, fds[0])
        for fd in fds:
            os.close(fd)
        connection.send(report)
