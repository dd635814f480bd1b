"""Top-level secrets and configs: compose-spec 08-configs.md, 09-secrets.md."""

from typing import Any

from pydantic import Field, model_validator

from gocker.spec.model.base import Model


def _one_source(value: Any, sources: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        given = [source for source in sources if value.get(source) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"needs exactly one of {', '.join(sources)}; it has {found}")
    return value


class Secret(Model):
    """A top-level secret. Its value is never printed."""

    name: str | None = Field(None, description="PROJECT_KEY")
    file: str | None = Field(None, description="absolute path of the file with the value")
    environment: str | None = Field(None, description="variable with the value")
    labels: dict[str, str] = Field({}, description="metadata")

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, value: Any) -> Any:
        return _one_source(value, ("file", "environment"))


class Config(Model):
    """A top-level config."""

    name: str | None = Field(None, description="PROJECT_KEY")
    file: str | None = Field(None, description="absolute path of the file with the value")
    environment: str | None = Field(None, description="variable with the value")
    content: str | None = Field(None, description="the value itself")
    labels: dict[str, str] = Field({}, description="metadata")

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, value: Any) -> Any:
        return _one_source(value, ("file", "environment", "content"))
