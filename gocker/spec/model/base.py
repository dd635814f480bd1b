"""What all models share: configuration, units, and parts that load on first use."""

# Annotations are not postponed in this package: pydantic would have to evaluate each string.

import re
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

# Pydantic looks for plugins in every installed distribution when it builds its first model:
# 12 ms of a cold start, and code we did not ask for inside our process. With this module in
# place it finds none. Should pydantic rename its loader, this line has no effect.
_no_plugins = ModuleType("pydantic.plugin._loader")
_no_plugins.get_plugins = tuple  # type: ignore[attr-defined]  # a module made by hand
sys.modules.setdefault("pydantic.plugin._loader", _no_plugins)

from pydantic import (  # noqa: E402  # after the line above, or it comes too late
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
)
from pydantic_core import core_schema  # noqa: E402  # same

from gocker.spec.model import units  # noqa: E402  # same


class Model(BaseModel):
    """Base of all models: immutable, and unknown keys are errors.

    `defer_build`: only the classes a spec uses get a validator.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
    )


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

    Written ``Annotated[Any, Lazy("deploy", "Deploy")]`` behind TYPE_CHECKING's back: for the
    type checker the field has the class itself.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def load(self) -> type[Model]:
        """Return the class."""
        model: type[Model] = getattr(import_module(f"gocker.spec.model.{self.module}"), self.name)
        return model


def lazy(module: str, name: str) -> Any:
    """Return the annotation of a field that holds `name` of `module`, or None."""
    return _lazy(Lazy(module, name), _one)


def lazy_list(module: str, name: str) -> Any:
    """Return the annotation of a field that holds a tuple of `name` of `module`."""
    return _lazy(Lazy(module, name), _list)


def lazy_map(module: str, name: str) -> Any:
    """Return the annotation of a field that holds a dict of `name` of `module`."""
    return _lazy(Lazy(module, name), _map)


def _lazy(part: Lazy, wrap: Callable[[Any], Any]) -> Any:
    adapter: Any = None

    def validate(value: Any) -> Any:
        nonlocal adapter
        if value is None:
            return None
        if adapter is None:
            from pydantic import TypeAdapter

            adapter = TypeAdapter(wrap(part.load()))
        return adapter.validate_python(value)

    return Annotated[Any, PlainValidator(validate), part, wrap]


def _one(model: type[Model]) -> Any:
    return model


def _list(model: type[Model]) -> Any:
    return tuple[model, ...]  # type: ignore[valid-type]  # a type made at run time


def _map(model: type[Model]) -> Any:
    return dict[str, model]  # type: ignore[valid-type]  # same
