"""Limits of unpacking: what a layer may cost before it counts as a bomb (security.md C5)."""

from __future__ import annotations

from gocker.errors import HostError
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "GOCKER_IMAGE_LIMITS"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one layer. `ratio`: unpacked to packed bytes; `depth`: directories in one another."""

    bytes: int = 64 << 30
    entries: int = 2_000_000
    ratio: int = 200
    depth: int = 128

    def to_json(self) -> dict[str, int]:
        """Return them by name."""
        return {name: getattr(self, name) for name in self.__match_args__}


def limits(environ: Mapping[str, str]) -> Limits:
    """Return the limits, with those of GOCKER_IMAGE_LIMITS: ``ratio=500,entries=5000000``.

    Raises:
        HostError: if the variable names something else.
    """
    found = Limits().to_json()
    for item in filter(None, environ.get(VARIABLE, "").split(",")):
        name, _, value = item.partition("=")
        if name not in found or not value.isascii() or not value.isdecimal() or int(value) < 1:
            names = ", ".join(found)
            raise HostError(f"{VARIABLE} has {item!r}", hint=f"NAME=NUMBER, of {names}")
        found[name] = int(value)
    return Limits(**found)
