"""``x-gocker.matrix``: one instance of a service per combination of variables."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from gocker.spec.model import forms
from gocker.spec.model.base import Matching, Model, check, short

Text = Annotated[str, BeforeValidator(forms.to_text)]
Variable = Annotated[str, Matching("[_a-zA-Z][_a-zA-Z0-9]*", "a name of a Compose variable")]
Values = Annotated[tuple[Text, ...], Field(min_length=1)]


class Matrix(Model):
    """``matrix``: in the file, variables stand beside include, exclude and the rest."""

    variables: dict[Variable, Values] = Field({}, description="values by Compose variable")
    include: tuple[dict[Variable, Text], ...] = Field((), description="additions, as GitHub's")
    exclude: tuple[dict[Variable, Text], ...] = Field((), description="combinations to leave out")
    max_parallel: int | None = Field(None, ge=1, description="instances at once")
    fail_fast: bool = Field(False, description="cancel the others at the first failure")

    _short = short(forms.matrix)
    _check = check(forms.combinations)
