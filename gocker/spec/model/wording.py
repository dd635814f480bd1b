"""Pydantic's errors in our words: what is wrong, and what may have been meant."""

from typing import Any

from pydantic_core import ErrorDetails

from gocker.spec.model.units import shown

# Error type of pydantic -> what was expected.
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def problem(error: ErrorDetails) -> tuple[str, str, str | None]:
    """Return path, message and hint of one of pydantic's errors."""
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    hint = None
    if kind == "missing":
        message = "is required"
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}, found {shown(value)}"
    elif kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        message = f"must be {word} {context[key]:g}, is {shown(value)}"
    elif kind == "literal_error":
        message, hint = _choice(value, context["expected"])
    elif kind == "extra_forbidden":
        message = "unknown key"
    elif kind == "too_short":
        message = "must not be empty"
    elif kind == "value_error":
        message = str(context["error"])
    else:
        message = f"{error['msg'][0].lower()}{error['msg'][1:]}, found {shown(value)}"
    return path_of(error["loc"]), message, hint


def path_of(parts: tuple[str | int, ...]) -> str:
    """Return ``services.web.ports[0]`` for the parts of a location."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":  # pydantic's mark for an error in a key, which comes before it
            path += f".{part}" if path else part
    # In the file, the variables of a matrix have no key of their own.
    return path.replace(".x-gocker.matrix.variables", ".x-gocker.matrix")


def _choice(value: Any, expected: str) -> tuple[str, str | None]:
    """Return message and hint for a value that is none of `expected` ("'a', 'b' or 'c'")."""
    words = [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]
    return f"{shown(value)} is not one of {', '.join(words)}", did_you_mean(str(value), words)


def did_you_mean(word: str, words: Any) -> str | None:
    """Return a suggestion, or None when nothing is close."""
    from difflib import get_close_matches  # imported when something is wrong only

    # Cut, because the time is quadratic in the length of the word.
    close = get_close_matches(word[:64], list(words), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None
