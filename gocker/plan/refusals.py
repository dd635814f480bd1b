"""From what was refused to the key of the spec that would allow it: tables for `gocker explain`."""

from __future__ import annotations

import errno
import re

from gocker.plan.seccomp import GUARDED
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker import oci
    from gocker.plan.model import Container

# Calls whose arguments decide, and what each of them is about.
_BY_ARGUMENT = {
    "socket": "AF_PACKET: cap_add: [NET_RAW]; netlink but ROUTE: cap_add: [NET_ADMIN]; other "
    "families (ALG, VSOCK, XDP ...) only with security_opt: [seccomp=unconfined]",
    "socketpair": "only AF_UNIX; others with security_opt: [seccomp=unconfined]",
    "clone": "new namespaces: cap_add: [SYS_ADMIN]",
    "ioctl": "TIOCSTI and TIOCLINUX type into the caller's terminal; nothing but "
    "security_opt: [seccomp=unconfined] allows them",
    "personality": "switching address randomization off; security_opt: [seccomp=unconfined]",
}
_UNCONFINED = "no key allows this one alone; security_opt: [seccomp=unconfined] allows all"
# What a program says when the kernel refuses, and why it does.
_WORDS = {
    "Operation not permitted": errno.EPERM,
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
    "Function not implemented": errno.ENOSYS,
    "Resource temporarily unavailable": errno.EAGAIN,
    "Bad system call": errno.ENOSYS,
    "No such device or address": errno.ENXIO,
}
_PATH = re.compile(r"/[\w.@+\-/]+")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that was refused.

    `benign`: libraries try it and fall back. `specific`: the reason is certain.
    """

    what: str
    answer: str
    times: int
    by: str
    allows: str
    benign: bool = False
    specific: bool = True


def answer(profile: oci.Seccomp, name: str) -> int:
    """Return the errno with which a profile refuses a call."""
    for rule in profile.get("syscalls", []):
        if name in rule["names"] and rule["action"] == "SCMP_ACT_ERRNO":
            return rule.get("errnoRet", errno.EPERM)
    return profile.get("defaultErrnoRet", errno.EPERM)


def call(profile: oci.Seccomp, name: str, times: int, by: Iterable[str]) -> Refusal:
    """Return what is known of a system call that the filter refused."""
    number = answer(profile, name)
    word = errno.errorcode[number]
    benign = number == errno.ENOSYS
    if name in _BY_ARGUMENT:
        allows = _BY_ARGUMENT[name]
    elif benign:
        allows = "nothing to do: the program's library uses an older call instead"
    else:
        allows = _allows(name)
    return Refusal(f"{name}()", word, times, ", ".join(sorted(by)), allows, benign=benign)


def _allows(name: str) -> str:
    for caps, names in GUARDED:
        if name in names.split() and caps:
            options = " or ".join(f"[{cap.removeprefix('CAP_')}]" for cap in caps)
            return f"cap_add: {options}"
    return _UNCONFINED


def foreign(times: int, by: Iterable[str]) -> Refusal:
    """Return what is known of calls of another architecture's numbers: they kill."""
    return Refusal("a 32-bit system call", "SIGSYS", times, ", ".join(sorted(by)),
                   "security_opt: [seccomp=unconfined]; better: a 64-bit program")  # fmt: skip


def landlock(what: str, times: int, by: Iterable[str]) -> Refusal:
    """Return what is known of a denial by Landlock: ``BLOCKER PATH``."""
    return Refusal(what.strip(), "EACCES" if "fs." in what else "EPERM", times,
                   ", ".join(sorted(by)), "x-gocker.landlock: off")  # fmt: skip


def said(made: Container, text: str) -> list[Refusal]:
    """Return what a program's output tells of refusals, with what is behind each."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        if any(word in line for word in _WORDS):
            end = line.strip()[-200:]
            found[end] = found.get(end, 0) + 1
    return [_said(made, line, times) for line, times in found.items()][:20]


def _said(made: Container, line: str, times: int) -> Refusal:
    number = next(value for word, value in _WORDS.items() if word in line)
    for path in _PATH.findall(line):
        reason = path_reason(made, path.rstrip("/."), number)
        if reason is not None:
            return Refusal(line, errno.errorcode[number], times, "", reason)
    general = _general(made, number)
    return Refusal(line, errno.errorcode[number], times, "", general, specific=False)


def path_reason(made: Container, path: str, number: int) -> str | None:
    """Return why a path is refused, and what allows it; None if nothing of ours does."""
    linux = made.config["linux"]
    if _below(path, linux.get("maskedPaths", ())):
        return f"a masked path: security_opt: [unmask={path}]"
    if number == errno.EROFS and _below(path, linux.get("readonlyPaths", ())):
        return "a read-only path of /proc; `sysctls` sets what belongs to the container"
    if path.startswith("/sys"):
        return "/sys is read-only in every container"
    for mount in made.config.get("mounts", ()):
        if "ro" in mount.get("options", ()) and _below(path, [mount["destination"]]):
            return f"{mount['destination']} is mounted read-only: volumes, without :ro"
    if number == errno.EROFS and made.config["root"].get("readonly"):
        return "the root is read-only (read_only, profile strict): a tmpfs or a volume there"
    if path.startswith("/dev/"):
        return f"no such device here: devices: [{path}]"
    return None


def _general(made: Container, number: int) -> str:
    if number == errno.EAGAIN:
        limit = made.config["linux"].get("resources", {}).get("pids", {}).get("limit")
        return f"pids_limit is {limit}" if limit else "a limit of the host"
    if number in (errno.EPERM, errno.EACCES):
        return (
            "by the kernel, not by the filter: a missing capability (cap_add), the file's owner "
            "(user), or no_new_privs (security_opt: [no-new-privileges:false])"
        )
    return "see the system calls above"


def _below(path: str, tops: Iterable[str]) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in tops)
