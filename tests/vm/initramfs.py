"""The initial file system of the virtual machine: busybox, modules, the script, the job."""

from __future__ import annotations

import lzma
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.vm import kernel

INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")
# What finds the devices, the disk and the host's files.
_MODULES = (
    "virtio_pci", "virtio_console", "virtio_blk", "ext4", "crc32c_generic", "overlay",
    "9pnet_virtio", "9p",
)  # fmt: skip
_DIRECTORIES = ("bin", "proc", "sys", "dev", "mod", "job")


class Cpio:
    """An archive in the form "newc". Source: cpio(5)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def add(self, name: str, data: bytes = b"", mode: int = 0o100644, device: tuple[int, int] = (0, 0)) -> None:  # fmt: skip  # noqa: E501  # a signature
        self._inode += 1
        path = name.encode() + b"\0"
        numbers = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        self._data += b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += b"\0" * (-len(self._data) % 4)

    def finish(self) -> bytes:
        self.add("TRAILER!!!", mode=0)
        return bytes(self._data)


def make(directory: Path, settings: dict[str, str], script: str) -> bytes:
    """Return the archive.

    Args:
        directory: of a kernel.
        settings: for `INIT`, as shell variables.
        script: what the machine is for.
    """
    archive = Cpio()
    for name in _DIRECTORIES:
        archive.add(name, mode=0o040755)
    archive.add("dev/console", mode=0o020600, device=(5, 1))
    archive.add("bin/busybox", BUSYBOX.read_bytes(), 0o100755)
    top = kernel.modules(directory)
    names = []
    for path in _with_dependencies(top, _MODULES):
        name = Path(path).name.partition(".ko")[0]
        names.append(name)
        archive.add(f"mod/{name}.ko", _module(top / path))
    settings = settings | {"MODULES": " ".join(names), "MODULES_AT": str(top)}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    archive.add("job/settings", "".join(lines).encode())
    archive.add("job/script", script.encode(), 0o100755)
    archive.add("init", INIT.read_bytes(), 0o100755)
    return archive.finish()


def _with_dependencies(top: Path, wanted: Iterable[str]) -> list[str]:
    """Return the modules' files in the order of loading. Source: modules.dep(5)."""
    needs = {}
    for line in (top / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.partition(".ko")[0].replace("-", "_"): path for path in needs}
    order: dict[str, None] = {}
    for name in wanted:
        path = by_name.get(name)
        if path is not None:  # else it is a part of the kernel itself
            order |= dict.fromkeys([*reversed(needs[path]), path])
    return list(order)


def _module(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst" and shutil.which("zstd"):
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data
