"""Lets libyaml 0.1.7 read YAML 1.2 flow collections: ``[8080:80]``, ``{image: busybox:1}``.

The libyaml inside ruamel.yaml.clib ends a plain scalar in a flow collection at any colon or
question mark. YAML 1.2, like the reference loader, does so only before a space. So those
characters are replaced by two of Unicode's private use before the scan, wherever they stand
before something else, and put back in every scalar after it. One character stands for one, so
lines and columns stay right; in block scalars, quotes and comments the exchange is harmless.
"""

from __future__ import annotations

import re

# Not after a bracket or a quoted text: there a colon ends a key, as in {"a":1}. A quote opens a
# text only where a scalar may start; texts end with their line, because keys do.
_COLON = re.compile(
    rb"""((?:^|(?<=[\[{,:?])|(?<=-[ \t]))[ \t]*(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'))[ \t]*:?"""
    rb"""|(?<![]}]):(?=[^\s,\[\]{}])""",
    re.MULTILINE,
)
# The same for a text without quotes; it begins with the character that is looked for.
_BARE_COLON = re.compile(rb":(?<![]}]:)(?=[^\s,\[\]{}])")
# A question mark is an indicator only alone: not at the end of a word, as in [ready?].
_QUESTION = re.compile(rb"(?<=[^\s,\[\]{}])\?|\?(?=[^\s,\[\]{}])")
# Tags may hold colons and must not hold the replacement.
_TAGS = re.compile(rb"(!<[^>\n]*>|(?<![^\s\[{,])![^\s,\[\]{}]*|^%TAG[^\n]*)", re.MULTILINE)


def protect(data: bytes) -> tuple[bytes, dict[int, str] | None]:
    """Return the text to scan and the table for `str.translate` that undoes the exchange."""
    if not (b"[" in data or b"{" in data) or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data, None
    colon, question = _unused(data)
    instead = colon.encode()

    def exchange(found: re.Match[bytes]) -> bytes:
        quoted = found[1]
        # One substitution for all: within quotes it is harmless, and behind them it must not be.
        return (
            instead if quoted is None
            else quoted.replace(b":", instead) + found[0][len(quoted):]
        )  # fmt: skip

    # The expressions are slow where there is nothing to find; looking for a character is not.
    has_tags, has_questions = b"!" in data or b"%TAG" in data, b"?" in data
    has_quotes = b'"' in data or b"'" in data
    parts = _TAGS.split(data) if has_tags else [data]
    for index in range(0, len(parts), 2):
        parts[index] = (
            _COLON.sub(exchange, parts[index]) if has_quotes
            else _BARE_COLON.sub(instead, parts[index])
        )  # fmt: skip
        if has_questions:
            parts[index] = _QUESTION.sub(question.encode(), parts[index])
    return b"".join(parts), {ord(colon): ":", ord(question): "?"}


def _unused(data: bytes) -> tuple[str, str]:
    """Return two characters of private use that `data` does not have."""
    free = (chr(code) for code in range(0xE000, 0xF8FF) if chr(code).encode() not in data)
    return next(free), next(free)
