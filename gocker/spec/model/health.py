"""The ``healthcheck`` section: compose-spec 05-services.md "healthcheck"."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from gocker.spec.model.base import Model, Seconds

Delay = Annotated[Seconds | None, Field(ge=0)]


class Healthcheck(Model):
    """``healthcheck``; None is the default of Compose, which `gocker.plan` fills in."""

    test: tuple[str, ...] | None = Field(
        None, description="NONE, or CMD and an argv, or CMD-SHELL and one shell command"
    )
    interval: Delay = Field(None, description="seconds between probes; default 30")
    timeout: Delay = Field(None, description="seconds one probe may take; default 30")
    retries: int | None = Field(None, ge=0, description="failures in a row; default 3")
    start_period: Delay = Field(None, description="seconds in which failures don't count")
    start_interval: Delay = Field(
        None, description="seconds between probes in the start period; default 5"
    )
    disable: bool = Field(False, description="true: no probe, the image's neither")

    @property
    def enabled(self) -> bool:
        """Whether there is something to probe."""
        return not self.disable and self.test not in (None, (), ("NONE",))

    @model_validator(mode="after")
    def _test_has_a_program(self) -> Self:
        kind, *argv = self.test or ("NONE",)
        if kind not in {"NONE", "CMD", "CMD-SHELL"}:
            raise ValueError("test must start with CMD, CMD-SHELL or NONE")
        if kind != "NONE" and not argv:
            raise ValueError(f"test: {kind} names no program")
        if kind == "CMD-SHELL" and len(argv) > 1:
            raise ValueError("test: CMD-SHELL takes one string; use CMD for an argv")
        return self
