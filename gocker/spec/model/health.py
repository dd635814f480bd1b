"""The ``healthcheck`` section: compose-spec 05-services.md "healthcheck"."""

from typing import Annotated

from pydantic import Field

from gocker.spec.model import forms
from gocker.spec.model.base import Model, Seconds, check

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
        return forms.enabled(self)

    _check = check(forms.healthcheck)
