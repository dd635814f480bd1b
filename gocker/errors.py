"""The error tree, its exit codes, and its form on the wire.

An error keeps its structure from the errno in a container's first process, over the
launcher's socket, into the JSON log: ``to_wire`` and ``from_wire`` are inverse.
"""

from __future__ import annotations

import os
from errno import EAGAIN, EDQUOT, EFBIG, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS

# The launcher imports this module: `typing` and `dataclasses` would cost it milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

# Exit codes of the commands (docs/errors.md). Codes of a container's own program pass unchanged.
EXIT_JOB_FAILED = 1
EXIT_TIMEOUT = 124


class GockerError(Exception):
    """Base of every error that a user can see.

    Args:
        message: where, what was tried, what was said; lower case, no full stop.
        hint: what to do about it, or None.
        context: flat JSON values that a machine may want (container_id, phase, path ...).
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str | None = None, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, Any]:
        """Return JSON values from which `from_wire` makes an equal error, causes included."""
        wire: dict[str, Any] = {"type": type(self).__name__, "message": self.message}
        if self.hint is not None:
            wire["hint"] = self.hint
        if self.context:
            wire["context"] = self.context
        cause = self.__cause__
        if isinstance(cause, GockerError):
            wire["cause"] = cause.to_wire()
        return wire


class Problem:
    """One mistake in a spec: its place, what is wrong, and what may have been meant.

    `line` and `column` count from 1; `path` is the key's path, as in ``services.web.cpus``.
    """

    __slots__ = ("column", "file", "hint", "line", "message", "path")

    def __init__(
        self, file: str, line: int, column: int, path: str, message: str, hint: str | None = None
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.path = path
        self.message = message
        self.hint = hint

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        path = f" {self.path}:" if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}:{path} {self.message}{hint}"


class SpecError(GockerError):
    """The spec is wrong. Holds every problem found, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def to_wire(self) -> dict[str, Any]:
        """Return the problems as objects beside the message."""
        return {**super().to_wire(), "problems": [problem.to_wire() for problem in self.problems]}


class UsageError(GockerError):
    """The command line is wrong."""

    exit_code = 2


class PlanError(GockerError):
    """The spec cannot be planned: a cycle, or a service that is not there."""

    exit_code = 2


class HostError(GockerError):
    """This machine cannot do it; the hint is the command that mends it."""

    exit_code = 3


class ContainerError(GockerError):
    """A container could not be made. `context` holds container_id and phase."""

    exit_code = 125


class ConfigError(ContainerError):
    """A key of the OCI configuration is unsupported or contradictory."""


class CannotExecute(ContainerError):  # noqa: N818  # the shell's own word for exit code 126
    """The program is there and cannot be executed."""

    exit_code = 126


class CommandNotFound(ContainerError):  # noqa: N818  # the shell's own word for exit code 127
    """There is no such program in the container."""

    exit_code = 127


class InternalError(GockerError):
    """A bug of gocker's own."""

    exit_code = 70


# What the kernel's answer means where it is a limit of its own (user_namespaces(7), mount(2)).
_NAMESPACES = (
    "a limit of the kernel on namespaces: see sysctl user.max_mnt_namespaces, "
    "user.max_net_namespaces, user.max_pid_namespaces, user.max_user_namespaces and the like"
)
_MOUNTS = "a limit of the kernel on mounts: see sysctl fs.mount-max"
_LIMITS = {
    ("unshare", ENOSPC): _NAMESPACES,
    ("clone3", ENOSPC): _NAMESPACES,
    ("clone3", EAGAIN): "raise pids.max of gocker's cgroup, ulimit -u, or sysctl kernel.pid_max",
    ("mount", ENOSPC): _MOUNTS,
    ("move_mount", ENOSPC): _MOUNTS,
    ("open_tree", ENOSPC): _MOUNTS,
}


class SyscallError(GockerError, OSError):
    """A system call failed. Also an OSError; tell cases apart by `errno`."""

    def __init__(
        self,
        syscall: str,
        errno: int,
        path: str | None = None,
        **arguments: Any,
    ) -> None:
        where = f"({path!r})" if path is not None else ""
        reason = os.strerror(errno)
        hint = _LIMITS.get((syscall, errno))
        GockerError.__init__(self, f"{syscall}{where}: {reason}", hint=hint, **arguments)
        self.syscall = syscall
        self.errno = errno
        self.strerror = reason
        self.filename = path

    def to_wire(self) -> dict[str, Any]:
        """Return the call, errno and path beside the message."""
        wire = super().to_wire()
        wire |= {"syscall": self.syscall, "errno": self.errno}
        if self.filename is not None:
            wire["path"] = self.filename
        return wire


# What a shortage is called by who can do something about it.
_SHORTAGES = {
    ENOSPC: "free some space, or use another file system",
    EDQUOT: "free some space, or ask for a larger quota",
    EFBIG: "raise the limit of file sizes: ulimit -f",
    EMFILE: "raise the limit of open files: ulimit -n",
    ENFILE: "the host has no file descriptors left: sysctl fs.file-max",
    ENOMEM: "free some memory, or raise the limit of the cgroup that gocker is in",
    EAGAIN: "raise the limit of processes: ulimit -u, pids.max, sysctl kernel.pid_max",
    EIO: "see the kernel's log (dmesg): the disk does not answer",
    EROFS: "the file system is read-only: mount it read-write, or use another one",
}


def remedy(errno: int | None) -> str | None:
    """Return what can be done about a shortage, if the errno is one."""
    return _SHORTAGES.get(errno or 0)


def unforeseen(error: BaseException) -> GockerError:
    """Return an error that nobody gave a meaning, with the function that it came from.

    A refusal by the kernel is the host's; everything else is a bug.
    """
    if isinstance(error, GockerError):
        return error
    where = _origin(error)
    if isinstance(error, OSError):
        path = f"{error.filename!r}: " if error.filename else ""
        reason = os.strerror(error.errno) if error.errno else str(error)
        made: GockerError = HostError(
            f"{where}: {path}{reason}", hint=remedy(error.errno), errno=error.errno
        )
    elif isinstance(error, MemoryError):
        made = HostError(f"{where}: out of memory", hint=_SHORTAGES[ENOMEM])
    else:
        made = InternalError(
            f"internal error in {where}: {type(error).__name__}: {error}",
            hint="this is a bug of gocker's; with GOCKER_DEBUG=1 it shows where",
        )
    made.__cause__ = error
    return made


def _origin(error: BaseException) -> str:
    """Return module and function of ours in which an error was raised."""
    top = os.path.dirname(__file__)
    found = "gocker"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        path = os.path.relpath(code.co_filename, top)
        if not path.startswith("..") and path != "failpoints.py":
            found = f"{path.removesuffix('.py').replace('/', '.')}.{code.co_qualname}"
        trace = trace.tb_next
    return found


_TYPES: dict[str, type[GockerError]] = {
    kind.__name__: kind
    for kind in (
        GockerError, UsageError, PlanError, HostError, ContainerError, ConfigError,
        CannotExecute, CommandNotFound, InternalError,
    )
}  # fmt: skip


def from_wire(wire: dict[str, Any]) -> GockerError:
    """Return the error that `to_wire` described; an unknown type becomes an InternalError."""
    error: GockerError
    context = wire.get("context", {})
    if wire["type"] == "SyscallError":
        error = SyscallError(wire["syscall"], wire["errno"], wire.get("path"), **context)
    elif wire["type"] == "SpecError":
        error = SpecError([Problem(**problem) for problem in wire["problems"]])
    else:
        kind = _TYPES.get(wire["type"], InternalError)
        error = kind(wire["message"], hint=wire.get("hint"), **context)
    if "cause" in wire:
        error.__cause__ = from_wire(wire["cause"])
    return error
