"""YAML: Compose's scalars, places, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.spec.nodes import Mapping, Scalar, Sequence, plain
from gocker.spec.parse import MAX_DEPTH, parse
from gocker.spec.problems import Problems


def read(text: str | bytes) -> tuple[list[Any], list[str]]:
    problems = Problems()
    data = text if isinstance(text, bytes) else text.encode()
    documents = parse(data, "f.yaml", problems)
    return [plain(document.root) for document in documents], [str(p) for p in problems.found]


def value(text: str) -> Any:
    documents, problems = read(f"a: {text}")
    assert problems == []
    return documents[0]["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"),
        ("true", True), ("True", True), ("FALSE", False), ("tRue", "tRue"),
        ("0x1F", 31), ("0o17", 15), ("0777", 511), ("0b101", 5), ("1_000", 1000), ("+1", 1),
        ("-0x1f", -31),
        ("00", 0),
        ("0", 0),
        ("-5", -5),
        ("089", 89.0),
        ("0o9", "0o9"),
        ("0x", "0x"),
        ("1.10", 1.1), ("3.0", 3.0), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-.5", -0.5),
        ("1e400", "1e400"), ("99999999999999999999", 1e20), ("12:30:45", "12:30:45"),
        ("2031-02-03", "2031-02-03"), ("~", None), ("null", None), ("Null", None), ("", None),
        ('"null"', "null"), ("'5'", "5"), ("-", ["-"]), ("1a", "1a"), (".", "."), ("+", "+"),
        ("!!str 5", "5"), ("! 5", "5"), ("!!int 5", 5), ("!!float 5", 5.0), ("!!bool true", True),
        ("!!null ~", None), ('!!int "5"', 5), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars(text: str, expected: Any) -> None:
    if text == "-":
        text, expected = '["-"]', ["-"]
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[22:22]", ["22:22"]),
        ("[::1, a]", ["::1", "a"]),
        ("{b: x:1}", {"b": "x:1"}),
        ("{b: http://x?y=1}", {"b": "http://x?y=1"}),
        ("[127.0.0.1::80]", ["127.0.0.1::80"]),
        ("{'x':1}", {"x": 1}),
        ("[a?b]", ["a?b"]),
        ("[\n  8080:80,\n  x\n]", ["8080:80", "x"]),
        ("[b: c]", [{"b": "c"}]),
        ("[\"a:b\", 'c:d']", ["a:b", "c:d"]),
        ("[é:ü]", ["é:ü"]),
        ("{b: [c:d, {e: f:g}]}", {"b": ["c:d", {"e": "f:g"}]}),
        ("[!<tag:yaml.org,2002:str> 5:6]", ["5:6"]),
    ],
)
def test_flow_collections_are_those_of_yaml_1_2(text: str, expected: Any) -> None:
    assert value(text) == expected


def test_flow_collections_do_not_change_other_text() -> None:
    text = "a: [1:2]\nb: |\n  x:y\n  ?z\nc: \"u:v\" # w:x\n'd:e': f:g\n\ue000: \ue001"
    documents, problems = read(text)
    assert problems == []
    assert documents == [
        {"a": ["1:2"], "b": "x:y\n?z\n", "c": "u:v", "d:e": "f:g", "\ue000": "\ue001"}
    ]


def test_merge_keys_are_shallow_and_the_first_wins() -> None:
    documents, problems = read(
        "a: &a {k: 1, l: {x: 1}}\nb: &b {k: 2, m: 3}\nc: {<<: *a, l: {y: 2}}\nd: {<<: [*a, *b]}\n"
    )
    assert problems == []
    assert documents[0]["c"] == {"k": 1, "l": {"y": 2}}
    assert documents[0]["d"] == {"k": 1, "l": {"x": 1}, "m": 3}


def test_documents_and_byte_order_marks() -> None:
    assert read("a: 1\n---\nb: 2\n")[0] == [{"a": 1}, {"b": 2}]
    assert read("\ufeffa: 1")[0] == [{"a": 1}]
    assert read("a: é".encode("utf-16"))[0] == [{"a": "é"}]


def test_every_node_knows_its_place() -> None:
    documents = parse(b"a:\n  - b: c\n", "f.yaml", Problems())
    root = documents[0].root
    assert isinstance(root, Mapping)
    listed = root.items["a"]
    assert isinstance(listed, Sequence)
    inner = listed.items[0]
    assert isinstance(inner, Mapping)
    leaf = inner.items["b"]
    assert isinstance(leaf, Scalar)
    assert [str(node.place) for node in (root, listed, inner, leaf)] == [
        "f.yaml:1:1", "f.yaml:2:3", "f.yaml:2:5", "f.yaml:2:8",
    ]  # fmt: skip
    assert str(root.key_place("a")) == "f.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: mapping key 'a' already defined at line 1"),
        ("l: {1: x}", "f.yaml:1:5: l: non-string key 1 (quote it)"),
        ("l: {? [a] : x}", "f.yaml:1:7: l: non-string key a collection (quote it)"),
        ("a: &a [*a]", "f.yaml:1:8: a[0]: alias 'a' is inside what it stands for"),
        ("a: *b", "f.yaml:1:4: a: unknown anchor 'b'"),
        ("a: !foo x", "f.yaml:1:4: a: unsupported YAML tag '!foo'"),
        ("a: !!binary eA==", "f.yaml:1:4: a: unsupported YAML tag '!!binary'"),
        ("a: !!int x", "f.yaml:1:4: a: 'x' is not a value of type !!int"),
        ("a: .inf", "f.yaml:1:4: a: '.inf' is not a finite number"),
        ("<<: 3", "f.yaml:1:5: <<: '<<' needs a mapping or a list of mappings"),
        (b"a: \x00", "f.yaml:1:4: invalid YAML: control characters are not allowed"),
        (b"a: 1\nb: \xff", "f.yaml:2:4: invalid YAML: invalid leading UTF-8 octet"),
        ('"a\\0": b', "f.yaml:1:1: NUL character"),
        ('a: ["\\0"]', "f.yaml:1:5: a[0]: NUL character"),
        ("a: @x", "f.yaml:1:4: invalid YAML: found character that cannot start any token"),
    ],
)
def test_mistakes_have_a_place(text: str | bytes, expected: str) -> None:
    assert read(text)[1][0].startswith(expected)


TAGS = [
    "!!python/object/apply:os.system", "!!python/name:os.system", "!!python/module:os",
    "!!python/object/new:os.system", "!!python/tuple", "!!python/str", "!!set", "!!omap",
    "!!binary", "!!timestamp", "!ruby/object:X", "!include", "!!js/function", "!env", "!!pairs",
]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("text", ["a: {} x", "a: {} [x]", "a: {} {{b: c}}", "{} a: b", "- &b {} x"])
def test_no_tag_makes_an_object(tag: str, text: str) -> None:
    problems = read(text.format(tag))[1]
    assert any("unsupported YAML tag" in problem for problem in problems)


def test_deep_nesting_is_refused_without_recursion() -> None:
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 50_000 + "x"):
        assert any("deeper" in problem for problem in read(text)[1])
    depth = MAX_DEPTH // 2 + 1
    bomb = f"a: &a {'[' * depth}{']' * depth}\nb: &b {'[' * depth}*a{']' * depth}"
    assert any("deeper" in problem for problem in read(bomb)[1])


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    started = time.process_time()
    assert any("expand to more" in problem for problem in read("\n".join(lines))[1])
    maps = ["m0: &m0 {k: v}"]
    maps += [
        f"m{i}: &m{i} {{{', '.join(f'k{j}: *m{i - 1}' for j in range(10))}}}" for i in range(1, 9)
    ]
    merged = "\n".join([*maps, "z: {<<: [*m8, *m8]}"])
    assert any("expand to more" in problem for problem in read(merged)[1])
    assert time.process_time() - started < 2


@given(st.binary(max_size=200))
def test_any_bytes_end_in_nodes_or_problems(data: bytes) -> None:
    read(data)


@given(st.text(alphabet="ab:-[]{}?!&*<#|>'\"%@, \n\t", max_size=60))
def test_any_yaml_like_text_ends_in_nodes_or_problems(text: str) -> None:
    read(text)


def test_ruamel_yaml_works_after_its_scanner_was_loaded_alone() -> None:
    code = (
        "from gocker.spec import scanner; import sys; scanner.load();"
        "assert 'ruamel.yaml' not in sys.modules;"
        "import ruamel.yaml; print(ruamel.yaml.YAML(typ='safe').load('a: [1]'))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "{'a': [1]}\n", result.stderr
