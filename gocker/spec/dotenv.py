r"""Reads ``.env``, ``--env-file``, ``env_file`` and ``label_file`` (dotenv/parser.go).

``KEY=value`` per line, ``export`` allowed, ``:`` as well as ``=``; unquoted values end at `` #``;
double quotes know ``\n`` and variables, single quotes nothing; a bare ``KEY`` is inherited.
No message holds a value: the file may belong to somebody else.
"""

from __future__ import annotations

from gocker.spec import files
from gocker.spec.nodes import Place
from gocker.spec.problems import failure
from gocker.spec.template import Template, TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.problems import Problems
    from gocker.spec.template import Lookup

# Go's isSpace without the line break, and unicode.IsSpace for trimming.
_BLANK = "\t\v\f\r \x85\xa0"
_SPACE = (
    _BLANK + "\n\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
    '"': '"',
}  # fmt: skip


class DotenvError(ValueError):
    """A line cannot be read. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(data: bytes, into: dict[str, str], lookup: Lookup, raw: bool = False) -> list[str]:
    """Add the variables of a file to `into`; return the names that were used without a value.

    `lookup` is asked first for a variable in a value, then `into`, earlier lines included.

    Raises:
        DotenvError: with the line.
    """
    # A comment may have any encoding, a variable may not: its bytes would not survive.
    text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    for number, line in enumerate(text.split("\n"), 1) if not text.isascii() else ():
        if not line.lstrip().startswith("#") and any("\udc80" <= char <= "\udcff" for char in line):
            raise DotenvError(number, "not valid UTF-8")
    if "\0" in text:
        raise DotenvError(text.count("\n", 0, text.index("\0")) + 1, "NUL byte")
    if raw:
        _raw(text, into, lookup)
        return []
    return _Parser(text, into, lookup).parse()


def _raw(text: str, into: dict[str, str], lookup: Lookup) -> None:
    """Docker's own format: ``KEY=value`` taken literally, quotes and dollars included."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r").lstrip(_SPACE)  # noqa: PLW2901  # the line, trimmed
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name or any(char in name for char in _SPACE):
            raise DotenvError(number, "no variable name, or one with a space")
        if equals:
            into[name] = value
        else:
            inherited = lookup(name)
            if inherited is not None:
                into[name] = inherited


class _Parser:
    def __init__(self, text: str, into: dict[str, str], lookup: Lookup) -> None:
        self.text = text
        self.at = 0
        self.into = into
        self.lookup = lookup
        self.template = Template(self.variable)

    def variable(self, name: str) -> str | None:
        value = self.lookup(name)
        return self.into.get(name) if value is None else value

    def error(self, message: str, at: int | None = None) -> DotenvError:
        where = self.at if at is None else at
        return DotenvError(self.text.count("\n", 0, where) + 1, message)

    def parse(self) -> list[str]:
        while self.skip_to_statement():
            name, inherited = self.name()
            if inherited:
                value = self.lookup(name)
                if value is not None:
                    self.into[name] = value
            else:
                self.into[name] = self.value()
        return self.template.unset

    def skip_to_statement(self) -> bool:
        """Go to the next character that is neither space nor comment; False at the end."""
        text, end = self.text, len(self.text)
        while self.at < end:
            if text[self.at] == "#":
                line_end = text.find("\n", self.at)
                self.at = end if line_end < 0 else line_end
            elif text[self.at] in _SPACE:
                self.at += 1
            else:
                return True
        return False

    def name(self) -> tuple[str, bool]:
        """Read a name up to ``=``, ``:`` or the end of the line; the last means inherited."""
        text = self.text
        if text.startswith("export", self.at) and text[self.at + 6 : self.at + 7] in tuple(_SPACE):
            self.at += 6
            self.skip_blanks()
        start = end = self.at
        while end < len(text) and text[end] not in "=:\n":
            char = text[end]
            if char not in _BLANK and char not in "_.-[]" and not char.isalnum():
                raise self.error(f"unexpected character {char!r} in variable name", end)
            end += 1
        name = text[start:end].rstrip(_SPACE)
        inherited = end >= len(text) or text[end] == "\n"
        if " " in name:
            raise self.error("variable name with a space", start)
        if not name:
            raise self.error("no variable name before '='", start)
        self.at = end + 1
        self.skip_blanks()
        return name, inherited

    def skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _BLANK:
            self.at += 1

    def value(self) -> str:
        quote = self.text[self.at : self.at + 1]
        if quote in ("'", '"'):
            return self.quoted(quote)
        start = self.at
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        value = self.text[start:end].partition(" #")[0].rstrip(_SPACE)
        value = self.expand(value, start)
        self.at = end + 1
        return value

    def quoted(self, quote: str) -> str:
        """Read up to the closing quote, over lines; only a backslash before the quote counts."""
        text, start = self.text, self.at
        chars: list[str] = []
        index = start + 1
        while index < len(text):
            char = text[index]
            if char == "\\" and text[index + 1 : index + 2] == quote:
                chars.append(quote)
                index += 1
            elif char == quote:
                self.at = index + 1
                value = "".join(chars)
                return self.expand(_unescape(value), start) if quote == '"' else value
            elif char == "\\" and index + 1 < len(text):
                # The next character is taken with its backslash: "\\" does not hide a quote.
                chars.append(text[index : index + 2])
                index += 1
            else:
                chars.append(char)
            index += 1
        raise self.error("unterminated quoted value", start)

    def expand(self, value: str, at: int) -> str:
        try:
            return self.template.substitute(value)
        except TemplateError as error:
            # Its text may quote the file: keep only the message of a missing variable.
            reason = str(error)
            if not reason.startswith(("required", "variables", "the value")):
                reason = "invalid interpolation format"
            raise self.error(reason, at) from None


def _unescape(text: str) -> str:
    r"""Expand ``\n`` and the like; ``\$`` becomes ``$$``, which the template makes ``$``."""
    if "\\" not in text:
        return text
    out: list[str] = []
    index = 0
    while index < len(text):
        char, following = text[index], text[index + 1 : index + 2]
        if char != "\\" or not following:
            out.append(char)
        elif following == "$":
            out.append("$$")
            index += 1
        elif following == "0":
            index += _octal(text, index, out)
        elif following in _ESCAPES:
            out.append(_ESCAPES[following])
            index += 1
        else:
            out.append(char)
        index += 1
    return "".join(out)


def _octal(text: str, start: int, out: list[str]) -> int:
    r"""Expand ``\0`` and three octal digits; shorter ones stay as they are, as in Go."""
    digits = text[start + 2 : start + 5]
    octal = "".join(char for char in digits if char in "01234567")
    if len(octal) == 3 and int(octal, 8) < 256:
        out.append(chr(int(octal, 8)))
        return 4
    out.append("\\0")
    return 1


def read_env_file(
    name: str, into: dict[str, str], environment: dict[str, str], problems: Problems,
    place: Place | None = None, path: str = "", *, raw: bool = False,
) -> None:  # fmt: skip
    """Add the variables of a file to `into`; `environment` is asked first for variables.

    Raises:
        SpecError: if it cannot be read.
    """
    try:
        unset = parse(files.read(name), into, environment.get, raw)
    except files.FileProblem as error:
        where = place or Place(name, 1, 1)
        raise failure(where, path, f"cannot read env file {name!r}: {error}") from error
    except DotenvError as error:
        raise failure(Place(name, error.line, 1), path, str(error)) from error
    for variable in unset:
        problems.warn(f"The {variable!r} variable is not set. Defaulting to a blank string.")
