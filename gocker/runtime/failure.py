"""What a process that could not become its program says of it."""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOEXEC

from gocker.errors import (
    CannotExecute,
    ContainerError,
    GockerError,
    InternalError,
    SyscallError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAILED_EXIT_CODE = 255
EXECVE_REASONS = {
    ENOENT: "the interpreter it names is missing",
    ENOEXEC: "it is neither a program for this machine nor a script that starts with #!",
}
_IDS = {"setresuid": "user", "setresgid": "group", "setgroups": "one of the groups"}


def explain(error: BaseException, phase: str) -> dict[str, Any]:
    """Return an error of `prepare` or of its calls as it goes over the wire. Imports nothing."""
    if isinstance(error, SyscallError) and "phase" in error.context:
        phase = error.context["phase"]
        if error.syscall == "execve":
            reason = EXECVE_REASONS.get(error.errno or 0, error.strerror)
            error = CannotExecute(
                f"cannot execute {error.filename!r}: {reason}",
                phase=phase, program=error.filename, errno=error.errno,
            )  # fmt: skip
        elif error.syscall == "chdir":
            error = CannotExecute(
                f"cannot enter the working directory {error.filename!r}: {error.strerror}",
                hint="make it readable for the user, or set another working_dir",
                phase=phase,
            )
        elif error.syscall in _IDS and error.errno == EINVAL:
            error = ContainerError(
                f"{_IDS[error.syscall]} {error.filename} is not mapped in the user namespace",
                hint="use one of its ids, or map more",
                phase=phase,
            )
    if not isinstance(error, ContainerError):
        if isinstance(error, OSError) and not isinstance(error, GockerError):
            cause: GockerError = SyscallError(phase, error.errno or 0, error.filename)
        elif isinstance(error, GockerError):
            cause = error
        else:
            cause = InternalError(f"{type(error).__name__}: {error}")
        error = ContainerError(f"{phase}: {cause.message}", hint=cause.hint, phase=phase)
        error.__cause__ = cause
    return error.to_wire()
