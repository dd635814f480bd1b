"""The part of `ctypes` that the runtime needs, on ctypes' own C half.

Importing `ctypes` takes 4 ms, as long as starting the container itself: it makes types that
nobody here asks for. A process that lives for one container takes this instead, see
`gocker.runtime.oci.slim`; names and behaviour are those of `ctypes`, and type checkers see that.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CFUNCTYPE,
        PYFUNCTYPE,
        Array,
        PyDLL,
        Structure,
        addressof,
        c_char,
        c_char_p,
        c_int,
        c_int32,
        c_long,
        c_uint,
        c_uint32,
        c_uint64,
        c_ulong,
        c_void_p,
        create_string_buffer,
        get_errno,
        set_errno,
        sizeof,
    )
    from typing import Any
else:
    import _ctypes
    from _ctypes import Array, Structure, addressof, get_errno, set_errno, sizeof

    # Modules/_ctypes/ctypes.h
    _FUNCFLAG_CDECL, _FUNCFLAG_PYTHONAPI, _FUNCFLAG_USE_ERRNO = 0x1, 0x4, 0x8

    def _simple(name: str, code: str) -> Any:
        return type(_ctypes._SimpleCData)(name, (_ctypes._SimpleCData,), {"_type_": code})

    c_char, c_char_p, c_void_p = (
        _simple("c_char", "c"),
        _simple("c_char_p", "z"),
        _simple("c_void_p", "P"),
    )
    c_int, c_uint = _simple("c_int", "i"), _simple("c_uint", "I")
    # 64 bits on every machine that the runtime knows.
    c_long, c_ulong = _simple("c_long", "l"), _simple("c_ulong", "L")
    c_int32, c_uint32, c_uint64 = c_int, c_uint, c_ulong

    def _function_type(flags: int, result: Any, *arguments: Any) -> Any:
        body = {"_argtypes_": arguments, "_restype_": result, "_flags_": flags}
        return type(_ctypes.CFuncPtr)("FunctionType", (_ctypes.CFuncPtr,), body)

    def CFUNCTYPE(result: Any, *arguments: Any) -> Any:  # noqa: N802  # ctypes' name
        """Return the type of functions that take the interpreter lock when they are called."""
        return _function_type(_FUNCFLAG_CDECL, result, *arguments)

    def PYFUNCTYPE(result: Any, *arguments: Any) -> Any:  # noqa: N802  # ctypes' name
        """Return the type of functions that are called with the interpreter lock held."""
        return _function_type(_FUNCFLAG_CDECL | _FUNCFLAG_PYTHONAPI, result, *arguments)

    class PyDLL:
        """A library whose functions are called with the interpreter lock held."""

        def __init__(self, name: str | None, *, use_errno: bool) -> None:
            self._handle = _ctypes.dlopen(name, 0)
            flags = _FUNCFLAG_CDECL | _FUNCFLAG_PYTHONAPI
            flags |= _FUNCFLAG_USE_ERRNO if use_errno else 0
            body = {"_flags_": flags, "_restype_": c_int}
            self._type = type(_ctypes.CFuncPtr)("FunctionType", (_ctypes.CFuncPtr,), body)

        def __getitem__(self, name: str) -> Any:
            return self._type((name, self))

    def create_string_buffer(init: int | bytes) -> Any:
        """Return an array of `init` zero bytes, or of `init` and a zero byte behind it."""
        if isinstance(init, int):
            return (c_char * init)()
        buffer = (c_char * (len(init) + 1))()
        buffer.value = init
        return buffer


__all__ = (
    "CFUNCTYPE", "PYFUNCTYPE", "Array", "PyDLL", "Structure", "addressof", "c_char", "c_char_p",
    "c_int", "c_int32", "c_long", "c_uint", "c_uint32", "c_uint64", "c_ulong", "c_void_p",
    "create_string_buffer", "get_errno", "set_errno", "sizeof",
)  # fmt: skip
