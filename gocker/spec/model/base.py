"""What all models share: configuration, units, and parts that load on first use."""

# Annotations are not postponed in this package: pydantic would have to evaluate each string.

import re
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    model_validator,
)
from pydantic_core import core_schema

from gocker.spec.model import units


class Model(BaseModel):
    """Base of all models: immutable, and unknown keys are errors.

    `defer_build`: only the classes a spec uses get a validator.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
    )


def short(form: Callable[[Any], Any]) -> Any:
    """Return a validator that widens short forms with `form`, a function of `forms`."""

    def widen(cls: type[Model], value: Any) -> Any:  # noqa: ARG001  # a class method to pydantic
        return form(value)

    widen.__name__ = form.__name__
    # As a decorator it may stand above classmethod; its type says so only there.
    return model_validator(mode="before")(classmethod(widen))  # type: ignore[arg-type]  # above


def check(form: Callable[[Any], None]) -> Any:
    """Return a validator of a whole part that asks `form`, a function of `forms`."""

    def ask(self: Model) -> Model:
        form(self)
        return self

    ask.__name__ = form.__name__
    return model_validator(mode="after")(ask)


# Bytes. Canonical: digits; as people write them: "512m", "1.5g", "64KiB"; -1 is unlimited.
Bytes = Annotated[int, BeforeValidator(units.to_bytes)]
# Seconds. As people and Go write them: "1m30s", "500ms", "1h5m30.02s".
Seconds = Annotated[float, BeforeValidator(units.to_seconds)]
# A file mode. Canonical: octal digits in a string, "0440"; a number is taken as it is.
Mode = Annotated[int, BeforeValidator(units.to_mode)]


class Matching:
    """Annotation of text that matches a pattern as a whole; `expected` is for people."""

    def __init__(self, pattern: str, expected: str) -> None:
        self.pattern = pattern
        self.expected = expected

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        # Compiled once per process by re's own cache.
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(f"{units.shown(value)} is not {self.expected}")
        return value


class Lazy:
    """Annotation of a part whose module is imported when a spec first uses it.

    `shape` is one, tuple or dict: what the field has of the class. For the type checker the
    field has the class itself; see `gocker.spec.model.service`.
    """

    def __init__(self, module: str, name: str, shape: Literal["one", "tuple", "dict"]) -> None:
        self.module = module
        self.name = name
        self.shape = shape
        self._adapter: Any = None

    def annotation(self) -> Any:
        """Return the type that the field would have without being lazy."""
        model: Any = getattr(import_module(f"gocker.spec.model.{self.module}"), self.name)
        return {"one": model, "tuple": tuple[model, ...], "dict": dict[str, model]}[self.shape]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> Any:
        if value is None:
            return None
        if self._adapter is None:
            self._adapter = TypeAdapter(self.annotation())
        return self._adapter.validate_python(value)


def lazy(module: str, name: str, shape: Literal["one", "tuple", "dict"] = "one") -> Any:
    """Return the annotation of a field that holds `name` of `module`, or several."""
    return Annotated[Any, Lazy(module, name, shape)]
