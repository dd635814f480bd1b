"""A run's log on disk for good, before anybody is told what is in it.

fdatasync(2) takes a third of a millisecond on one disk and ten on another, so a thread waits for
it and the loop does not, and one call serves all that was written meanwhile. Container output and
volumes are not synced: what a job wants to survive a power cut it syncs itself.
"""

from __future__ import annotations

import _thread
import os

from gocker.errors import HostError
from gocker.tree import DIRECTORY


class Syncer:
    """Syncs one file in the background, one call at a time. `fd` is readable when one has ended.

    Args:
        fd: the file; not owned, and open until `close`.
        directory: descriptor of the directory it is in, whose other small files and names are
            synced with the first call; not owned.
    """

    def __init__(self, fd: int, directory: int) -> None:
        self._file = fd
        self._directory = os.dup(directory)
        self.fd, self._end = os.pipe2(os.O_CLOEXEC)
        self._first = True
        self._failure: OSError | None = None
        self.busy = False

    def begin(self) -> None:
        """Start a call; none may be under way."""
        self.busy = True
        _thread.start_new_thread(self._run, ())

    def finish(self) -> None:
        """Wait for the call under way.

        Raises:
            HostError: if the disk refused.
        """
        os.read(self.fd, 1)
        self.busy = False
        if self._failure is not None:
            raise HostError(
                f"cannot write the run's log to its disk: {self._failure.strerror}",
                hint="see the kernel's log (dmesg)",
            ) from self._failure

    def close(self) -> None:
        """Sync what is left, and close the descriptors.

        Raises:
            HostError: if the disk refused.
        """
        try:
            if self.busy:
                self.finish()
            self.begin()
            self.finish()
        finally:
            for fd in (self._directory, self.fd, self._end):
                os.close(fd)

    def _run(self) -> None:
        try:
            os.fdatasync(self._file)
            if self._first:
                self._sync_names()
                self._first = False
        except OSError as error:
            self._failure = error
        os.write(self._end, b"x")

    def _sync_names(self) -> None:
        """Sync run.json and the directories that lead to the log (fsync(2), "calling fsync")."""
        for name, flags in (("run.json", os.O_RDONLY | os.O_NOFOLLOW), ("..", DIRECTORY)):
            fd = os.open(name, flags | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        os.fsync(self._directory)
