"""Makes `gocker.spec.model.table` from the models: ``python -m gocker.spec.model.tables``."""

from pathlib import Path
from pprint import pformat
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from gocker.spec.model import units
from gocker.spec.model.base import Lazy, Matching, Model
from gocker.spec.model.places import Ignored
from gocker.spec.model.project import Project

HEAD = '''\
"""The models as data, for `gocker.spec.model.records`; made by `gocker.spec.model.tables`.

Class -> short form, check, the class whose keys it has too, and its own: key -> field, how to
read it, default, whether it is required.
"""
# fmt: off

from typing import Any

TABLE: dict[str, Any] = (
'''

How = tuple[Any, ...]


class Tables:
    """One generation."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = {}
        self.model(Project)

    def model(self, model: type[Model]) -> How:
        """Note a model and those below it; return how to read it."""
        name = model.__name__
        if name not in self.table:
            self.table[name] = None  # against endless recursion
            bases = (each for each in model.__bases__ if issubclass(each, Model))
            base = next((each for each in bases if each is not Model), None)
            if base is not None:
                self.model(base)
            validators = model.__pydantic_decorators__.model_validators.values()
            functions = {each.info.mode: each.func.__name__ for each in validators}
            fields = {
                field.alias or key: (
                    key,
                    self.how(field.annotation, field.metadata),
                    None if field.is_required() else field.default,
                    field.is_required(),
                )
                for key, field in model.model_fields.items()
                if base is None or key not in base.model_fields
            }
            self.table[name] = (
                functions.get("before"), functions.get("after"), base and base.__name__, fields
            )  # fmt: skip
        return ("model", name)

    def how(self, kind: Any, metadata: Any) -> How:
        """Return how to read a value of a type with pydantic's metadata."""
        for each in metadata:
            if isinstance(each, Lazy):
                return self.lazy(each)
            if isinstance(each, Matching):
                return ("match", each.pattern)
            if isinstance(each, BeforeValidator):
                function = each.func
                name = function.__name__
                module = "units" if getattr(units, name, None) is function else "forms"
                rest = [other for other in metadata if other is not each]
                return (module, name, self.how(kind, rest))
        return self.plain(kind, _bounds(metadata))

    def lazy(self, part: Lazy) -> How:
        """Return how to read a part that the models import late; null is not set."""
        how = self.how(part.annotation(), ())
        return how if part.shape != "one" else ("optional", how)

    def plain(self, kind: Any, bounds: dict[str, Any]) -> How:
        """Return how to read a value of a type."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            metadata = [*arguments[1:], *([FieldInfo(**bounds)] if bounds else [])]
            return self.how(arguments[0], metadata)
        if origin in {Union, UnionType}:
            (some,) = (each for each in arguments if each is not NoneType)
            return ("optional", self.plain(some, bounds))
        if origin is Literal:
            return ("words", *arguments)
        if origin is tuple:
            if arguments[0] is Ignored:
                return ("ignored",)
            return ("list", self.how(arguments[0], ()), bounds.get("min_length", 0))
        if origin is dict:
            return ("map", self.how(arguments[0], ()), self.how(arguments[1], ()))
        if isinstance(kind, type) and issubclass(kind, Model):
            return self.model(kind)
        if kind in {int, float}:
            limits = (bounds.get("ge"), bounds.get("le"), bounds.get("gt"))
            return ("number", kind.__name__, *limits)
        return (kind.__name__,)


_NAMES = ("ge", "le", "gt", "min_length")


def _bounds(metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in metadata:
        if isinstance(each, FieldInfo):
            found |= _bounds(each.metadata)
        else:
            values = {name: getattr(each, name, None) for name in _NAMES}
            found |= {name: value for name, value in values.items() if value is not None}
    return found


def text() -> str:
    """Return the module's source."""
    return f"{HEAD}{pformat(Tables().table, width=98, sort_dicts=False)}\n)\n"


if __name__ == "__main__":
    Path(__file__).with_name("table.py").write_text(text(), encoding="utf-8")
