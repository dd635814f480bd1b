"""A process that swaps two directory entries as fast as it can: the attacker of races."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from pathlib import Path
from types import TracebackType

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # include/uapi/linux/fs.h
_libc = ctypes.CDLL(None, use_errno=True)


class Flipper:
    """Swaps `one` and `other` until the block ends; `flips` tells how often.

    Waits for nobody: it begins before the block does.
    """

    def __init__(self, one: Path, other: Path) -> None:
        self._paths = (os.fsencode(one), os.fsencode(other))
        self._count = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self._pid = 0

    @property
    def flips(self) -> int:
        return self._count[0]

    def __enter__(self) -> Flipper:
        ready, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._flip(told)
            finally:
                os._exit(1)
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        return self

    def _flip(self, told: int) -> None:
        one, other = self._paths
        rename = _libc.renameat2
        while True:
            if rename(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) == 0:
                self._count[0] += 1
                if self._count[0] == 1:
                    os.write(told, b".")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
