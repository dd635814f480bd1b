"""nft(8) through libnftables, or through the program where the library is missing.

Source: libnftables(3). Every text is one transaction: all of it is done, or nothing.
"""

from __future__ import annotations

import ctypes
import os

from gocker.errors import HostError
from gocker.linux import process

_NAMESPACE = "/proc/thread-self/ns/net"
_PROGRAM = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")


def _library() -> ctypes.PyDLL | None:
    try:
        library = ctypes.PyDLL("libnftables.so.1")
    except OSError:
        return None
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_run_cmd_from_buffer.restype = ctypes.c_int
    return library


class Nftables:
    """Rules of the network namespace that this process is in when it is made.

    `owns`: a table with ``flags owner`` lives as long as this object, and nobody else changes
    it (Linux 5.12). The program, a process of its own for each call, cannot do that.
    """

    def __init__(self) -> None:
        self._library = _library()
        self.owns = self._library is not None
        if self._library is None:
            self._program = next(filter(os.path.exists, _PROGRAM), "")
            if not self._program:
                raise HostError(
                    "networks need nftables: there is neither libnftables.so.1 nor nft",
                    hint="apt-get install nftables, or use network_mode: none or host",
                )
            self._namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            return
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise HostError("nftables: no context", hint="is this process root here?")
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, text: str) -> str:
        """Carry out one transaction; return what it printed.

        Raises:
            HostError: with nft's own words; nothing was changed then.
        """
        if self._library is None:
            return self._spawn(text)
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        error = self._library.nft_ctx_get_error_buffer(self._context)
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        if failed:
            raise _refused(error.decode("utf-8", "replace"))
        return output.decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of the kernel's socket, and so of owned tables."""
        if self._library is None:
            os.close(self._namespace)
        elif self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def _spawn(self, text: str) -> str:
        """Run ``nft -f -``; its output and its words about errors come back in one file.

        In the namespace that this object was made in, as the library's socket is.
        """
        back = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        given = os.memfd_create("rules", os.MFD_CLOEXEC)
        said = os.memfd_create("output", os.MFD_CLOEXEC)
        process.setns(self._namespace, process.CLONE_NEWNET)
        try:
            os.write(given, text.encode())
            os.lseek(given, 0, os.SEEK_SET)
            actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1),
                       (os.POSIX_SPAWN_DUP2, said, 2)]  # fmt: skip
            pid = os.posix_spawn(self._program, ["nft", "-f", "-"], {}, file_actions=actions)
            _, status = os.waitpid(pid, 0)
            output = os.pread(said, 1 << 20, 0).decode("utf-8", "replace")
        finally:
            process.setns(back, process.CLONE_NEWNET)
            for fd in (back, given, said):
                os.close(fd)
        if status:
            raise _refused(output)
        return output


def _refused(words: str) -> HostError:
    first = words.strip().splitlines()
    return HostError(
        f"nftables: {first[0] if first else 'the kernel refused the rules'}",
        hint="networks need the kernel's nf_tables with nat, and CAP_NET_ADMIN",
        words=words.strip(),
    )
