"""`gocker.values` gives what the standard library's dataclasses give."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from gocker import values


def declare(dataclass: Callable[..., Any], field: Callable[..., Any], *, frozen: bool) -> Any:
    @dataclass(frozen=frozen, slots=True)
    class Point:
        """A point."""

        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)

        @property
        def sum(self) -> int:
            return self.x + self.y

    return Point


OURS = declare(values.dataclass, values.field, frozen=True)
THEIRS = declare(dataclasses.dataclass, dataclasses.field, frozen=True)
MUTABLE = declare(values.dataclass, values.field, frozen=False)


@values.dataclass(frozen=True, slots=True)
class Pair:
    left: int
    right: str = "r"


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1,), {}), ((1, 3, ["a"]), {}), ((), {"y": 5, "x": 1}), ((1,), {"y": 0})]
)
def test_objects_look_like_the_originals(args: Any, kwargs: Any) -> None:
    assert repr(OURS(*args, **kwargs)) == repr(THEIRS(*args, **kwargs))


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, [], 4), {}), ((1,), {"z": 1}), ((1,), {"x": 1})]
)
def test_wrong_arguments_are_refused_as_by_the_originals(args: Any, kwargs: Any) -> None:
    for kind in (OURS, THEIRS):
        with pytest.raises(TypeError):
            kind(*args, **kwargs)


def test_factories_make_a_new_object_each_time() -> None:
    assert OURS(1).tags is not OURS(1).tags


def test_equality_is_by_class_and_values() -> None:
    assert Pair(1) == Pair(1, "r")
    assert Pair(1) != Pair(2)
    assert OURS(1) != THEIRS(1)


def test_frozen_values_are_hashed_by_their_values() -> None:
    assert len({Pair(1), Pair(1), Pair(2)}) == 2


def test_mutable_values_have_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(MUTABLE(1))


def test_frozen_values_cannot_be_changed() -> None:
    pair = Pair(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="left"):
        pair.left = 2  # type: ignore[misc]  # that is the test
    with pytest.raises(dataclasses.FrozenInstanceError, match="left"):
        del pair.left


def test_mutable_values_can_be_changed() -> None:
    point = MUTABLE(1)
    point.x = 7
    assert point.sum == 9


def test_there_are_only_slots() -> None:
    with pytest.raises(AttributeError):
        MUTABLE(1).z = 1
    assert not hasattr(Pair(1), "__dict__")


def test_replace_changes_a_copy() -> None:
    pair = Pair(1)
    assert (values.replace(pair, left=2), pair) == (Pair(2), Pair(1))


def test_copies_and_pickles_are_equal() -> None:
    pair = Pair(1)
    assert copy.copy(pair) == copy.deepcopy(pair) == pickle.loads(pickle.dumps(pair)) == pair  # noqa: S301  # our own


def test_the_standard_functions_work_on_them() -> None:
    assert dataclasses.asdict(OURS(1)) == dataclasses.asdict(THEIRS(1))
    assert dataclasses.replace(OURS(1), y=7) == OURS(1, 7)
    assert [f.name for f in dataclasses.fields(OURS)] == ["x", "y", "tags"]


def test_they_can_be_matched_by_position() -> None:
    match Pair(1):
        case Pair(left, right):
            assert (left, right) == (1, "r")
