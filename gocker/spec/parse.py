"""YAML text -> nodes, with Compose's scalars (YAML 1.2 booleans, 1.1 integers).

Reads libyaml's events, so nothing here recurses and no YAML tag ever makes an object. Aliases
share their nodes; what they would expand to is counted, and a bomb is refused by that count
alone. Nodes written out are not counted: a real file of 10,000 services has 200,000.
"""

from __future__ import annotations

from gocker.spec import scanner
from gocker.spec.flow import protect
from gocker.spec.nodes import Mapping, Place, Scalar, Sequence
from gocker.spec.units import parse_float, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.spec.nodes import Node, Value
    from gocker.spec.problems import Problems

MAX_DEPTH = 100
MAX_EXPANDED = 100_000
# Bounds time and memory, far above any real file: 10,000 services have some 300,000 nodes.
MAX_NODES = 600_000
MAX_WIDTH = 100_000
_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_WORDS: dict[str, Value] = {
    **dict.fromkeys(_NULLS), **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}  # fmt: skip
_INFINITE = frozenset(
    f"{sign}.{word}" for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")
) | {".nan", ".NaN", ".NAN"}
_NUMBER_START = frozenset("0123456789+-.")
# Keys no document can have, as NUL is refused: the merge key, and one that is no string.
_MERGE = "\0<<"
_NO_KEY = "\0"


class _TooMuch(Exception):  # noqa: N818  # never leaves this module
    """Reading stops: the problem has been noted."""


class Document:
    """One document of a file. `tagged`: whether ``!reset`` or ``!override`` is in the file."""

    __slots__ = ("root", "tagged")

    def __init__(self, root: Node, *, tagged: bool) -> None:
        self.root = root
        self.tagged = tagged


def parse(data: bytes, file: str, problems: Problems) -> list[Document]:
    """Return the documents of a YAML text; what is wrong goes into `problems`."""
    reader = _Reader(data, file, problems)
    return [Document(root, tagged=reader.tagged) for root in reader.documents()]


class _Frame:
    """A collection that is being read."""

    __slots__ = ("anchor", "count", "height", "key", "merges", "node")

    def __init__(self, node: Mapping | Sequence, anchor: str | None, count: int) -> None:
        self.node = node
        self.anchor = anchor
        self.count = count  # nodes read before it
        self.height = 0  # levels below it
        self.key: str | None = None  # of a mapping: the key that waits for its value
        self.merges: list[Node] = []


class _Reader:
    def __init__(self, data: bytes, file: str, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.data, self.exchanged = protect(data)
        self.module = module = scanner.load()
        self.parser = module.CParser(self.data)
        self.done: list[Node] = []
        self.stack: list[_Frame] = []
        # anchor -> (node, nodes in it, levels in it); None while it is being read
        self.anchors: dict[str, tuple[Node, int, int] | None] = {}
        self.count = 0
        self.expanded = 0
        self.tagged = False
        self.handlers: dict[Any, Any] = {
            module.ScalarEvent: self.scalar,
            module.MappingStartEvent: self.start_mapping,
            module.SequenceStartEvent: self.start_sequence,
            module.MappingEndEvent: self.end_mapping,
            module.SequenceEndEvent: self.end,
            module.AliasEvent: self.alias,
            module.DocumentStartEvent: self.start_document,
        }

    def documents(self) -> list[Node]:
        get_event, handlers = self.parser.get_event, self.handlers
        end = self.module.StreamEndEvent
        try:
            while True:
                event = get_event()
                kind = type(event)
                handler = handlers.get(kind)
                if handler is not None:
                    handler(event)
                elif kind is end:
                    break
        except _TooMuch:
            pass
        except Exception as error:
            # The extension's errors have no common class when its modules are stubs.
            self.syntax_error(error)
        return self.done

    def syntax_error(self, error: Exception) -> None:
        args = error.args
        if len(args) == 5 and isinstance(args[1], int):  # ReaderError: name, offset, ...
            before = self.data[: args[1]]
            line = before.count(b"\n") + 1
            column = len(before) - (before.rfind(b"\n") + 1) + 1
            self.problems.add(Place(self.file, line, column), "", f"invalid YAML: {args[4]}")
        elif len(args) >= 4 and args[3] is not None:
            context = f" {args[0]}" if args[0] else ""
            self.problems.add(self.place(args[3]), "", f"invalid YAML: {args[2]}{context}")
        elif len(args) >= 2 and args[1] is not None and hasattr(args[1], "line"):
            self.problems.add(self.place(args[1]), "", f"invalid YAML: {args[0]}")
        else:
            raise error

    def place(self, mark: Any) -> Place:
        return Place(self.file, mark.line + 1, mark.column + 1)

    def stop(self, mark: Any, message: str) -> _TooMuch:
        self.problems.add(self.place(mark), self.path(), message)
        return _TooMuch()

    def path(self) -> str:
        """Return the path of the value that is being read."""
        parts = ""
        for frame in self.stack:
            if isinstance(frame.node, Sequence):
                parts += f"[{len(frame.node.items)}]"
            elif frame.key is not None:
                parts += f".{_shown(frame.key)}" if parts else _shown(frame.key)
        return parts

    def start_document(self, _event: Any) -> None:
        self.anchors = {}

    def scalar(self, event: Any) -> None:
        mark = event.start_mark
        place = Place(self.file, mark.line + 1, mark.column + 1)
        text = event.value
        if self.exchanged is not None and not text.isascii():
            text = text.translate(self.exchanged)
        if "\0" in text:
            # Only an escape can write it; no argument, path or variable can hold it.
            self.problems.add(place, self.path(), "NUL character")
            text = text.replace("\0", "")
        tag = event.tag if event.ctag is not None else None
        value: Value
        if tag is None:
            quoted = not event.implicit[0]
            value = text if quoted else self.resolve(text, place)
            stack = self.stack
            if text == "<<" and not quoted and stack:
                top = stack[-1]
                if top.key is None and isinstance(top.node, Mapping):
                    self.key(_MERGE, mark)
                    return
            kept = None
        else:
            value, kept = self.typed(text, tag, event.style, place)
        node = Scalar(value, place, kept)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, 1, 0)
        self.add(node, mark)

    def resolve(self, text: str, place: Place) -> Value:
        if text[:1] in _NUMBER_START:
            if text in _INFINITE:
                self.problems.add(place, self.path(), f"{text!r} is not a finite number")
                return text
            return number(text)
        return _WORDS.get(text, text)

    def typed(self, text: str, tag: str, style: str, place: Place) -> tuple[Value, str | None]:
        """Return the value of a scalar with a tag, and the tag if a later pass needs it."""
        plain = not style
        if tag in ("!reset", "!override"):
            self.tagged = True
            return (self.resolve(text, place) if plain else text), tag
        if tag in ("!", f"{_CORE}str"):
            return text, None
        value = self.resolve(text, place)
        if tag == f"{_CORE}null" and value is None:
            return None, None
        if tag == f"{_CORE}bool" and isinstance(value, bool):
            return value, None
        if tag == f"{_CORE}int" and isinstance(value, int) and not isinstance(value, bool):
            return value, None
        if tag == f"{_CORE}float" and isinstance(value, (int, float)):
            return (value if isinstance(value, bool) else float(value)), None
        self.refuse_tag(tag, place, text)
        return text, None

    def refuse_tag(self, tag: str, place: Place, text: str = "") -> None:
        name = tag.replace(_CORE, "!!")
        if name in ("!!null", "!!bool", "!!int", "!!float"):
            message = f"{shorten(text)} is not a value of type {name}"
        else:
            message = f"unsupported YAML tag {shorten(name)}"
        self.problems.add(place, self.path(), message)

    def start_mapping(self, event: Any) -> None:
        self.start(Mapping({}, self.place(event.start_mark)), event, f"{_CORE}map")

    def start_sequence(self, event: Any) -> None:
        self.start(Sequence([], self.place(event.start_mark)), event, f"{_CORE}seq")

    def start(self, node: Mapping | Sequence, event: Any, own_tag: str) -> None:
        if event.ctag is not None:
            tag = event.tag
            if tag in ("!reset", "!override"):
                node.tag = tag
                self.tagged = True
            elif tag is not None and tag not in ("!", own_tag):
                self.refuse_tag(tag, node.place)
        if len(self.stack) >= MAX_DEPTH:
            raise self.stop(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(node, event.anchor, self.count))

    def end_mapping(self, event: Any) -> None:
        frame = self.stack[-1]
        for source in frame.merges:
            self.merge(frame.node, source)
        self.end(event)

    def end(self, event: Any) -> None:
        frame = self.stack.pop()
        if frame.anchor is not None:
            size = self.count - frame.count + 1
            self.anchors[frame.anchor] = (frame.node, size, frame.height)
        if self.stack:
            self.stack[-1].height = max(self.stack[-1].height, frame.height + 1)
        self.add(frame.node, event.start_mark)

    def alias(self, event: Any) -> None:
        name, mark = event.anchor, event.start_mark
        if name not in self.anchors:
            raise self.stop(mark, f"unknown anchor {shorten(name)}")
        found = self.anchors[name]
        if found is None:
            raise self.stop(mark, f"alias {shorten(name)} is inside what it stands for")
        node, size, height = found
        self.count += size
        self.expanded += size
        if self.expanded > MAX_EXPANDED:
            raise self.stop(mark, f"aliases expand to more than {MAX_EXPANDED} nodes")
        if len(self.stack) + height > MAX_DEPTH:
            raise self.stop(mark, f"nested deeper than {MAX_DEPTH} levels")
        if self.stack and height:
            self.stack[-1].height = max(self.stack[-1].height, height + 1)
        self.add(node, mark)

    def add(self, node: Node, mark: Any) -> None:
        """Put a node where it belongs: a list item, a key, a value or a whole document."""
        self.count += 1
        if self.count - self.expanded > MAX_NODES:
            raise self.stop(mark, f"more than {MAX_NODES} nodes")
        if not self.stack:
            self.done.append(node)
            return
        frame = self.stack[-1]
        parent = frame.node
        if len(parent.items) > MAX_WIDTH:
            raise self.stop(mark, f"more than {MAX_WIDTH} entries")
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = frame.key
        if key is None:
            if isinstance(node, Scalar) and isinstance(node.value, str):
                self.key(node.value, mark)
            else:
                self.bad_key(node)
            return
        if key[:1] == _NO_KEY:
            if key == _MERGE:
                self.add_merge(frame, node, mark)
        elif key not in parent.items:
            parent.items[key] = node
        frame.key = None

    def key(self, name: str, mark: Any) -> None:
        frame = self.stack[-1]
        keys = frame.node.keys  # type: ignore[union-attr]  # only mappings have keys
        place = self.place(mark)
        if name in keys:
            self.problems.add(
                place, self.path(),
                f"mapping key {shorten(_shown(name))} already defined at line {keys[name].line}",
            )  # fmt: skip
        else:
            keys[name] = place
        frame.key = name

    def bad_key(self, node: Node) -> None:
        what = "a collection"
        if isinstance(node, Scalar):
            value = node.value
            words = {None: "null", True: "true", False: "false"}
            what = words[value] if value is None or isinstance(value, bool) else str(value)
        where = self.path()
        self.problems.add(node.place, where, f"non-string key {what}", "quote it")
        self.stack[-1].key = _NO_KEY

    def add_merge(self, frame: _Frame, node: Node, mark: Any) -> None:
        sources = node.items if isinstance(node, Sequence) else [node]
        if all(isinstance(source, Mapping) for source in sources):
            frame.merges += sources
        else:
            self.problems.add(
                self.place(mark), self.path(), "'<<' needs a mapping or a list of mappings"
            )

    def merge(self, target: Any, source: Any) -> None:
        for key, value in source.items.items():
            if key not in target.items:
                target.items[key] = value
                target.keys[key] = source.key_place(key)


def _shown(key: str) -> str:
    return key.lstrip(_NO_KEY)


def number(text: str) -> Value:
    """Return the integer or float that a plain scalar stands for, else the text.

    Source: go-yaml resolve.go. Integers are Go's base 0 with underscores anywhere: ``0x1F``,
    ``0o17``, ``0777``, ``0b101``, ``1_000``, ``+1``. Base-60 numbers and dates stay text.
    """
    if len(text) > 400:
        return text
    if text[0] == ".":
        return _real(text)
    digits = text.replace("_", "")
    sign, body = (digits[0], digits[1:]) if digits[:1] in ("+", "-") else ("", digits)
    if body.isdigit() and body.isascii() and (body[0] != "0" or body == "0"):
        # go-yaml keeps the sign of a zero, and Compose prints it.
        value: int | float = -0.0 if digits == "-0" else int(digits)
    else:
        based = _based(body)
        if based is None:
            return _real(digits, text) if body[:1].isdigit() or body[:1] == "." else text
        value = -based if sign == "-" else based
    if -(1 << 63) <= value < 1 << 64:
        return value
    return _real(digits, text)


_BASES = {"x": 16, "o": 8, "b": 2}


def _based(body: str) -> int | None:
    """Return the value of an unsigned octal, hexadecimal or binary integer, else None."""
    if body[:1] != "0":
        return None
    base = _BASES.get(body[1:2].lower())
    rest = body[2:] if base else body[1:]
    if not rest.isalnum() or not rest.isascii():
        return None
    try:
        return int(rest, base or 8)
    except ValueError:
        return None


def _real(digits: str, text: str | None = None) -> Value:
    try:
        return parse_float(digits)
    except ValueError:
        return digits if text is None else text
