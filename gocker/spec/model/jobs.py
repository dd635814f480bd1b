"""The upcoming ``jobs`` element: compose-spec pull request 642, jobs.md.

The text still moves; what gocker knows of it is here and in the rows ``jobs.*`` of
`gocker.spec.support`, which refuse ``triggers.schedule``.
"""

from pydantic import Field

from gocker.spec.model.base import Model
from gocker.spec.model.service import Container


class Triggers(Model):
    """``triggers``: what starts a job."""

    manual: bool = Field(True, description="may be started by name")


class Job(Container):
    """A container that runs to completion; ``up`` starts it only when named."""

    triggers: Triggers | None = Field(None, description="what starts it")
