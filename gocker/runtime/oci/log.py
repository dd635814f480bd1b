"""What a caller of the runtime reads when a command fails: its log file, and standard error.

The form is runc's, which conmon, podman and containerd parse: one record per line, JSON
(``level``, ``msg``, ``time``) or text.
"""

from __future__ import annotations

import os
import time

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.errors import GockerError

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Log:
    """Where records go; `path` None means standard error alone."""

    def __init__(self, path: str | None, form: str | None, *, debug: bool) -> None:
        self.path = path
        self.json = form == "json"
        self.debug_enabled = debug

    def check(self) -> None:
        """Refuse a log that cannot be written, before anything is done that it should tell of.

        Raises:
            UsageError: it cannot.
        """
        if not self.path:
            return
        try:
            os.close(os.open(self.path, _APPEND, 0o644))
        except OSError as error:
            path, self.path = self.path, None
            raise UsageError(f"cannot write the log {path!r}: {error.strerror}") from error

    def error(self, message: str) -> None:
        """Tell why the command failed: in the log, and on standard error as people expect."""
        if self.path:
            self._write("error", message)
        _print(message if self.path else self._record("error", message).rstrip("\n"))

    def warning(self, message: str) -> None:
        """Tell what did not keep the command from succeeding."""
        self._write("warning", message)

    def debug(self, message: str) -> None:
        """Tell a step, if ``--debug`` was given."""
        if self.debug_enabled:
            self._write("debug", message)

    def _record(self, level: str, message: str) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            from json import dumps

            return (
                dumps({"level": level, "msg": message, "time": now}, separators=(",", ":")) + "\n"
            )
        quoted = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'time="{now}" level={level} msg="{quoted}"\n'

    def _write(self, level: str, message: str) -> None:
        record = self._record(level, message)
        if not self.path:
            _print(record.rstrip("\n"))
            return
        try:
            fd = os.open(self.path, _APPEND, 0o644)
        except OSError as error:
            _print(f"cannot write the log {self.path!r}: {error.strerror}")
            return
        try:
            os.write(fd, record.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)


def _print(text: str) -> None:
    try:
        os.write(2, f"{text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # the reader is gone: nobody to tell


def sentence(error: GockerError) -> str:
    """Return an error in one line, with its cause and its hint."""
    text = error.message
    cause = error.__cause__
    message = getattr(cause, "message", None)
    if message and message not in text:
        text = f"{text}: {message}"
    return f"{text} ({error.hint})" if error.hint else text
