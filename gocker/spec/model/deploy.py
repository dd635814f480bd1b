"""The ``deploy`` section: compose-spec deploy.md."""

from typing import Literal

from pydantic import Field

from gocker.spec.model.base import Bytes, Model, Seconds


class Limits(Model):
    """``deploy.resources.limits``: hard limits."""

    cpus: float | None = Field(None, ge=0, description="as `cpus`, in CPUs")
    memory: Bytes | None = Field(None, ge=0, description="as `mem_limit`, bytes")
    pids: int | None = Field(None, ge=-1, description="as `pids_limit`")


class Reservations(Model):
    """``deploy.resources.reservations``: counted by the admission of ``x-gocker.admission``."""

    cpus: float | None = Field(None, ge=0, description="CPUs to keep for it")
    memory: Bytes | None = Field(None, ge=0, description="as `mem_reservation`, bytes")


class Resources(Model):
    """``deploy.resources``."""

    limits: Limits | None = Field(None, description="hard limits")
    reservations: Reservations | None = Field(None, description="what it needs to start")


class RestartPolicy(Model):
    """``deploy.restart_policy``; replaces ``restart``."""

    condition: Literal["none", "on-failure", "any"] = Field("any", description="when to restart")
    delay: Seconds = Field(0.0, ge=0, description="seconds between attempts")
    max_attempts: int | None = Field(None, ge=0, description="most attempts; null is no end")
    window: Seconds = Field(
        0.0, ge=0, description="seconds of life after which earlier restarts do not count; 0: never"
    )


class Deploy(Model):
    """``deploy``: the parts that mean something on one host."""

    replicas: int | None = Field(None, ge=0, description="number of copies, as `scale`")
    resources: Resources | None = Field(None, description="limits and reservations")
    restart_policy: RestartPolicy | None = Field(None, description="when to start again")
