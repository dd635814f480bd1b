"""Compiled seccomp programs, kept in a private directory between processes.

Compiling a profile of 400 calls takes 10 ms, which is more than all the rest of an ``exec``. A
program is found by a SHA-256 over the profile, the machine and what compiles it, and begins with a
SHA-256 of itself: a damaged one is none. Whoever could write there could also write plan.json, by
which containers are entered.
"""

from __future__ import annotations

import os
import struct

from gocker import jsontext
from gocker.digest import hexdigest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci

MOST = 64
_SOURCES = (
    "bpf.py", "seccomp.py", "../linux/syscall_table.py",
    *(f"../linux/syscall_table_{name}.py" for name in ("x86_64", "x86", "x32", "aarch64", "arm")),
)  # fmt: skip
_HEAD = struct.Struct("=64sI")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST = _HEAD.size + 8 * 4096  # BPF_MAXINSNS


def program(profile: oci.Seccomp, directory: str | None) -> tuple[bytes, int]:
    """Return a profile's program and its flags for seccomp(2).

    Args:
        profile: OCI's linux.seccomp.
        directory: where programs are kept, nobody else's; None for no such place.

    Raises:
        ConfigError: as `seccomp.program`.
    """
    if directory is None:
        return _compile(profile)
    path = os.path.join(directory, _key(profile))
    found = _read(path)
    if found is None:
        found = _compile(profile)
        _keep(path, *found)
    return found


def _compile(profile: oci.Seccomp) -> tuple[bytes, int]:
    from gocker.runtime import seccomp  # 3 ms, with its tables

    return seccomp.program(profile)


def _key(profile: oci.Seccomp) -> str:
    """Return a name that another profile, machine or version of the compiler does not have."""
    made_by = []
    here = os.path.dirname(__file__)
    for name in _SOURCES:
        status = os.stat(os.path.join(here, name))
        made_by.append((name, status.st_size, status.st_mtime_ns))
    text = jsontext.dumps([os.uname().machine, made_by, profile], sort_keys=True)
    return hexdigest(text.encode())


def _read(path: str) -> tuple[bytes, int] | None:
    try:
        fd = os.open(path, _OPEN)
    except OSError:
        return None
    try:
        data = os.read(fd, _LONGEST + 1)
    finally:
        os.close(fd)
    if not _HEAD.size < len(data) <= _LONGEST:
        return None
    digest, flags = _HEAD.unpack_from(data)
    code = data[_HEAD.size :]
    return (code, flags) if digest == _digest(code, flags) else None


def _digest(code: bytes, flags: int) -> bytes:
    return hexdigest(flags.to_bytes(4, "little") + code).encode()


def _keep(path: str, code: bytes, flags: int) -> None:
    """Write a program where the next one finds it; none is kept where that cannot be done."""
    directory = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}"
    try:
        names = os.listdir(directory)
        if len(names) >= MOST:
            for name in names:
                os.unlink(os.path.join(directory, name))
        fd = os.open(temporary, _MAKE, 0o600)
        try:
            os.write(fd, _HEAD.pack(_digest(code, flags), flags) + code)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        pass  # a full disk, a file of a killed process: it is compiled again
