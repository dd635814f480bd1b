"""Top-level secrets and configs: compose-spec 08-configs.md, 09-secrets.md."""

from pydantic import Field

from gocker.spec.model import forms
from gocker.spec.model.base import Model, short


class Secret(Model):
    """A top-level secret. Its value is never printed."""

    name: str | None = Field(None, description="PROJECT_KEY")
    file: str | None = Field(None, description="absolute path of the file with the value")
    environment: str | None = Field(None, description="variable with the value")
    labels: dict[str, str] = Field({}, description="metadata")

    _short = short(forms.secret)


class Config(Model):
    """A top-level config."""

    name: str | None = Field(None, description="PROJECT_KEY")
    file: str | None = Field(None, description="absolute path of the file with the value")
    environment: str | None = Field(None, description="variable with the value")
    content: str | None = Field(None, description="the value itself")
    labels: dict[str, str] = Field({}, description="metadata")

    _short = short(forms.config)
