"""`dataclass`, `field` and `replace` of the standard library, at a tenth of their import time.

``import dataclasses`` costs 6 ms (it imports inspect, ast, dis) and each frozen class with slots
0.35 ms, most of it for methods that nobody calls; a start has forty of them. Here a class costs
20 us until its first object is made, when its ``__init__`` is compiled. Type checkers see the
originals. What is supported: frozen or not, always slots, defaults and default factories;
anything else in `dataclasses` (``fields``, ``asdict`` …) works on these classes, too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, field, replace
    from typing import Any
else:

    class _Factory:
        __slots__ = ("call",)

        def __init__(self, call: Callable[[], Any]) -> None:
            self.call = call

    def field(*, default_factory: Callable[[], Any]) -> Any:
        """Return the mark of an attribute whose default is made anew for each object."""
        return _Factory(default_factory)

    def dataclass(*, slots: bool, frozen: bool = False) -> Callable[[type], type]:
        """Make a class of values from the annotations in its body; `slots` has to be true."""
        assert slots  # noqa: S101  # there is no other kind here
        return lambda cls: _make(cls, frozen)

    def replace(value: Any, /, **changes: Any) -> Any:
        """Return a copy of a value with some attributes changed."""
        kept = {name: getattr(value, name) for name in value.__match_args__}
        return type(value)(**kept | changes)

    def _make(cls: type, frozen: bool) -> type:
        """Return `cls` again with slots: they cannot be added to a class that exists."""
        names = tuple(cls.__annotations__)
        body = {
            name: item
            for name, item in vars(cls).items()
            if name not in names and name not in ("__dict__", "__weakref__")
        }
        defaults = {name: vars(cls)[name] for name in names if name in vars(cls)}

        def first(self: Any, *args: Any, **kwargs: Any) -> None:
            made.__init__ = _initializer(made, names, defaults)
            made.__init__(self, *args, **kwargs)

        body |= {
            "__slots__": names, "__match_args__": names, "__init__": first, "__eq__": _eq,
            "__repr__": _repr, "__reduce__": _reduce, "__hash__": _hash if frozen else None,
            "__dataclass_fields__": _Fields(defaults, frozen),
        }  # fmt: skip
        if frozen:
            body |= {"__setattr__": _refuse, "__delattr__": _refuse}
        made = type(cls)(cls.__name__, cls.__bases__, body | {"__qualname__": cls.__qualname__})
        return made

    def _initializer(
        cls: type, names: tuple[str, ...], defaults: dict[str, Any]
    ) -> Callable[..., None]:
        """Return ``__init__``: one store per slot, also into a frozen object."""
        space: dict[str, Any] = {}
        parameters, lines = [], []
        for name in names:
            space[f"_set_{name}"] = vars(cls)[name].__set__
            value = name
            if name in defaults:
                default = defaults[name]
                if isinstance(default, _Factory):
                    space[f"_new_{name}"], default = default.call, _Factory
                    value = f"_new_{name}() if {name} is _default_{name} else {name}"
                space[f"_default_{name}"] = default
                parameters.append(f"{name}=_default_{name}")
            else:
                parameters.append(name)
            lines.append(f"    _set_{name}(self, {value})")
        text = "\n".join([f"def __init__(self, {', '.join(parameters)}):", *lines])
        exec(text, space)  # noqa: S102  # of names in our own source, as dataclasses does
        made: Callable[..., None] = space["__init__"]
        return made

    def _values(self: Any) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__match_args__])

    def _eq(self: Any, other: object) -> bool:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def _hash(self: Any) -> int:
        return hash(_values(self))

    def _repr(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__qualname__}({shown})"

    def _reduce(self: Any) -> tuple[type, tuple[Any, ...]]:
        return type(self), _values(self)

    def _refuse(self: Any, name: str, *_: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"{type(self).__name__}.{name} cannot be changed")

    class _Fields:
        """``__dataclass_fields__``, made by the original when somebody asks for it."""

        def __init__(self, defaults: dict[str, Any], frozen: bool) -> None:
            self._defaults = defaults
            self._frozen = frozen

        def __get__(self, _: object, cls: type) -> dict[str, Any]:
            import dataclasses

            body: dict[str, Any] = {"__annotations__": cls.__annotations__}
            for name, default in self._defaults.items():
                is_factory = isinstance(default, _Factory)
                body[name] = (
                    dataclasses.field(default_factory=default.call) if is_factory else default
                )
            twin = dataclasses.dataclass(frozen=self._frozen)(type(cls.__name__, (), body))
            fields: dict[str, Any] = twin.__dataclass_fields__
            return fields


__all__ = ["dataclass", "field", "replace"]
