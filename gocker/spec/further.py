"""What else is wrong with a spec, when something is.

A pass that finds a mistake ends the load, since the passes after it could not tell its
consequences from mistakes of their own. So the spec is loaded again without the keys that were
complained of, until nothing new is found: one look at the output tells all of it.
"""

from __future__ import annotations

import time

from gocker.errors import Problem, SpecError
from gocker.spec.load import load
from gocker.spec.model import load as load_model
from gocker.spec.nodes import Mapping, Place, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.load import LoadOptions
    from gocker.spec.nodes import Node
    from gocker.spec.parse import Document

_ROUNDS = 8
_SECONDS = 0.5
# A key below a service, as services.web.image: without less, what refers to it would be wrong.
_LEAST_DEPTH = 3


def all_problems(options: LoadOptions, first: SpecError, *, strict: bool) -> SpecError:
    """Return an error with the problems of `first` and those that it kept from being found."""
    found = {str(problem): problem for problem in first.problems}
    if "-" in options.files:
        return first  # standard input is read already
    options.without = _places(first)
    end = time.process_time() + _SECONDS
    for _ in range(_ROUNDS):
        if time.process_time() > end:
            break  # a huge spec, or one made to be slow: what is known has to do
        try:
            loaded = load(options)
            load_model(loaded.model, loaded.place, strict=strict)
            break
        except SpecError as error:
            new = {str(problem): problem for problem in error.problems}
            places = _places(error)
            found = {**new, **found}
            if places <= options.without:
                break
            options.without |= places
    return SpecError(sorted(found.values(), key=lambda problem: _order(problem, first)))


def _places(error: SpecError) -> frozenset[Place]:
    return frozenset(Place(item.file, item.line, item.column) for item in error.problems)


def _order(problem: Problem, first: SpecError) -> tuple[bool, str, int, int]:
    """Return what sorts problems: the file that failed first, then by file, line and column."""
    return (problem.file != first.problems[0].file, problem.file, problem.line, problem.column)


def without(document: Document, places: frozenset[Place]) -> Document:
    """Return a document without the keys of services at, or with something at, `places`."""
    return type(document)(_pruned(document.root, places, 1), tagged=document.tagged)


def _pruned(node: Node, places: frozenset[Place], depth: int) -> Node:
    if not isinstance(node, Mapping):
        return node
    kept: dict[str, Node] = {}
    for key, item in node.items.items():
        if depth < _LEAST_DEPTH:
            kept[key] = _pruned(item, places, depth + 1)
        elif node.key_place(key) not in places and not _touched(item, places):
            kept[key] = item
    return Mapping(kept, node.place, node.keys, node.tag)


def _touched(node: Node, places: frozenset[Place]) -> bool:
    """Return whether one of the places is in a node."""
    if node.place in places:
        return True
    if isinstance(node, Mapping):
        return any(
            node.key_place(key) in places or _touched(item, places)
            for key, item in node.items.items()
        )
    return isinstance(node, Sequence) and any(_touched(item, places) for item in node.items)
