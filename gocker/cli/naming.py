"""Errors about names that nothing has, with what was probably meant."""

from __future__ import annotations

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 20


def no_such_service(names: Iterable[str], known: Iterable[str], where: str = "") -> UsageError:
    """Return the error for names that are no services.

    Args:
        names: those.
        known: the services that there are.
        where: what the message begins with, as ``--scale web=2: ``.
    """
    wrong, there = list(names), sorted(set(known))
    text = f"{where}no such service: {', '.join(map(repr, wrong))}"
    return UsageError(text, hint=meant(wrong[0], there))


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?``, or what there is if nothing is close."""
    from gocker.spec.problems import suggest

    there = list(known)
    if suggestion := suggest(word, there):
        return suggestion
    more = f" and {len(there) - _MOST} more" if len(there) > _MOST else ""
    return f"one of {', '.join(there[:_MOST])}{more}" if there else None
