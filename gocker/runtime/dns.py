"""DNS messages: questions read, answers written. Pure; nothing of a message is trusted.

Source: RFC 1035 (messages), RFC 3596 (AAAA), RFC 6891 (EDNS).
"""

from __future__ import annotations

import _socket as socket
import struct

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
HEADER = 12
# What one datagram carries unless the question says more, and what ours carry at most.
PLAIN_SIZE, EDNS_SIZE = 512, 1232
_REVERSE4, _REVERSE6 = ".in-addr.arpa", ".ip6.arpa"


class Question:
    """The one question of a query.

    `name`: lower case, without the last dot; `size`: the largest answer that its datagram may
    have, bytes; `edns`: whether it has an OPT record.
    """

    __slots__ = ("edns", "end", "flags", "id", "kind", "name", "size")

    def __init__(self, data: bytes) -> None:
        """Read a query.

        Raises:
            ValueError: if it is none that we answer.
        """
        self.id, self.flags, questions, answers, authority, additional = struct.unpack_from(
            "!6H", data
        )
        if self.flags & _QR or self.flags & _OPCODE or questions != 1 or answers or authority:
            raise ValueError("not a plain query")
        labels, at = [], HEADER
        while length := data[at]:
            if length > 63:
                raise ValueError("a compressed question")
            labels.append(data[at + 1 : at + 1 + length])
            at += 1 + length
        name = b".".join(labels)
        if len(name) > 253:
            raise ValueError("a name of more than 253 bytes")
        self.name = name.decode("ascii", "backslashreplace").lower()
        self.kind, _ = struct.unpack_from("!HH", data, at + 1)
        self.end = at + 5
        self.size, self.edns = PLAIN_SIZE, False
        # The OPT record has the root's name, one zero byte.
        if additional and len(data) >= self.end + 11 and data[self.end] == 0:
            kind, size = struct.unpack_from("!HH", data, self.end + 1)
            if kind == OPT:
                self.edns, self.size = True, max(PLAIN_SIZE, size)


def question(data: bytes) -> Question | None:
    """Return the question of a query, or None for what is none."""
    try:
        return Question(data)
    except (ValueError, IndexError, struct.error):
        return None


def address_record(address: str) -> tuple[int, bytes]:
    """Return the type and data of an address's record."""
    if ":" in address:
        return AAAA, socket.inet_pton(socket.AF_INET6, address)
    return A, socket.inet_pton(socket.AF_INET, address)


def name_record(name: str) -> tuple[int, bytes]:
    """Return the type and data of a pointer to a name."""
    labels = [label.encode()[:63] for label in name.split(".") if label]
    return PTR, b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def answer(
    data: bytes, asked: Question, records: list[tuple[int, bytes]], code: int = NOERROR,
    size: int | None = None,
) -> bytes:  # fmt: skip
    """Return the answer to a query: each record's name is the question's, its TTL 0.

    Args:
        data: the query.
        asked: its question.
        records: type and data of each.
        code: the response code.
        size: most bytes; what does not fit is left out whole, and the answer says so (TC).
    """
    body = data[HEADER : asked.end]
    for kind, content in records:
        # 0xC00C points to the question's name.
        body += struct.pack("!HHHIH", 0xC00C, kind, IN, 0, len(content)) + content
    opt = struct.pack("!BHHIH", 0, OPT, EDNS_SIZE, 0, 0) if asked.edns else b""
    flags = _QR | _AA | _RA | asked.flags & _RD | code
    count = len(records)
    if size is not None and HEADER + len(body) + len(opt) > size:
        flags, count, body = flags | _TC, 0, data[HEADER : asked.end]
    header = struct.pack("!6H", asked.id, flags, 1, count, 0, len(opt) and 1)
    return header + body + opt


def reversed_address(name: str) -> str | None:
    """Return the address that a name below in-addr.arpa or ip6.arpa asks about, or None."""
    try:
        if name.endswith(_REVERSE4):
            parts = name.removesuffix(_REVERSE4).split(".")
            text = ".".join(reversed(parts))
            return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
        if name.endswith(_REVERSE6):
            digits = "".join(reversed(name.removesuffix(_REVERSE6).split(".")))
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
    except (OSError, ValueError):
        pass
    return None
