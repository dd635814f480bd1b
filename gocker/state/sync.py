"""A run's log on disk for good, before anybody is told what is in it.

fdatasync(2) takes a third of a millisecond on one disk and ten on another, so a thread waits for
it and the loop does not, and one call serves all that was written meanwhile. The thread is started
with the first result, and calls at most every `PAUSE_S`: a batch of a thousand short jobs has a
few dozen calls, and nobody sees the delay. Container output and
volumes are not synced: what a job wants to survive a power cut it syncs itself.
"""

from __future__ import annotations

import _thread
import os

from gocker.errors import HostError
from gocker.tree import DIRECTORY

PAUSE_S = 0.02


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
        # Held by the thread's next turn, which `begin` lets go on.
        self._turn = _thread.allocate_lock()
        self._turn.acquire()
        # Held while nobody is in a hurry.
        self._hurry = _thread.allocate_lock()
        self._hurry.acquire()
        self._started = self._closed = False
        self.busy = False

    def begin(self) -> None:
        """Start a call; none may be under way."""
        self.busy = True
        if self._started:
            self._turn.release()
        else:
            self._started = True
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
            self._hurry.release()
            if self.busy:
                self.finish()
            self.begin()
            self.finish()
        finally:
            self._closed = True
            self._turn.release()
            for fd in (self._directory, self.fd, self._end):
                os.close(fd)

    def _run(self) -> None:
        while not self._closed:
            self._sync()
            os.write(self._end, b"x")
            if self._hurry.acquire(timeout=PAUSE_S):
                self._hurry.release()
            self._turn.acquire()

    def _sync(self) -> None:
        try:
            os.fdatasync(self._file)
            if self._first:
                self._sync_names()
                self._first = False
        except OSError as error:
            self._failure = error

    def _sync_names(self) -> None:
        """Sync run.json and the directories that lead to the log (fsync(2), "calling fsync")."""
        for name, flags in (("run.json", os.O_RDONLY | os.O_NOFOLLOW), ("..", DIRECTORY)):
            fd = os.open(name, flags | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        os.fsync(self._directory)
