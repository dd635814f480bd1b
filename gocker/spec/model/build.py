"""The ``build`` section: compose-spec build.md, as far as `gocker.image.build` has it."""

from pydantic import Field

from gocker.spec.model.base import Model


class Build(Model):
    """``build``: how a service's image is made from a Dockerfile."""

    context: str = Field(".", description="directory that COPY takes files from")
    dockerfile: str | None = Field(None, description="path in the context; default Dockerfile")
    dockerfile_inline: str | None = Field(None, description="the Dockerfile itself")
    args: dict[str, str | None] = Field({}, description="values of ARG; null is the environment's")
    target: str | None = Field(None, description="the stage to build; default the last")
    labels: dict[str, str] = Field({}, description="labels of the image")
    tags: tuple[str, ...] = Field((), description="further names of the image")
    network: str | None = Field(None, description="of RUN: default, host or none")
    no_cache: bool = Field(False, description="make every layer anew")
    pull: bool = Field(False, description="pull bases even if they are here")
    additional_contexts: dict[str, str] = Field(
        {}, description="directories for COPY --from, by name"
    )
