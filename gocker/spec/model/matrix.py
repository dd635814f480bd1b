"""``x-gocker.matrix``: one instance of a service per combination of variables."""

from itertools import product
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from gocker.spec.model.base import Matching, Model
from gocker.spec.model.units import shown

_RESERVED = ("include", "exclude", "max_parallel", "fail_fast")


def to_text(value: Any) -> str:
    """Return a value as a variable holds it: GitHub's text for true, false and integers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # pydantic makes a problem of a ValueError only.
        raise ValueError(f"{value!r} must be in quotes: without them 3.10 means 3.1")  # noqa: TRY004
    raise ValueError(f"{shown(value)} is not a value; write text, a whole number or a boolean")


Text = Annotated[str, BeforeValidator(to_text)]
Variable = Annotated[str, Matching("[_a-zA-Z][_a-zA-Z0-9]*", "a name of a Compose variable")]
Values = Annotated[tuple[Text, ...], Field(min_length=1)]


class Matrix(Model):
    """``matrix``: in the file, variables stand beside include, exclude and the rest."""

    variables: dict[Variable, Values] = Field({}, description="values by Compose variable")
    include: tuple[dict[Variable, Text], ...] = Field((), description="additions, as GitHub's")
    exclude: tuple[dict[Variable, Text], ...] = Field((), description="combinations to leave out")
    max_parallel: int | None = Field(None, ge=1, description="instances at once")
    fail_fast: bool = Field(False, description="cancel the others at the first failure")

    @model_validator(mode="before")
    @classmethod
    def _gather_variables(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        fields = {key: value[key] for key in _RESERVED if key in value}
        variables = {key: item for key, item in value.items() if key not in _RESERVED}
        return {**fields, "variables": variables}

    @model_validator(mode="after")
    def _has_combinations(self) -> "Matrix":
        for entry in self.exclude:
            unknown = sorted(entry.keys() - self.variables.keys())
            if unknown:
                raise ValueError(
                    f"exclude names {unknown[0]!r}, which is no variable of the matrix"
                )
        if not expand(self):
            raise ValueError("the matrix has no combination")
        return self


def expand(matrix: Matrix) -> list[dict[str, str]]:
    """Return the combinations, in the order of the file.

    GitHub's rules: `exclude` removes every combination that has all its values; then each
    entry of `include` extends all combinations of whose own variables it changes none, and
    becomes a combination of its own if there is no such one.
    """
    names = list(matrix.variables)
    own = [
        combination
        for values in product(*matrix.variables.values())
        if (combination := dict(zip(names, values, strict=True)))
        and not any(entry.items() <= combination.items() for entry in matrix.exclude)
    ]
    extended = [dict(combination) for combination in own]
    added: list[dict[str, str]] = []
    for entry in matrix.include:
        hits = [
            index
            for index, combination in enumerate(own)
            if all(combination.get(key, value) == value for key, value in entry.items())
        ]
        for index in hits:
            extended[index] |= entry
        if not hits:
            added.append(dict(entry))
    return extended + added
