"""Writing limits and reading them back, the same for both drivers.

A driver turns OCI resources into `Setting`s (pure); `apply` writes them. A limit counts only
when the kernel shows it: "Applied" holds the value read back.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENOSPC, EPERM

from gocker.errors import ConfigError, ContainerError, SyscallError
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """One write: `value` goes to `file`, then `read(text)` has to give `expected`.

    `limit` and `requested` are OCI's name and the user's value, for messages and events.
    """

    controller: str
    file: str
    value: str
    limit: str
    requested: Any
    expected: int | str
    read: Callable[[str], int | str]


@dataclass(frozen=True, slots=True)
class Applied:
    """A limit in force: `effective` is what the kernel shows in `file`."""

    limit: str
    requested: Any
    effective: Any
    file: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A limit that is not in force, and why."""

    limit: str
    requested: Any
    reason: str


# Retried once after the others: memory.limit above memory+swap, or a period that does not fit
# the old quota, is EINVAL until its partner is written.
_RETRY = (EINVAL,)


def number_of(resources: Mapping[str, Any], *keys: str) -> int | None:
    """Return a number below `resources`, or None if it is absent, null or 0.

    0 is "not set" as in runc and crun: Docker writes ``"shares": 0`` and ``"weight": 0``.

    Raises:
        ConfigError: if it is not an int.
    """
    value: Any = resources
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"linux.resources.{'.'.join(keys)}: {value!r} is not an integer")
    return value or None


def write_read(dir_fd: int, path: str, value: str) -> str:
    """Write a value to a cgroup file and return what the kernel then shows.

    Raises:
        SyscallError: with the call that failed.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as err:
        raise SyscallError("open", err.errno or EINVAL, path) from err
    try:
        os.write(fd, value.encode())
        return os.pread(fd, 16384, 0).decode()
    except OSError as err:
        raise SyscallError("write", err.errno or EINVAL, path, value=value) from err
    finally:
        os.close(fd)


def apply(
    settings: Iterable[Setting], write: Callable[[Setting], str], name: str, best_effort: bool
) -> tuple[list[Applied], list[Skipped]]:
    """Write settings through `write` and return what is in force and what is not.

    Raises:
        ContainerError: phase cgroup, if one could not be set and `best_effort` is false.
    """
    applied: list[Applied] = []
    skipped: list[Skipped] = []
    queue = list(settings)
    retried: set[tuple[str, str]] = set()
    while queue:
        setting = queue.pop(0)
        try:
            effective = setting.read(write(setting))
        except SyscallError as err:
            key = (setting.file, setting.limit)
            if err.errno in _RETRY and queue and key not in retried:
                retried.add(key)
                queue.append(setting)
                continue
            if not best_effort:
                raise _refused(name, setting, err) from err
            skipped.append(Skipped(setting.limit, setting.requested, err.message))
            continue
        if effective == setting.expected:
            applied.append(Applied(setting.limit, setting.requested, effective, setting.file))
            continue
        reason = f"the kernel shows {effective!r} in {setting.file!r}"
        if not best_effort:
            raise ContainerError(
                f"{name}: cannot set {setting.limit} to {setting.requested!r}: {reason}",
                hint=f"ask for a value that the {setting.controller} controller accepts",
                phase="cgroup", container_id=name, limit=setting.limit, effective=effective,
            )  # fmt: skip
        skipped.append(Skipped(setting.limit, setting.requested, reason))
    return applied, skipped


def _refused(name: str, setting: Setting, err: SyscallError) -> ContainerError:
    return ContainerError(
        f"{name}: cannot set {setting.limit} to {setting.requested!r}: {err.message}",
        hint=_hint(setting, err.errno or 0),
        phase="cgroup", container_id=name, limit=setting.limit, controller=setting.controller,
    )  # fmt: skip


def _hint(setting: Setting, errno: int) -> str:
    if setting.file.startswith("memory.memsw") and errno == ENOENT:
        return "this kernel does not account swap: boot with swapaccount=1 or drop memswap_limit"
    if setting.file.startswith("blkio.") and "weight" in setting.file and errno == ENOENT:
        return "weights need the BFQ scheduler: modprobe bfq, or drop blkio_config.weight"
    if errno == ENOENT:
        return f"this kernel has no {setting.file}: drop the limit or use a newer kernel"
    if errno in (EACCES, EPERM):
        if setting.controller == "cpuset":
            return "cpuset has to be part of the parent cgroup's: see its cpuset.cpus, cpuset.mems"
        return f"run as root, or with a {setting.controller} cgroup delegated to you"
    if errno == ENODEV:
        return f"the device of {setting.limit} does not exist: see lsblk"
    if errno == EBUSY:
        return f"lower {setting.limit} cannot be reached: more is in use, and cannot be reclaimed"
    if errno == ENOSPC:
        return "cpuset.cpus and cpuset.mems must not be empty while processes are inside"
    return f"the {setting.controller} controller refuses this value: see {setting.file}"
