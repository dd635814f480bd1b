from __future__ import annotations

import pytest

from gocker.errors import SpecError
from gocker.spec.nodes import Place
from gocker.spec.problems import Near, Problems, suggest


def test_problems_come_file_by_file_in_the_order_of_lines() -> None:
    problems = Problems()
    for file, line, column in (("b", 9, 1), ("a", 5, 7), ("b", 2, 1), ("a", 5, 3)):
        problems.add(Place(file, line, column), "", "x")
    with pytest.raises(SpecError) as caught:
        problems.check()
    places = [(p.file, p.line, p.column) for p in caught.value.problems]
    assert places == [("b", 2, 1), ("b", 9, 1), ("a", 5, 3), ("a", 5, 7)]


def test_a_mistake_of_an_anchor_is_told_once() -> None:
    problems = Problems()
    for _ in range(3):
        problems.add(Place("f", 1, 1), "a", "x")
    with pytest.raises(SpecError) as caught:
        problems.check()
    assert len(caught.value.problems) == 1


def test_no_problem_no_error() -> None:
    Problems().check()


def test_a_problem_without_line_still_has_a_place() -> None:
    problems = Problems()
    problems.add(Place("f", 0, 0), "", "x")
    assert str(problems.found[0]) == "f:1:1: x"


def test_suggestions() -> None:
    assert suggest("imag", ["image", "ports"]) == "did you mean 'image'?"
    assert suggest("qqq", ["image", "ports"]) is None
    assert Near("qqq", ["image"], "read the manual").text() == "read the manual"


def test_only_the_first_problems_cost_a_suggestion() -> None:
    problems = Problems()
    for line in range(1, 60):
        problems.add(Place("f", line, 1), "", "x", Near("imag", ["image"]))
    hints = [problem.hint for problem in problems.found]
    assert hints[0] == "did you mean 'image'?"
    assert hints[-1] is None


def test_warnings_are_told_once() -> None:
    problems = Problems()
    problems.warn("w")
    problems.warn("w")
    assert problems.warnings == ["w"]
