"""Expansion of a matrix: the rules are GitHub's, so are the cases."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gocker.spec.model import expand
from gocker.spec.model.matrix import Matrix


def combinations(matrix: dict[str, Any]) -> list[dict[str, str]]:
    return expand(Matrix.model_validate(matrix))


def refused(matrix: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Matrix.model_validate(matrix)
    return str(caught.value.errors()[0]["msg"])


def test_the_product_is_in_the_order_of_the_file() -> None:
    assert combinations({"A": ["1", "2"], "B": ["x", "y"]}) == [
        {"A": "1", "B": "x"}, {"A": "1", "B": "y"}, {"A": "2", "B": "x"}, {"A": "2", "B": "y"},
    ]  # fmt: skip


def test_exclude_removes_what_has_all_its_values() -> None:
    matrix = {"A": ["1", "2"], "B": ["x", "y"], "exclude": [{"A": "1", "B": "x"}, {"B": "y"}]}
    assert combinations(matrix) == [{"A": "2", "B": "x"}]


def test_include_with_new_variables_extends_every_combination() -> None:
    assert combinations({"A": ["1", "2"], "include": [{"C": "z"}]}) == [
        {"A": "1", "C": "z"}, {"A": "2", "C": "z"},
    ]  # fmt: skip


def test_include_extends_only_what_it_does_not_change() -> None:
    assert combinations({"A": ["1", "2"], "include": [{"A": "1", "C": "z"}]}) == [
        {"A": "1", "C": "z"}, {"A": "2"},
    ]  # fmt: skip


def test_include_adds_a_combination_that_fits_nowhere() -> None:
    assert combinations({"A": ["1"], "B": ["x"], "include": [{"A": "1", "B": "y"}]}) == [
        {"A": "1", "B": "x"}, {"A": "1", "B": "y"},
    ]  # fmt: skip


def test_githubs_own_example() -> None:
    matrix = {
        "fruit": ["apple", "pear"],
        "animal": ["cat", "dog"],
        "include": [
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    }
    assert combinations(matrix) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_include_alone_is_a_list_of_combinations() -> None:
    assert combinations({"include": [{"A": "1"}, {"A": "2"}]}) == [{"A": "1"}, {"A": "2"}]


def test_whole_numbers_and_booleans_become_text() -> None:
    assert combinations({"A": [1, True]}) == [{"A": "1"}, {"A": "true"}]


def test_fractions_must_be_quoted_because_yaml_drops_zeros() -> None:
    assert "must be in quotes" in refused({"PY": [3.1]})


def test_exclude_may_name_only_variables_of_the_matrix() -> None:
    assert "'B', which is no variable" in refused({"A": ["1"], "exclude": [{"B": "1"}]})


def test_a_matrix_without_combinations_is_refused() -> None:
    assert "no combination" in refused({"A": ["1"], "exclude": [{"A": "1"}]})


def test_keys_are_names_of_variables() -> None:
    assert "name of a Compose variable" in refused({"A-B": ["1"]})


def test_max_parallel_and_fail_fast_are_no_variables() -> None:
    matrix = Matrix.model_validate({"A": ["1"], "max_parallel": 2, "fail_fast": True})
    assert (matrix.max_parallel, matrix.fail_fast, list(matrix.variables)) == (2, True, ["A"])
