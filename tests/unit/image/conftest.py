from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gocker.state.roots import Roots

MakeElf = Callable[..., Path]


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots(str(tmp_path / "data"), str(tmp_path / "live")) as opened:
        yield opened


@pytest.fixture
def make_elf() -> MakeElf:
    """Return a writer of ELF files with an interpreter and a dynamic section."""

    def make(
        path: Path,
        *,
        needed: tuple[str, ...] = (),
        interpreter: str | None = None,
        rpath: str | None = None,
        runpath: str | None = None,
        wide: bool = True,
        order: str = "<",
        machine: int = 62,
    ) -> Path:
        strings = b"\0"
        entries = []
        for tag, text in [*((1, name) for name in needed), (15, rpath), (29, runpath)]:
            if text is not None:
                entries.append((tag, len(strings)))
                strings += text.encode() + b"\0"
        # One segment maps the whole file at an address that is not its offset.
        base = 0x400000
        header_size, segment_size = (64, 56) if wide else (52, 32)
        strings_at = header_size + 3 * segment_size
        interpreter_at = strings_at + len(strings)
        interp = (interpreter or "").encode() + b"\0"
        dynamic_at = interpreter_at + len(interp)
        entries += [(5, base + strings_at), (10, len(strings)), (0, 0)]
        dynamic = b"".join(struct.pack(f"{order}{'qQ' if wide else 'iI'}", *e) for e in entries)
        total = dynamic_at + len(dynamic)

        def segment(kind: int, offset: int, size: int) -> bytes:
            if wide:
                return struct.pack(
                    f"{order}IIQQQQQQ", kind, 4, offset, base + offset, 0, size, size, 1
                )
            return struct.pack(f"{order}8I", kind, offset, base + offset, 0, size, size, 4, 1)

        ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
        address = "Q" if wide else "I"
        header = ident + struct.pack(
            f"{order}HHI{address}{address}{address}IHHHHHH",
            3, machine, 1, 0, header_size, 0, 0, header_size, segment_size, 3, 0, 0, 0,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            header
            + segment(1, 0, total)
            + segment(3 if interpreter else 0, interpreter_at, len(interp))
            + segment(2, dynamic_at, len(dynamic))
            + strings
            + interp
            + dynamic
        )
        path.chmod(0o755)
        return path

    return make
