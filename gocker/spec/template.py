"""Replaces ``$NAME``, ``${NAME}`` and ``${NAME<op>text}`` as the reference does (template.go).

The text of an operator reaches from the operator to the balanced closing brace on the same
line; it is a template itself. What a variable holds is never looked at again: one pass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Lookup = Callable[[str], str | None]

MAX_DEPTH = 20
MAX_OUTPUT = 8 << 20
_MOST_LOOKED_AT = 10_000
_TOO_FAR = -2
_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _START | frozenset("0123456789")
_OPERATORS = (":-", ":+", ":?", "-", "+", "?")


class TemplateError(ValueError):
    """A template cannot be read, or a variable that it needs has no value."""


class Template:
    """Substitutes with one set of variables; remembers which were used and which were unset."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.used: list[str] = []  # of the last substitute(), in order
        self.unset: list[str] = []  # plain references without a value, ever
        self.steps = 0  # characters that the search for closing braces may still look at

    def substitute(self, text: str) -> str:
        """Return `text` with its variables replaced.

        Raises:
            TemplateError: for ``${`` without a name or an end, a missing required variable,
                templates nested too deeply, and a result that is too long.
        """
        self.used = []
        # Every level of nesting reads its text again: this keeps the whole linear.
        self.steps = 1000 + 8 * len(text)
        return self._expand(text, 0)

    def _value(self, name: str) -> str | None:
        self.used.append(name)
        return self.lookup(name)

    def _expand(self, text: str, depth: int) -> str:
        if "$" not in text:
            return text
        if depth > MAX_DEPTH:
            raise TemplateError(f"variables are nested deeper than {MAX_DEPTH} levels")
        parts: list[str] = []
        size = position = 0
        while True:
            dollar = text.find("$", position)
            if dollar < 0:
                parts.append(text[position:])
                return "".join(parts)
            parts.append(text[position:dollar])
            value, position = self._one(text, dollar, depth)
            parts.append(value)
            size += len(value)
            if size > MAX_OUTPUT:
                raise TemplateError(f"the value is longer than {MAX_OUTPUT} characters")

    def _one(self, text: str, start: int, depth: int) -> tuple[str, int]:
        """Return what stands for the ``$`` at `start`, and where the text goes on."""
        after = text[start + 1 : start + 2]
        if after == "$":
            return "$", start + 2
        if after == "{":
            return self._braced(text, start, depth)
        if after not in _START or not after:
            return "$", start + 1
        end = _name_end(text, start + 1)
        return self._plain(text[start + 1 : end]), end

    def _plain(self, name: str) -> str:
        value = self._value(name)
        if value is None:
            if name not in self.unset:
                self.unset.append(name)
            return ""
        return value

    def _braced(self, text: str, start: int, depth: int) -> tuple[str, int]:
        first = start + 2
        end = _name_end(text, first)
        name = text[first:end]
        if not name or name[0] not in _START:
            raise _invalid(text)
        if text[end : end + 1] == "}":
            return self._plain(name), end + 1
        operator = next((op for op in _OPERATORS if text.startswith(op, end)), None)
        close = _closing_brace(text, start + 1, self.steps)
        if close == _TOO_FAR:
            raise TemplateError(f"variables are nested deeper than {MAX_DEPTH} levels")
        if operator is None or close < 0:
            raise _invalid(text)
        self.steps -= close - start
        inner = text[end + len(operator) : close]
        return self._apply(name, operator, inner, depth), close + 1

    def _apply(self, name: str, operator: str, inner: str, depth: int) -> str:
        value = self._value(name)
        kind = operator[-1]
        present = value is not None and not (operator[0] == ":" and value == "")
        if kind == "+":
            return self._expand(inner, depth + 1) if present else value or ""
        if present and value is not None:
            return value
        reason = self._expand(inner, depth + 1)
        if kind == "-":
            return reason
        message = f"required variable {name} is missing a value"
        raise TemplateError(f"{message}: {reason}" if reason else message)


def _invalid(text: str) -> TemplateError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return TemplateError(f"invalid interpolation format {shown!r}; escape a '$' with another '$'")


def _name_end(text: str, start: int) -> int:
    end = start
    while end < len(text) and text[end] in _NAME:
        end += 1
    return end


def _closing_brace(text: str, start: int, most: int) -> int:
    """Return the index of the brace that closes the one at `start`, -1 if there is none.

    Counts as the reference does: the character after an opening brace is skipped, so a lone
    ``{}`` does not close; without balance the last brace of the line is taken. After `most`
    characters the answer is _TOO_FAR.
    """
    depth, index = 0, start
    last = -1
    end = min(len(text), start + most)
    while index < end:
        char = text[index]
        if char == "}":
            last = index
            depth -= 1
            if depth == 0:
                return index
        elif char == "{":
            depth += 1
            index += 1
            # The skipped character counts as the line's last brace, and as its end.
            char = text[index : index + 1]
            last = index if char == "}" else last
        if char == "\n":
            return last
        index += 1
    return last if end == len(text) else _TOO_FAR


class Variable:
    """A variable as a spec mentions it, for ``config --variables``."""

    __slots__ = ("alternate", "default", "name", "required")

    def __init__(self, name: str, operator: str, inner: str) -> None:
        self.name = name
        self.required = operator.endswith("?")
        self.default = inner if operator.endswith("-") else ""
        self.alternate = inner if operator.endswith("+") else ""


def variables(text: str, depth: int = 0) -> list[Variable]:
    """Return the variables of a template, those in operators' texts after their own."""
    found: list[Variable] = []
    position = text.find("$")
    while position >= 0 and depth <= MAX_DEPTH:
        after = text[position + 1 : position + 2]
        step = 1
        if after == "$":
            step = 2
        elif after == "{":
            step = _braced_variable(text, position, depth, found)
        elif after and after in _START:
            end = _name_end(text, position + 1)
            found.append(Variable(text[position + 1 : end], "", ""))
            step = end - position
        position = text.find("$", position + step)
    return found


def _braced_variable(text: str, start: int, depth: int, found: list[Variable]) -> int:
    end = _name_end(text, start + 2)
    name = text[start + 2 : end]
    if not name or name[0] not in _START:
        return 1
    operator = next((op for op in _OPERATORS if text.startswith(op, end)), "")
    close = _closing_brace(text, start + 1, _MOST_LOOKED_AT) if operator else end
    if close < 0 or text[close : close + 1] != "}":
        return 1
    inner = text[end + len(operator) : close]
    found.append(Variable(name, operator, inner))
    if not operator.endswith("?"):
        found += variables(inner, depth + 1)
    return close + 1 - start
