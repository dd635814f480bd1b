"""The command line of OCI runtimes. Callers write it the way Go's flag packages read it.

``--name value``, ``--name=value``, one dash or two, options before the positional arguments.
argparse would cost a third of what starting a container does.
"""

from __future__ import annotations

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Kinds of options: given or not, a text, a number, a text that may be given repeatedly.
FLAG, TEXT, NUMBER, LIST = "flag", "text", "number", "list"
_YES, _NO = ("true", "t", "1"), ("false", "f", "0")


class Options:
    """Options by name with dashes as underscores, and positional arguments.

    An option that was not given is False, None or [], as its kind is.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._values: dict[str, bool | str | int | list[str] | None] = {}
        for name, kind in kinds.items():
            self._values[name] = False if kind == FLAG else [] if kind == LIST else None
        self.arguments: list[str] = []

    def flag(self, name: str) -> bool:
        """Return whether a flag was given."""
        return self._values[name] is True

    def text(self, name: str) -> str | None:
        """Return the text of an option, the last one if it was repeated."""
        value = self._values[name]
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        """Return the number of an option."""
        value = self._values[name]
        return value if isinstance(value, int) else None

    def list(self, name: str) -> list[str]:
        """Return all texts of a repeatable option."""
        value = self._values[name]
        return value if isinstance(value, list) else []

    def store(self, name: str, kind: str, value: str | None) -> None:
        """Keep the value of an option; `value` is None for a flag without one."""
        stored = self._values[name]
        if kind == LIST:
            assert isinstance(stored, list) and value is not None  # noqa: PT018, S101  # its kind
            stored.append(value)
        elif kind == FLAG:
            self._values[name] = _boolean(name, value)
        elif kind == NUMBER:
            self._values[name] = _number(name, value or "")
        else:
            self._values[name] = value


def parse(
    argv: list[str], kinds: Mapping[str, str], short: Mapping[str, str] | None = None
) -> Options:
    """Return the options and what follows them.

    Options end at ``--`` or at the first argument that is not one: what follows belongs to a
    command or to the program to execute.

    Args:
        argv: the words.
        kinds: name of each option -> its kind.
        short: single letters -> names.

    Raises:
        UsageError: an unknown option, a missing or malformed value.
    """
    options = Options(kinds)
    position = 0
    while position < len(argv):
        word = argv[position]
        if not word.startswith("-") or word == "-":
            break
        position += 1
        if word == "--":
            break
        name, given, value = word.lstrip("-").partition("=")
        name = (short or {}).get(name, name)
        kind = kinds.get(name)
        if kind is None:
            raise UsageError(f"unknown option {word!r}", hint="see gocker-oci --help")
        if kind != FLAG and not given:
            if position == len(argv):
                raise UsageError(f"option --{name} needs a value")
            value = argv[position]
            position += 1
        options.store(name, kind, value if given or kind != FLAG else None)
    options.arguments = argv[position:]
    return options


def _boolean(name: str, value: str | None) -> bool:
    if value is None or value.lower() in _YES:
        return True
    if value.lower() in _NO:
        return False
    raise UsageError(f"option --{name} is true or false, not {value!r}")


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"option --{name} needs a number, not {value!r}") from None


def refuse_pidfd_socket(options: Options) -> None:
    """Refuse an option of runc's that nobody would get an answer to."""
    if options.text("pidfd-socket"):
        raise UsageError("--pidfd-socket is not supported", hint="use --pid-file and pidfd_open(2)")
