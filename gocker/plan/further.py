"""OCI's process for a further program in a container: `gocker exec` and the lifecycle hooks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker import oci
    from gocker.spec.model.service import Hook


def process(
    own: oci.Process, args: list[str], *, env: Iterable[str] = (), cwd: str | None = None,
    user: str | None = None,
) -> oci.Process:  # fmt: skip
    """Return the process; its confinement is the container's.

    Args:
        own: the container's.
        args: program and arguments.
        env: further variables, ``NAME=value``; the last one counts.
        cwd: instead of the container's working directory.
        user: instead of its user; it never has more than the service's own user or root had.
    """
    found: oci.Process = {**own, "args": args, "env": [*own.get("env", ()), *env],
                          "terminal": False}  # fmt: skip
    if cwd is not None:
        found["cwd"] = cwd
    if user is not None:
        found["user"] = _user(user, own)
        found["capabilities"] = _capabilities(found["user"], own)
    return found


def hooks(own: oci.Process, hooks: Iterable[Hook]) -> tuple[oci.Process, ...]:
    """Return the processes of post_start or pre_stop."""
    return tuple(
        process(
            own, [*hook.command],
            env=[f"{name}={value}" for name, value in hook.environment.items()
                 if value is not None],
            cwd=hook.working_dir, user=hook.user,
        ) for hook in hooks
    )  # fmt: skip


def _user(text: str, own: oci.Process) -> oci.User:
    """Return a user to be looked up in the container; groups that the service adds stay."""
    before = own.get("user", {})
    extra = before.get("username", "").partition(" ")[2]
    user: oci.User = {"username": f"{text} {extra}".strip()}
    if "umask" in before:
        user["umask"] = before["umask"]
    return user


def _capabilities(user: oci.User, own: oci.Process) -> oci.Capabilities:
    """Return the sets for another user, by the rule of `plan.posture.capabilities`.

    Root has what the service may have; others have what the service's own user has, if that is
    not root either.
    """
    sets = own.get("capabilities", {})
    bounding = sets.get("bounding", [])
    none: list[str] = []
    if _is_root(user):
        held, ambient = bounding, none
    elif _is_root(own.get("user", {})):
        held, ambient = none, none
    else:
        held, ambient = sets.get("permitted", []), sets.get("ambient", [])
    return {"bounding": bounding, "effective": held, "permitted": held,
            "inheritable": ambient, "ambient": ambient}  # fmt: skip


def _is_root(user: oci.User) -> bool:
    if "username" not in user:
        return user.get("uid", 0) == 0
    name = user["username"].partition(" ")[0].partition(":")[0]
    return name == "root" or (name.isdecimal() and int(name) == 0)
