"""A Debian kernel that is unpacked and not installed, with its modules."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

# The newest of Debian 12's two: overlays of ordinary users on tmpfs and memory.peak need it.
RELEASE = "6.12"
_XZ, _ZSTD, _ELF = b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x7fELF"


def cache() -> Path:
    """Return where kernels are kept: GOCKER_VM_CACHE, or the user's cache directory."""
    named = os.environ.get("GOCKER_VM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "gocker-vm"


def prepare(release: str = RELEASE) -> Path:
    """Return a kernel's directory, made at the first call: ``lib/modules``, a program to boot.

    Raises:
        RuntimeError: apt knows no such kernel.
    """
    package = _package(release)
    version = package.removeprefix("linux-image-")
    directory = cache() / version
    if directory.exists():
        return directory
    making = cache() / f".{version}.{os.getpid()}"
    making.mkdir(parents=True)
    try:
        _run("apt-get", "download", "-q", package, cwd=making)
        (archive,) = making.glob("*.deb")
        _run("dpkg", "-x", str(archive), str(making))
        archive.unlink()
        if not (making / "lib").exists():
            (making / "lib").symlink_to("usr/lib")
        _run("depmod", "-b", str(making), version)
        (image,) = making.glob("boot/vmlinuz-*")
        program = uncompressed(image.read_bytes())
        if program is not None:
            (making / "vmlinux").write_bytes(program)
        making.rename(directory)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return directory


def modules(directory: Path) -> Path:
    """Return the directory of a kernel's modules."""
    return directory / "lib/modules" / directory.name


def bootable(directory: Path) -> Path:
    """Return what is booted: uncompressed if it can be, which saves a second."""
    program = directory / "vmlinux"
    return program if program.exists() else next(directory.glob("boot/vmlinuz-*"))


def _package(release: str) -> str:
    for meta in (f"linux-image-{release}-amd64", "linux-image-amd64"):
        found = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True)
        match = re.search(rf"Depends: (linux-image-{re.escape(release)}\S+)", found.stdout)
        if match is not None:
            return match[1]
    raise RuntimeError(f"apt knows no linux-image of release {release}: apt-get update")


def _run(*argv: str, cwd: Path | None = None) -> None:
    subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def uncompressed(image: bytes) -> bytes | None:
    """Return the ELF program in a bzImage; None if its compression is not known here.

    Source: Documentation/arch/x86/boot.rst, setup_sects, payload_offset, payload_length.
    """
    start = ((image[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[start + offset : start + offset + length]
    if payload.startswith(_XZ):
        program = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(_ZSTD) and shutil.which("zstd"):
        done = subprocess.run(["zstd", "-dc"], input=payload, capture_output=True)
        program = done.stdout  # it complains of the length behind the data, and gives all of it
    else:
        return None
    return program if program.startswith(_ELF) else None
