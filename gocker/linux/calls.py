"""System calls as data: a list to be made in order, with nothing of the interpreter in between.

The last steps of a container's first process are such a list: they cannot fail but by the
kernel's word, and after some of them (a seccomp filter, another user) the interpreter could no
longer be sure to work. `run` makes the calls here; `gocker.linux.vfork` lets the child make
them without Python.
"""

from __future__ import annotations

import ctypes
import os
import struct
from errno import ENOENT

from gocker.errors import SyscallError
from gocker.linux.libc import LONG, prototype
from gocker.linux.syscall_table import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Number, six arguments, and whether a failure is tolerated; afterwards -errno if it failed.
CALL = struct.Struct("8q")
_END = CALL.pack(-1, 0, 0, 0, 0, 0, 0, 0)
_PADDING = (0,) * 6
_syscall = prototype("syscall", *[LONG] * 7)
# Now, not at the first use: that may be in a container, where an import finds the image's files.
_NUMBERS = numbers(os.uname().machine)


class Calls:
    """A list of system calls. Owns the memory that their arguments point to."""

    __slots__ = ("_keep", "_labels", "_memory", "_numbers", "_packed")

    def __init__(self) -> None:
        self._numbers = _NUMBERS
        self._packed = bytearray()
        self._labels: list[tuple[str, str, str | None]] = []
        self._keep: list[object] = []
        self._memory: ctypes.Array[ctypes.c_char] | None = None

    def add(
        self, name: str, *arguments: int, phase: str, path: str | None = None, go_on: bool = False
    ) -> None:
        """Append a call; with `go_on` the next one is made even if this one fails."""
        filled = arguments + _PADDING[len(arguments) :]
        self._packed += CALL.pack(self._numbers[name], *filled, go_on)
        self._labels.append((name, phase, path))

    def buffer(self, data: bytes) -> int:
        """Return the address of a copy of `data` with a zero byte behind it."""
        memory = ctypes.create_string_buffer(data)
        self._keep.append(memory)
        return ctypes.addressof(memory)

    def strings(self, items: Iterable[bytes]) -> int:
        """Return the address of an array of C strings that ends with NULL, as execve(2) wants."""
        texts = [*items, None]
        memory = (ctypes.c_char_p * len(texts))(*texts)
        self._keep.append(memory)
        return ctypes.addressof(memory)

    def address(self) -> int:
        """Return the address of the packed list, ended by a negative number."""
        self._memory = ctypes.create_string_buffer(bytes(self._packed) + _END)
        return ctypes.addressof(self._memory)

    def run(self, after: Callable[[str, int], None] | None = None) -> SyscallError | None:
        """Make the calls in this process; return the failure of the first that must not fail.

        `after` is told the name and the result of each call that did not fail.
        """
        start = self.address()
        for index in range(len(self._labels)):
            number, *arguments, go_on = self._entry(index)
            result = _syscall(number, *arguments)
            if result >= 0 and after is not None:
                after(self._labels[index][0], result)
            if result < 0:
                self._store(index, -ctypes.get_errno())
                if not go_on:
                    return self.failure(start + index * CALL.size)
        return None

    def failure(self, address: int) -> SyscallError:
        """Return the error of the failed call at `address`.

        Of the tolerated calls right before it, with which it makes up a search, the first that
        failed with more than "not there" is what the user has to know.
        """
        assert self._memory is not None  # noqa: S101  # `address` was called
        index = (address - ctypes.addressof(self._memory)) // CALL.size
        name, phase, path = self._labels[index]
        errno = -self._entry(index)[-1]
        for earlier in range(index - 1, -1, -1):
            if self._labels[earlier][0] != name:
                break
            found = -self._entry(earlier)[-1]
            if found > 0 and (found != ENOENT or errno == ENOENT):
                errno, path = found, self._labels[earlier][2]
        return SyscallError(name, errno, path, phase=phase)

    def _entry(self, index: int) -> tuple[int, ...]:
        return CALL.unpack_from(self._memory or b"", index * CALL.size)

    def _store(self, index: int, result: int) -> None:
        assert self._memory is not None  # noqa: S101  # `address` was called
        struct.pack_into("q", self._memory, index * CALL.size + CALL.size - 8, result)
