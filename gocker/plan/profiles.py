"""The security profiles: every number of the posture in which they differ, in one table.

``default`` is what a service gets that asks for nothing; ``compat`` is Docker's confinement, for
porting what relies on it; ``strict`` is Kubernetes' "restricted": what it forbids is refused
before anything starts. docs/posture.md has the reasons, docs/security.md the tests.
"""

from __future__ import annotations

from gocker.errors import PlanError
from gocker.plan import posture
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service


@dataclass(frozen=True, slots=True)
class Profile:
    """A row of the table.

    `pids` and `pids_job` are limits, 0 is none; `seccomp_extra`: calls that are allowed beside
    those of `gocker.plan.seccomp`.
    """

    name: str
    caps: tuple[str, ...]
    no_new_privileges: bool
    read_only: bool
    landlock: bool
    pids: int
    pids_job: int
    oom_score_adj: int
    masked: tuple[str, ...]
    seccomp_extra: tuple[str, ...] = ()
    restricted: bool = False
    # A user namespace for services that say nothing of one: docs/security.md has its price.
    userns: bool = False


DEFAULT = Profile(
    name="default",
    caps=posture.DEFAULT_CAPS,
    no_new_privileges=True,
    read_only=False,
    landlock=True,
    pids=posture.PIDS_LIMIT,
    pids_job=posture.PIDS_LIMIT_JOB,
    oom_score_adj=posture.OOM_SCORE_ADJ,
    masked=posture.MASKED_PATHS,
)
COMPAT = Profile(
    name="compat",
    caps=posture.DOCKER_CAPS,
    no_new_privileges=False,
    read_only=False,
    landlock=False,
    pids=0,
    pids_job=0,
    oom_score_adj=0,
    masked=posture.DOCKER_MASKED_PATHS,
    # moby's default profile has them for every container since Linux 4.8.
    seccomp_extra=(
        "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "name_to_handle_at",
        "memfd_secret",
    ),
)  # fmt: skip
STRICT = Profile(
    name="strict",
    caps=(),
    no_new_privileges=True,
    read_only=True,
    landlock=True,
    pids=posture.PIDS_LIMIT,
    pids_job=posture.PIDS_LIMIT_JOB,
    oom_score_adj=posture.OOM_SCORE_ADJ,
    masked=posture.MASKED_PATHS,
    restricted=True,
    userns=True,
)
PROFILES = {profile.name: profile for profile in (DEFAULT, COMPAT, STRICT)}


def profile_of(service: Service, project: Project) -> Profile:
    """Return a service's profile: its own, the project's, or the default one."""
    own = service.x_gocker.profile if service.x_gocker is not None else None
    whole = project.x_gocker.profile if project.x_gocker is not None else None
    return PROFILES[own or whole or "default"]


def check(service: Service, profile: Profile, user: str) -> None:
    """Refuse what a restricted profile forbids; `user` is the service's or the image's.

    Raises:
        PlanError: naming all of it.
    """
    if not profile.restricted:
        return
    found = [*_user(user), *_forbidden(service), *_missing(service)]
    if found:
        raise PlanError(
            f"x-gocker.profile is {profile.name}: {'; '.join(found)}",
            hint="change these keys, or choose x-gocker.profile: default",
        )


def _user(user: str) -> Iterator[str]:
    """Only a number is known before the start, as Kubernetes has it for runAsNonRoot."""
    uid = user.partition(":")[0]
    if not (uid.isascii() and uid.isdecimal()) or int(uid) == 0:
        yield "user must be a number other than 0"


def _forbidden(service: Service) -> Iterator[str]:
    added = {posture.capability(name) for name in service.cap_add if name.upper() != "ALL"}
    everything = any(name.upper() in ("ALL", "CAP_ALL") for name in service.cap_add)
    if everything or added - {"CAP_NET_BIND_SERVICE"}:
        yield "cap_add may name NET_BIND_SERVICE only"
    for key in ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup"):
        if getattr(service, key, None) == "host":
            yield f"{key} must not be host"
    if getattr(service, "privileged", False):
        yield "privileged is forbidden"
    for option in service.security_opt:
        if option.replace("=", ":").startswith(_FORBIDDEN_OPTIONS):
            yield f"security_opt must not have {option}"
    if service.devices:
        yield "devices are forbidden"
    for mount in service.volumes:
        if mount.type == "bind":
            yield f"the bind mount of {mount.source!r} is forbidden (a volume is not)"


_FORBIDDEN_OPTIONS = (
    "no-new-privileges:false", "seccomp:unconfined", "systempaths:unconfined", "unmask:",
)  # fmt: skip


def _missing(service: Service) -> Iterator[str]:
    deploy = getattr(service, "deploy", None)
    resources = deploy.resources if deploy is not None else None
    limits = resources.limits if resources is not None else None
    if not (service.mem_limit or (limits is not None and limits.memory)):
        yield "mem_limit is missing"
    quota = service.cpu_quota is not None and service.cpu_quota > 0
    if not (service.cpus or quota or (limits is not None and limits.cpus)):
        yield "cpus is missing"
    if service.pids_limit == -1:
        yield "pids_limit must be a limit"
