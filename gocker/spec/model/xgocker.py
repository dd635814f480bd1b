"""The batch extensions under ``x-gocker``, at a service and at the top level.

Short forms are accepted here, because the loader leaves extension fields as they are written.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gocker.spec.model import forms
from gocker.spec.model.base import Bytes, Matching, Model, Seconds, short
from gocker.spec.model.matrix import Matrix

When = Literal["on_success", "on_failure", "always"]
ExitCode = Annotated[int, Field(ge=0, le=255)]
# What a retry may be asked for: every verdict that is a failure.
CAUSES = ("exit", "oom", "pids", "timeout", "signal", "unhealthy", "start_failed")
_EXIT = r"exit:\d{1,3}(-\d{1,3})?"
Cause = Annotated[
    str, Matching("|".join((*CAUSES, _EXIT)), f"{', '.join(CAUSES)}, exit:N or exit:N-M")
]
FailOn = Annotated[str, Matching(r"oom|pids|throttled(>\d{1,3}%)?", "oom, pids or throttled>N%")]


Paths = Annotated[tuple[str, ...], BeforeValidator(forms.one_or_more)]
Codes = Annotated[tuple[ExitCode, ...], BeforeValidator(forms.one_or_more)]
Causes = Annotated[tuple[Cause, ...], BeforeValidator(forms.one_or_more)]


class Retry(Model):
    """``retry``: further attempts, each in a new container. Short form: the number."""

    max: int = Field(1, ge=0, le=1000, description="attempts after the first")
    when: Causes = Field((), description="verdicts, exit:N, exit:N-M; empty is any failure")
    delay: Seconds = Field(0.0, ge=0, description="seconds before the second attempt")
    backoff: float = Field(1.0, ge=1, description="factor on the delay, per attempt")

    _short = short(forms.retry)


class AllowFailure(Model):
    """``allow_failure``: failures that do not fail the run. Short form: true, any failure."""

    any: bool = Field(False, description="every failure is allowed")
    exit_codes: Codes = Field((), description="exit codes that are allowed")

    _short = short(forms.allow_failure)


class Artifacts(Model):
    """``artifacts``: files to keep. Short form: the list of globs."""

    paths: Paths = Field(min_length=1, description="absolute globs in the container")
    when: When = Field("always", description="for which results to keep them")
    max_size: Bytes | None = Field(
        None, ge=0, description="most bytes of one attempt; default 1 GiB"
    )

    _short = short(forms.artifacts)


class Reports(Model):
    """``reports``: test results to merge into gocker's own. Short form: list of JUnit files."""

    junit: Paths = Field((), description="absolute globs of JUnit XML files")

    _short = short(forms.reports)


class Ready(Model):
    """``ready``: when a support service without a health check counts as healthy."""

    log: str | None = Field(None, description="regular expression for a line")
    port: int | None = Field(None, ge=1, le=65535, description="TCP port that accepts")

    _short = short(forms.ready)


class LimitPolicy(Model):
    """``limits``: what to do about limits. Short form: strict or best-effort."""

    enforce: Literal["strict", "best-effort"] = Field(
        "strict", description="strict: do not start when a limit cannot be set"
    )
    fail_on: tuple[FailOn, ...] = Field(
        (), description="limit events that make the job fail: oom, pids, throttled>50%"
    )

    _short = short(forms.limit_policy)


Profile = Literal["compat", "default", "strict"]
Port = Annotated[int, Field(ge=0, le=65535)]


class Landlock(Model):
    """``landlock``: what landlock(7) lets a container do. Short form: off."""

    off: bool = Field(False, description="no Landlock at all")
    tcp_bind: tuple[Port, ...] | None = Field(None, description="the only TCP ports to listen on")
    tcp_connect: tuple[Port, ...] | None = Field(None, description="the only ones to connect to")

    _short = short(forms.landlock)


class ServiceExtension(Model):
    """``services.*.x-gocker``."""

    role: Literal["job", "support"] | None = Field(None, description="default: inferred")
    timeout: Seconds | None = Field(None, gt=0, description="seconds one attempt may take")
    retry: Retry | None = Field(None, description="further attempts")
    allow_failure: AllowFailure | None = Field(None, description="failures that are warnings")
    success_codes: Codes = Field((), description="exit codes that are a success besides 0")
    when: When = Field("on_success", description="results of depends_on for which it runs")
    matrix: Matrix | None = Field(None, description="one instance per combination")
    artifacts: Artifacts | None = Field(None, description="files to keep")
    reports: Reports | None = Field(None, description="test results")
    ready: Ready | None = Field(None, description="readiness without a health check")
    limits: LimitPolicy | None = Field(None, description="policy for limits")
    rootfs: str | None = Field(None, description="directory to run from instead of an image")
    profile: Profile | None = Field(None, description="security profile")
    landlock: Landlock | None = Field(None, description="limits by the kernel's Landlock")
    userns: Literal["auto", "host"] | None = Field(
        None, description="user namespace; userns_mode wins"
    )
    on_supervisor_death: Literal["kill", "keep"] = Field(
        "kill", description="keep: it lives on when gocker itself is killed"
    )
    mask: Paths = Field((), description="variables whose values are printed as ***")


class TopExtension(Model):
    """``x-gocker`` at the top level; flags of the same names override."""

    timeout: Seconds | None = Field(None, gt=0, description="seconds of the whole run")
    parallel: int | None = Field(None, ge=1, description="running jobs; default: CPUs")
    fail_fast: bool = Field(False, description="cancel the rest at the first failed job")
    keep: Literal["never", "on_failure", "always"] | None = Field(
        None, description="whose root file systems to keep for post-mortem"
    )
    userns: Literal["auto", "host"] | None = Field(
        None, description="user namespaces of services that do not say"
    )
    admission: Literal["reserve"] | None = Field(
        None, description="reserve: a job waits until its reservations fit"
    )
    profile: Profile | None = Field(None, description="security profile of every service")
    mask: Paths = Field((), description="variables whose values are printed as ***")
