from __future__ import annotations

import pytest

from gocker.errors import SpecError
from gocker.image import buildconfig
from gocker.image.context import Ignore, translate
from gocker.image.dockerfile import Dockerfile, Instruction, expand, pairs, words


def parse(text: str) -> list[Instruction]:
    return Dockerfile(text, "Dockerfile").instructions


def test_lines_continue_over_comments_and_empty_lines() -> None:
    (from_, run) = parse("FROM a\nRUN one \\\n# no\n\n  && two\n")
    assert (from_.name, from_.text, from_.line) == ("FROM", "a", 1)
    assert (run.text.split(), run.line) == (["one", "&&", "two"], 2)


def test_names_are_of_any_case_and_flags_are_apart() -> None:
    (copy,) = parse("copy --from=x --chown=a:b  c d")
    assert copy.name == "COPY"
    assert copy.flags == (("from", "x"), ("chown", "a:b"))
    assert copy.text == "c d"


def test_heredocs_end_at_their_word() -> None:
    (run, env) = parse("RUN <<A cat\n\tx $Y\nA\nENV B=1\n")
    assert run.heredocs[0].content == "\tx $Y\n"
    assert run.heredocs[0].expand
    assert env.line == 4
    (copy,) = parse("COPY <<-'E' /x\n\ta\n\tE\n")
    assert copy.heredocs[0].content == "a\n"
    assert not copy.heredocs[0].expand


def test_another_escape() -> None:
    (run,) = parse("# escape=`\nRUN a `\n  b \\ c\n")
    assert run.text == "a   b \\ c"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM a\nFORM b", 2, "unknown instruction 'FORM'"),
        ("FROM a\nRUN <<X\nb", 2, "has no end"),
        ("FROM a\nENV", 2, "without anything"),
        ("\n# x\n", 1, "no instruction"),
    ],
)
def test_mistakes_have_their_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("Dockerfile", line)
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A/${A}", "1/1"), ("${B:-x$A}", "x1"), ("${A:-x}", "1"), ("${A:+y}", "y"),
        ("${B:+y}", ""), (r"\$A", "$A"), ("$B", ""), (r"a\b", r"a\b"), ("$A$", "1$"),
    ],
)  # fmt: skip
def test_variables(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


def test_another_form_of_a_variable_is_refused() -> None:
    with pytest.raises(ValueError, match="no variable"):
        expand("${A#x}", {})


def test_words_and_pairs() -> None:
    assert words(r"""a "b c" 'd "e' f\ g "h\"i" ''""") == ["a", "b c", 'd "e', "f g", 'h"i', ""]
    assert pairs('A=1 B="2 3"') == [("A", "1"), ("B", "2 3")]
    assert pairs("A the rest = all") == [("A", "the rest = all")]
    with pytest.raises(ValueError, match="quote"):
        words("'a")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.txt", "a.txt", True), ("*.txt", "d/a.txt", False), ("**/*.txt", "d/e/a.txt", True),
        ("**/*.txt", "a.txt", True), ("d/**", "d/e/f", True), ("?", "ab", False),
        ("[a-c]x", "bx", True), ("[^a]x", "ax", False), (r"\*", "*", True), ("a.b", "aXb", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    import re

    assert bool(re.fullmatch(translate(pattern), path)) == matches


def test_the_last_pattern_of_dockerignore_decides() -> None:
    ignore = Ignore("# x\n*.log\n!keep.log\nnode_modules\n/build/\n")
    found = {p for p in ("a.log", "keep.log", "node_modules/x", "build/y", "src/a") if ignore(p)}
    assert found == {"a.log", "node_modules/x", "build/y"}


def test_instructions_change_the_configuration() -> None:
    config: dict[str, object] = {"Env": ["A=0", "P=x"], "Cmd": ["old"]}
    text = (
        'ENV A=1 B="2 3"\nWORKDIR /a\nWORKDIR b/../c\nEXPOSE 80 90-91/udp\nVOLUME ["/v"]\n'
        "ENTRYPOINT run it\nUSER me\nSTOPSIGNAL SIGINT\nLABEL k=v\n"
        "HEALTHCHECK --interval=1m30s --retries=2 CMD probe\n"
    )
    for item in parse(text):
        buildconfig.apply(config, item)
    assert config == {
        "Env": ["P=x", "A=1", "B=2 3"], "WorkingDir": "/a/c",
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}}, "Volumes": {"/v": {}},
        "Entrypoint": ["/bin/sh", "-c", "run it"], "User": "me", "StopSignal": "SIGINT",
        "Labels": {"k": "v"},
        "Healthcheck": {"Test": ["CMD-SHELL", "probe"], "Interval": 90 * 10**9, "Retries": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["EXPOSE 99999", "SHELL sh", "HEALTHCHECK RUN x", "LABEL io.gocker.x=1", "ENV =x",
     "USER --flag=1 me", "HEALTHCHECK --interval=soon CMD x"],
)  # fmt: skip
def test_what_an_instruction_cannot_say_is_refused(text: str) -> None:
    (item,) = parse(text)
    with pytest.raises(ValueError, match=r"."):
        buildconfig.apply({}, item)
