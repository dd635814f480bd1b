"""Sysctls of the network namespace that this process is in."""

from __future__ import annotations

import os

from gocker.errors import SyscallError


def write(name: str, value: str, *, needed: bool = True) -> None:
    """Set a sysctl of the network namespace that this process is in."""
    path = f"/proc/sys/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        if needed:
            raise SyscallError("write", error.errno or 0, path) from error


def read(name: str) -> str:
    """Return a value; empty if there is none."""
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return ""
