"""A project without pydantic, for specs in which nothing is wrong.

Importing pydantic takes longer than all the rest of a cold start (66 of 82 ms for five
services). So a canonical model is first read by `gocker.spec.model.table`, which is made from
the models. What is accepted here has the same values as with the models; at the first doubt
this raises `Unsure`, and the models have the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, Self

from gocker.spec.model import forms, units
from gocker.spec.model.table import TABLE


class Unsure(Exception):  # noqa: N818  # not an error: the models decide
    """The value is wrong, or needs a conversion that only the models do."""


class Record:
    """A part of a project: immutable, with the fields of the model of the same name."""

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # fields may be dicts

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"{type(self).__name__}({fields})"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in type(self).__slots__}

    def model_copy(self, *, update: dict[str, Any]) -> Self:
        """Return a copy with other values, which are not checked; as pydantic's.

        What is no field here is left out, so that services and jobs take the same update.
        """
        kind = type(self)
        copy = object.__new__(kind)
        for name in kind.__slots__:
            value = update[name] if name in update else getattr(self, name)
            object.__setattr__(copy, name, value)
        return copy


# Properties of the models.
_PROPERTIES: dict[str, dict[str, Any]] = {
    "Service": {"replicas": property(forms.replicas)},
    "Healthcheck": {"enabled": property(forms.enabled)},
}

# Class -> record, short form, check, fields by key.
_parts: dict[str, tuple[type[Record], str | None, str | None, dict[str, Any]]] = {}


def read(name: str, value: Any) -> Any:
    """Return the record that the model `name` would make of `value`.

    Raises:
        Unsure: ask the model.
    """
    try:
        return _record(name, value)
    except (ValueError, OverflowError) as err:  # from conversions
        raise Unsure(str(err)) from err


def _record(name: str, value: Any) -> Record:
    kind, short, check, fields = _parts.get(name) or _part(name)
    if short is not None:
        value = getattr(forms, short)(value)
    if type(value) is not dict or not fields.keys() >= value.keys():
        raise Unsure(name)
    record = object.__new__(kind)
    put = object.__setattr__
    for key, (field, how, default, required) in fields.items():
        if key in value:
            put(record, field, _READERS[how[0]](value[key], *how[1:]))
        elif required:
            raise Unsure(f"{name}.{key}")
        else:
            put(record, field, default.copy() if type(default) is dict else default)
    if check is not None:
        getattr(forms, check)(record)
    return record


def _part(name: str) -> tuple[type[Record], str | None, str | None, dict[str, Any]]:
    short, check, *_ = TABLE[name]
    fields = fields_of(name)
    slots = tuple(field for field, *_ in fields.values())
    namespace = {"__slots__": slots, "__module__": __name__, **_PROPERTIES.get(name, {})}
    part = _parts[name] = (type(name, (Record,), namespace), short, check, fields)
    return part


def fields_of(name: str) -> dict[str, Any]:
    """Return the fields of a class by key, as `gocker.spec.model.table` has them."""
    *_, base, own = TABLE[name]
    return {**fields_of(base), **own} if base else own


def _str(value: Any) -> Any:
    if type(value) is not str:
        raise Unsure
    if not value.isascii():
        value.encode()  # the models take no lone surrogates
    return value


def _bool(value: Any) -> Any:
    if type(value) is not bool:
        raise Unsure
    return value


def _number(
    value: Any, kind: str, low: float | None, high: float | None, above: float | None
) -> Any:
    """Read an int or a float; bounds are inclusive, `above` is not."""
    if type(value) is not int and not (kind == "float" and type(value) is float):
        raise Unsure
    number = float(value) if kind == "float" else value
    if kind == "float" and not isfinite(number):
        raise Unsure
    if (low is not None and number < low) or (high is not None and number > high):
        raise Unsure
    if above is not None and number <= above:
        raise Unsure
    return number


def _words(value: Any, *words: str) -> Any:
    if type(value) is not str or value not in words:
        raise Unsure
    return value


def _match(value: Any, pattern: str) -> Any:
    if type(value) is not str or re.fullmatch(pattern, value) is None:
        raise Unsure
    return value


def _list(value: Any, item: tuple[Any, ...], shortest: int) -> Any:
    if type(value) not in (list, tuple) or len(value) < shortest:
        raise Unsure
    reader, rest = _READERS[item[0]], item[1:]
    return tuple([reader(each, *rest) for each in value])


def _map(value: Any, key: tuple[Any, ...], item: tuple[Any, ...]) -> Any:
    if type(value) is not dict:
        raise Unsure
    names, reader = _READERS[key[0]], _READERS[item[0]]
    return {names(k, *key[1:]): reader(each, *item[1:]) for k, each in value.items()}


def _optional(value: Any, how: tuple[Any, ...]) -> Any:
    return None if value is None else _READERS[how[0]](value, *how[1:])


def _units(value: Any, function: str, how: tuple[Any, ...]) -> Any:
    return _READERS[how[0]](getattr(units, function)(value), *how[1:])


def _forms(value: Any, function: str, how: tuple[Any, ...]) -> Any:
    return _READERS[how[0]](getattr(forms, function)(value), *how[1:])


def _model(value: Any, name: str) -> Any:
    return _record(name, value)


def _ignored(value: Any) -> Any:
    return value


_READERS: dict[str, Callable[..., Any]] = {
    "str": _str,
    "bool": _bool,
    "number": _number,
    "words": _words,
    "match": _match,
    "list": _list,
    "map": _map,
    "optional": _optional,
    "units": _units,
    "forms": _forms,
    "model": _model,
    "ignored": _ignored,
}
