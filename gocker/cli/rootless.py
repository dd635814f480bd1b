"""An ordinary user's commands go on as root of a user namespace: `gocker.runtime.rootless`."""

from __future__ import annotations

import os
import sys

from gocker.errors import from_wire
from gocker.state import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CODE = "import sys; sys.path.insert(0, {root!r}); from gocker.runtime.rootless import main; main()"
# What reads records, asks a project that lives, or has to do with text alone.
_AS_THEY_ARE = frozenset((
    "attach", "audit", "config", "events", "graph", "kill", "logs", "ls", "oci", "pause", "port",
    "ps", "schema", "stop", "unpause", "validate", "version", "wait",
))  # fmt: skip


def enter(name: str, argv: list[str]) -> None:
    """Start the command anew in the user's namespace, if it needs one and is not in it.

    Raises:
        HostError: there can be none; or the directories of the user's state are not his alone.
    """
    failure = rootless.failure()
    if failure is not None and name != "doctor":
        raise from_wire(failure)
    if os.geteuid() == 0 or failure is not None or name in _AS_THEY_ARE or _help(argv):
        return
    _become()


def _help(argv: list[str]) -> bool:
    return bool({"-h", "--help"} & set(argv))


def _become() -> NoReturn:
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        os.close(roots.open_live("users"))
        directory = os.path.join(roots.live, "users")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [
        sys.executable, "-I", "-S", "-c", _CODE.format(root=root), directory,
        sys.executable, *sys.orig_argv[1:],
    ]  # fmt: skip
    os.execv(sys.executable, command)  # noqa: S606  # no shell is wanted
