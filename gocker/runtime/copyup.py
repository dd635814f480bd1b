"""Copies a directory of an image into a new volume, in a process of its own.

Both trees are walked by descriptors and no link is followed in either: what an image has at a
path can be anything, and what another container may have put into the volume, too
(CVE-2020-1726, CVE-2022-23648, CVE-2023-0778).
"""

from __future__ import annotations

import json
import os
import sys
from errno import ELOOP, ENOENT, ENOTDIR

from gocker.errors import GockerError, HostError, SyscallError
from gocker.linux import mount as m
from gocker.linux import process
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from gocker.runtime import copytree
from gocker.runtime.unpack import open_lower, report_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def copy_up(options: dict[str, Any]) -> dict[str, Any]:
    """Copy as `options` say, see `main`; return the report.

    Raises:
        GockerError, OSError: why not.
    """
    process.unshare(process.CLONE_NEWNS)
    m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    lower = open_lower(options["lower"])
    try:
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        source = openat2(lower, options["path"], copytree.DIRECTORY, resolve)
    except SyscallError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return {"copied": False}
        raise
    target = os.open(options["target"], copytree.DIRECTORY)
    if os.listdir(target):
        return {"copied": False}
    os.umask(0)
    copytree.copy(source, target)
    return {"copied": True}


def main() -> None:
    """Copy; the first argument is a JSON object, the report goes to standard output.

    ``lower``: the image's layers, topmost first; ``path``: of the directory in it; ``target``: the
    volume's directory. Nothing is copied into a volume that has something in it, and nothing
    if there is no such directory, or a link is in its place.
    """
    process.prctl(process.PR_SET_PDEATHSIG, 9)
    options = json.loads(sys.argv[1])
    try:
        report = copy_up(options)
    except GockerError as error:
        report = {"error": error.to_wire()}
    except OSError as error:
        what = f"cannot copy the image's {options['path']!r} into its volume: {error.strerror}"
        report = {"error": HostError(what).to_wire()}
    report_to(1, report)
