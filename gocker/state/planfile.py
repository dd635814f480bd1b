"""``plan.json`` in a run's directory: how its containers were made, for those who enter them.

In `gocker.plan.codec`'s form. What must not lie on a disk is left out: the content of secrets
and configs, and variables whose value is masked; `withheld` names those.
"""

from __future__ import annotations

import os
import stat
import time

from gocker import jsontext
from gocker.errors import HostError
from gocker.plan import codec
from gocker.state.directory import write_atomic
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker import oci
    from gocker.plan.model import Container, Plan
    from gocker.state.run import Run

NAME = "plan.json"
SCHEMA_VERSION = 1
_PATIENCE_S = 5.0
_POLL_S = 0.01
_MOST = 64 << 20  # bytes; a plan of 30,000 containers


def write(run: Run, plan: Plan) -> None:
    """Keep a run's plan beside its log.

    Raises:
        HostError: if it cannot be written.
    """
    withheld: dict[str, list[str]] = {}
    containers = {}
    for name, container in plan.containers.items():
        # Hooks are the supervisor's; they repeat the environment.
        containers[name] = _without_grants(replace(container, post_start=(), pre_stop=()))
        if plan.mask:
            containers[name], names = _without_values(containers[name], plan.mask)
            if names:
                withheld[name] = names
    public = replace(plan, containers=containers, mask=())
    document = {
        "schema": SCHEMA_VERSION, "withheld": withheld, "masked": bool(plan.mask),
        **codec.encode(public),
    }  # fmt: skip
    with run.opened() as fd:
        write_atomic(fd, NAME, jsontext.dumps(document).encode())


def read(run: Run) -> PlanFile:
    """Return a run's plan; waits for that of a run which has begun a moment ago.

    Raises:
        HostError: if there is none, or it is damaged or a newer gocker's.
    """
    try:
        fd = _open(run)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
                raise ValueError("not a plan")
            document = jsontext.loads(file.read())
        if document["schema"] != SCHEMA_VERSION:
            raise HostError(
                f"run {run.id}: plan.json has schema {document['schema']}, this gocker knows "
                f"{SCHEMA_VERSION}",
                hint="use the gocker that started the run",
            )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HostError(
            f"run {run.id} has no readable plan.json",
        ) from error
    return PlanFile(document)


def _open(run: Run) -> int:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with run.opened() as dir_fd:
                return os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        except FileNotFoundError:
            if time.monotonic() > deadline or not run.alive():
                raise
            time.sleep(_POLL_S)  # no event tells: it happens once, in a run's first second


class PlanFile:
    """What `write` kept; nothing is decoded before it is asked for."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def container(self, instance: str) -> Container:
        """Return how a unit's containers are made, without what was withheld.

        Raises:
            HostError: if the plan has no such unit, or is damaged.
        """
        try:
            stored = codec.part(self._document, "containers", instance)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise HostError(f"plan.json tells nothing sound of {instance!r}") from error
        found: Container = stored
        return found

    def plan(self) -> Plan:
        """Return the whole plan, without what was withheld.

        Raises:
            HostError: if it is damaged.
        """
        try:
            return codec.decode(self._document)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise HostError("plan.json is damaged") from error

    @property
    def masked(self) -> bool:
        """Whether the run had values that are shown as ``***``: nobody knows them any more."""
        return bool(self._document.get("masked", True))

    def withheld(self, instance: str) -> list[str]:
        """Return the names of the variables that are missing in a unit's environment."""
        names: list[str] = self._document.get("withheld", {}).get(instance, [])
        return names


def _without_grants(container: Container) -> Container:
    if not container.grants:
        return container
    grants: tuple[oci.File, ...] = tuple({**grant, "content": ""} for grant in container.grants)
    return replace(container, grants=grants)


def _without_values(container: Container, mask: tuple[str, ...]) -> tuple[Container, list[str]]:
    env, names = [], []
    for item in container.config["process"].get("env", ()):
        name, _, value = item.partition("=")
        if any(secret and secret in value for secret in mask):
            names.append(name)
        else:
            env.append(item)
    if not names:
        return container, names
    process: oci.Process = {**container.config["process"], "env": env}
    config: oci.Config = {**container.config, "process": process}
    return replace(container, config=config), names
