"""The kernel's audit records of refused calls, by the multicast group of netlink's audit family.

Nothing has to run for that, and nothing is lost to a rate limit as in the kernel's log. Source:
include/uapi/linux/audit.h; auditd is not needed.
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import time

from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_AUDIT, _GROUP_READLOG = 9, 1
_RECORD_SECCOMP, _RECORD_LANDLOCK = 1326, 1423
# The one kind of message that is passed on while auditing is off (kernel/audit.c).
_USER_AVC, _NLM_F_REQUEST = 1107, 1
_PATIENCE_S = 2.0
_SO_RCVBUFFORCE = 33
_BUFFER = 64 << 20  # bytes; a record takes less than 1 KiB
_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')
_HEADER = 16  # struct nlmsghdr


class AuditLog:
    """Listens from its making on; `records` returns what has come."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_AUDIT
            )
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self._socket.bind((0, _GROUP_READLOG))
        except OSError as error:
            raise HostError(
                f"cannot read the kernel's audit records: {error.strerror}",
                hint="it takes a kernel with CONFIG_AUDIT, CAP_AUDIT_READ and CAP_NET_ADMIN",
            ) from error
        if not self._hears():
            self.close()
            raise HostError(
                "the kernel's audit records do not come here",
                hint="they come in the host's first network namespace only: nsenter -t 1 -n gocker",
            )

    def _hears(self) -> bool:
        """Return whether a record of our own comes: silence must not look like innocence."""
        text = f"gocker explain {os.getpid()}".encode()
        size = _HEADER + len(text) + 1
        header = struct.pack("IHHII", size, _USER_AVC, _NLM_F_REQUEST, 1, 0)
        try:
            self._socket.sendto(header + text + b"\0", (0, 0))
        except OSError:
            return False
        deadline = time.monotonic() + _PATIENCE_S
        while select.select([self._socket], [], [], max(0, deadline - time.monotonic()))[0]:
            if text in self._socket.recv(65536):
                return True
        return False

    def records(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield (kind, fields) of what has come: kind is ``seccomp`` or ``landlock``."""
        kinds = {_RECORD_SECCOMP: "seccomp", _RECORD_LANDLOCK: "landlock"}
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            kind = kinds.get(int.from_bytes(data[4:6], "little"))
            if kind is not None:
                text = data[_HEADER:].decode("utf-8", "replace")
                yield kind, {m[1]: m[2] or m[3] or "" for m in _FIELD.finditer(text)}

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
