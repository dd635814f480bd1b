"""Who runs gocker, where an ordinary user has become root of a user namespace of his own.

`gocker.runtime.rootless` does that, before the command starts a second time, and says so by an
option of the interpreter, which nothing that is started from here inherits.
"""

from __future__ import annotations

import os
import sys

from gocker import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_OPTION = "gocker_rootless"
_PID = b"%-20d"


def _outcome() -> dict[str, Any] | None:
    text = sys._xoptions.get(_OPTION)
    return jsontext.loads(text) if isinstance(text, str) else None


_found = _outcome()
if _found is not None and "fd" in _found:
    os.set_inheritable(_found["fd"], False)


def uid() -> int:
    """Return the user's uid, outside of a namespace that was made for it."""
    return os.geteuid() if _found is None else int(_found["uid"])


def owner(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the user and group that called sudo(8), who shall own what is made for them."""
    user, group = environ.get("SUDO_UID", ""), environ.get("SUDO_GID", "")
    if uid() != 0 or not (user.isdecimal() and group.isdecimal()):
        return None
    return int(user), int(group)


def entered() -> bool:
    """Return whether this process is in a user namespace that was made for it."""
    return _found is not None and "fd" in _found


def failure() -> dict[str, Any] | None:
    """Return why there is no such namespace, as an error on the wire; None if nothing failed."""
    return None if _found is None else _found.get("error")


def leave() -> None:
    """Remove the registration, if it is still this process's: the command ends."""
    if _found is None or "fd" not in _found:
        return
    if os.pread(_found["fd"], 20, 0) == _PID % os.getpid():
        try:
            os.unlink(_found["path"])
        except FileNotFoundError:
            pass  # the user has removed it


def register() -> None:
    """Give this process, a child of the registered one, its parent's place."""
    if entered():
        assert _found is not None  # noqa: S101  # for the type checker
        os.pwrite(_found["fd"], _PID % os.getpid(), 0)
