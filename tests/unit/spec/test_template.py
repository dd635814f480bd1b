"""Interpolation: compose.md's table of forms, and the reference's corners."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.spec.template import Template, TemplateError, variables

ENVIRONMENT = {"B": "", "C": "real", "D": "dee", "NAME": "nope", "OUTER": "${INNER} and $INNER"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("pre-${NOT_THERE}-post", "pre--post"),
        ("${A:-f} ${B:-f} ${C:-f}", "f f real"),
        ("${A-f}|${B-f}", "f|"),
        ("${B:+y}|${B+y}|${C:+y}|${A+y}", "|y|y|"),
        ("[${B?needed}]", "[]"),
        ("${A:-${B:-${X:-deep}}}", "deep"),
        ("${D:-${A:?never}}", "dee"),
        ("echo $$HOME $${NAME} $$$$ cost:$$5", "echo $HOME ${NAME} $$ cost:$5"),
        ("100$", "100$"), ("$ 5", "$ 5"), ("a$1b", "a$1b"), ("$-x", "$-x"), ("$", "$"),
        ('${CFG:-{"a":{"b":1}}}', '{"a":{"b":1}}'),
        ("${REG:-r.test}/${IMG:-api}:${TAG:-1}-${ARCH-amd64}", "r.test/api:1-amd64"),
        ("${OUTER}", "${INNER} and $INNER"),
        ('${A:-"q"}', '"q"'),
        ("${A:-a:-b}|${B-a:-b}|${X-a:-b}", "a:-b||a:-b"),
        ("$C$D", "realdee"), ("${C}${D}", "realdee"), ("$C-x", "real-x"),
        ("${A:-{}}", "{}"), ("${A:- spaced }", " spaced "), ("${A:-$C}", "real"),
        ("${C:+${D}}", "dee"), ("${_x1:-u}", "u"), ("${A:-}", ""), ("${A-$$}", "$"),
        ("${A:-x}\n${B:-y}", "x\ny"), ("${c:-lower}", "lower"), ("${C?}", "real"),
    ],
)  # fmt: skip
def test_forms(text: str, result: str) -> None:
    assert Template(ENVIRONMENT.get).substitute(text) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${TAG:?set TAG, e.g. ${EXAMPLE:-1.36}}", "TAG is missing a value: set TAG, e.g. 1.36"),
        ("${RUN_UID?pass RUN_UID}", "RUN_UID is missing a value: pass RUN_UID"),
        ("${B:?}", "required variable B is missing a value$"),
        ("${NAME/foo/bar}", "invalid interpolation format"),
        ("${}", "invalid interpolation format"),
        ("${OPEN", "invalid interpolation format"),
        ("${1A}", "invalid interpolation format"),
        ("${A:=x}", "invalid interpolation format"),
        ("${A:-two\nlines}", "invalid interpolation format"),
        ("${A:-{}} and ${B}", "invalid interpolation format"),
        ("${A:-" * 10_000 + "}" * 10_000, "nested deeper than 20"),
        ("${A:-" * 22 + "}" * 22, "nested deeper than 20"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(ENVIRONMENT.get).substitute(text)


def test_a_variable_that_is_not_set_is_remembered_but_not_with_an_operator() -> None:
    template = Template(ENVIRONMENT.get)
    template.substitute("$ONE ${TWO} ${THREE:-x} ${FOUR+y} $ONE")
    assert template.unset == ["ONE", "TWO"]


def test_an_output_that_explodes_is_refused() -> None:
    with pytest.raises(TemplateError, match="longer than"):
        Template({"A": "x" * 100_000}.get).substitute("$A" * 1000)


@pytest.mark.parametrize(
    "text",
    ["${A:-x}" * 200_000, "$A" * 500_000, "${A:-" * 200_000 + "}", "${A:-{" * 100_000 + "}" * 9,
     "${A:-x\n}" * 100_000, "${A:-{}" * 100_000, "${" * 500_000, ("${A:-" * 40 + "x") * 5000 + "}"],
)  # fmt: skip
def test_long_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(TemplateError):
        Template({}.get).substitute(text)
    assert time.process_time() - started < 3


def test_many_variables_on_one_line() -> None:
    assert Template({}.get).substitute("${A:-x}" * 20_000) == "x" * 20_000


@given(st.text(alphabet='${}:-+?AB\n "x', max_size=60))
def test_any_text_ends_in_a_value_or_an_error(text: str) -> None:
    with contextlib.suppress(TemplateError):
        Template(ENVIRONMENT.get).substitute(text)
    variables(text)


@given(st.text(alphabet="abc ${}", max_size=30))
def test_doubled_dollars_come_back(text: str) -> None:
    assert Template({}.get).substitute(text.replace("$", "$$")) == text


def test_the_variables_of_a_template_with_their_texts() -> None:
    found = [
        (v.name, v.required, v.default, v.alternate)
        for v in variables("${A:-${B:-x}} $C ${D:?m} ${E:+a$F} $$G ${H}${I-1}")
    ]
    assert found == [
        ("A", False, "${B:-x}", ""), ("B", False, "x", ""), ("C", False, "", ""),
        ("D", True, "", ""), ("E", False, "", "a$F"), ("F", False, "", ""), ("H", False, "", ""),
        ("I", False, "1", ""),
    ]  # fmt: skip
