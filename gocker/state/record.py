"""Small records on disk that decide what is stopped or removed: JSON with a seal.

A flipped bit in a project's name would bring down another project, so a record holds a digest
of itself, and one that does not fit is damaged: it decides nothing and is kept aside.

Schemas: 1 had no digest. 2 (this one) has. A record of an earlier schema is read as it is, by
`_MIGRATIONS`, and never rewritten, so that nothing can die half way; one of a later schema is
refused, because nobody knows what else it says.
"""

from __future__ import annotations

from gocker import jsontext
from gocker.digest import hexdigest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SCHEMA_VERSION = 2
NOT_READABLE = "is missing or not readable"


def _from_1(facts: dict[str, Any]) -> dict[str, Any]:
    return facts


# Schema -> what makes a record of the next one of it.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def seal(facts: dict[str, Any]) -> bytes:
    """Return a record's content: the facts with this schema and the digest."""
    body = {**facts, "schema": SCHEMA_VERSION}
    body.pop("digest", None)
    return jsontext.dumps({**body, "digest": _digest(body)}).encode()


def unseal(content: bytes | None) -> tuple[dict[str, Any] | None, str | None]:
    """Return a record's facts, or None and the reason, which begins with a verb.

    The reason of a record that a newer gocker wrote comes with the facts it has: they are for
    showing, and nothing may be decided by them.
    """
    try:
        facts = jsontext.loads(content or b"")
    except (ValueError, RecursionError):
        return None, NOT_READABLE
    if not isinstance(facts, dict):
        return None, NOT_READABLE
    digest = facts.pop("digest", None)
    schema = facts.get("schema", 1)  # the owners of volumes had none at first
    if digest is not None and digest != _digest(facts):
        return None, "does not fit its digest"
    if type(schema) is not int or schema < 1 or (schema == SCHEMA_VERSION and digest is None):
        return None, NOT_READABLE
    if schema > SCHEMA_VERSION:
        return facts, newer(schema)
    while schema < SCHEMA_VERSION:
        facts = _MIGRATIONS[schema](facts)
        schema += 1
    return facts, None


def newer(schema: int) -> str:
    """Return the reason for a record of a later schema."""
    return f"has schema {schema}; this gocker knows schemas up to {SCHEMA_VERSION}"


def _digest(facts: dict[str, Any]) -> str:
    return hexdigest(jsontext.dumps(facts, sort_keys=True).encode())
