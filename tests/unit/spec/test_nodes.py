from __future__ import annotations

from gocker.spec.nodes import Mapping, Place, Scalar, Sequence, copy, from_plain, plain


def test_plain_values_come_back() -> None:
    value = {"a": [1, None, {"b": "c"}], "d": 1.5, "e": True}
    assert plain(from_plain(value)) == value


def test_a_copy_shares_nothing() -> None:
    node = from_plain({"a": [1]})
    other = copy(node)
    assert isinstance(other, Mapping)
    inner = other.items["a"]
    assert isinstance(inner, Sequence)
    inner.items.append(Scalar(2))
    assert plain(node) == {"a": [1]}


def test_the_place_of_a_key() -> None:
    whole, key, value = Place("f", 1, 1), Place("f", 2, 1), Place("f", 2, 4)
    node = Mapping({"a": Scalar(1, value), "b": Scalar(2, value)}, whole, {"a": key})
    assert [node.key_place(name) for name in "abc"] == [key, value, whole]


def test_places_are_equal_by_value() -> None:
    assert Place("f", 1, 2) == Place("f", 1, 2)
    assert len({Place("f", 1, 2), Place("f", 1, 2), Place("g", 1, 2)}) == 2
    assert str(Place("f", 1, 2)) == "f:1:2"
