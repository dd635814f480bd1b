"""Command lines that are plain, read without argparse: its import is half a start of Python.

Whatever is not plain (a value behind its letter, an error, --help) is left to argparse.
"""

from __future__ import annotations

from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

# What `options.parser` adds, as it is when nobody says anything.
_COMMON: dict[str, Any] = {
    "file": [], "project_name": None, "project_directory": None, "profile": None, "env_file": [],
    "strict": False, "allow_privileged": None, "trusted_root": None, "color": "auto",
}  # fmt: skip
_COMMON_VALUES = {"-p": "project_name", "--project-name": "project_name"}


@dataclass(frozen=True, slots=True)
class Options:
    """A command's own ones: attributes with their defaults, and the words that set them.

    `true`: options without a value. `value`: with one. `more`: with one, collected in a list.
    """

    defaults: dict[str, Any]
    true: dict[str, str] = field(default_factory=dict)
    value: dict[str, str] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)


class _Namespace:
    """What argparse calls a Namespace: attributes."""


def parse(
    words: list[str], options: Options, *, end_at_word: bool = False
) -> tuple[argparse.Namespace | None, list[str]]:
    """Return the arguments and the words that are no options; None if argparse has to look.

    Args:
        words: the command line without the command.
        options: the command's own.
        end_at_word: whether everything from the first word on is another program's.
    """
    found: Any = _Namespace()
    for name, default in {**_COMMON, **options.defaults}.items():
        setattr(found, name, list(default) if isinstance(default, list) else default)
    values = {**_COMMON_VALUES, **options.value}
    rest: list[str] = []
    queue = iter(words)
    for word in queue:
        if word[:1] != "-":
            rest.append(word)
            if end_at_word:
                rest += queue
        elif word in options.true:
            setattr(found, options.true[word], True)
        elif word in values or word in options.more:
            value = next(queue, "-")
            if value[:1] == "-":
                return None, []
            if word in values:
                setattr(found, values[word], value)
            else:
                getattr(found, options.more[word]).append(value)
        else:
            return None, []
    return found, rest
