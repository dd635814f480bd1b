"""Names of images, as people write them, and the transports they come from. Pure.

Source: the grammar of distribution/reference (``domain/path:tag@digest``), and skopeo's words
for transports (containers-transports(5)).
"""

from __future__ import annotations

import os
import re

from gocker.errors import PlanError
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["host", "rootfs", "bins", "docker", "oci", "oci-archive", "docker-archive", "id"]

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
# What becomes a path is matched against this first (security.md C6).
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_HINT = (
    "a name as debian:12 or registry.example/team/app:tag; oci:DIR, oci-archive:FILE, "
    "docker-archive:FILE; rootfs:DIRECTORY or rootfs:FILE.tar; host:/ (this host's files); "
    "bins:sh,cat (some of its programs)"
)
# Transports whose value is a path, with an image's name behind a colon.
_FILES = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a registry. `tag` and `digest` may both be there; then the digest counts."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def repository(self) -> str:
        """The name without tag and digest, whole."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag and not self.digest else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The shortest form that means the same."""
        return familiar(str(self))


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference.

    `value`: the path, or the programs of ``bins:`` with commas; `name` is a registry's;
    `selector`: which image of a layout or archive, by its tag or name. ``id``: what is here
    already, by the digest of its manifest or configuration.
    """

    kind: Kind
    value: str
    name: Name | None = None
    selector: str = ""


def parse(ref: str) -> Reference:
    """Return the parts of a reference.

    Raises:
        PlanError: if it is of no kind that gocker knows; the hint names those.
    """
    kind, colon, value = ref.partition(":")
    if colon and kind == "host":
        if value != "/":
            raise PlanError(f"image {ref!r}: only host:/ is supported", hint=_HINT)
        return Reference("host", value)
    if colon and kind == "rootfs":
        if not value or "\0" in value:
            raise PlanError(f"image {ref!r} names no directory", hint="rootfs:DIRECTORY")
        return Reference("rootfs", value)
    if colon and kind == "bins":
        names = [name.strip() for name in value.split(",")]
        if not all(names):
            raise PlanError(f"image {ref!r}: a program's name is empty", hint="bins:sh,cat,sleep")
        return Reference("bins", ",".join(names))
    if colon and kind in _FILES:
        return _file(ref, kind, value)
    if DIGEST.fullmatch(ref.removeprefix("@")):
        return Reference("id", ref.removeprefix("@"))
    if ref.startswith("docker://"):
        value = ref.removeprefix("docker://")
        return Reference("docker", value, parse_name(value))
    return Reference("docker", ref, parse_name(ref))


def _file(ref: str, kind: str, value: str) -> Reference:
    # skopeo's rule: what follows the first colon is the image's name or tag.
    path, _, selector = value.partition(":")
    if not path or "\0" in value:
        raise PlanError(f"image {ref!r} names no path", hint=f"{kind}:PATH or {kind}:PATH:TAG")
    return Reference(kind, path, selector=selector)  # type: ignore[arg-type]  # one of _FILES


def parse_name(text: str) -> Name:
    """Return the parts of a registry's name, with ``docker.io``, ``library/`` and ``latest`` filled in.

    Raises:
        PlanError: if it does not follow the grammar.
    """  # noqa: E501  # the first line is one sentence
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise PlanError(
            f"image {text!r}: {digest!r} is no digest", hint="sha256: and 64 hexadecimal digits"
        )
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    elif not TAG.fullmatch(tag):
        raise PlanError(f"image {text!r}: {tag!r} is no tag", hint=_HINT)
    domain, slash, path = head.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost"):
        domain, path = DEFAULT_DOMAIN, head
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise PlanError(f"image {text!r} is no image's name", hint=_HINT)
    if len(domain) + len(path) > MAX_NAME:
        raise PlanError(f"image {text[:60]!r}... has a name of more than {MAX_NAME} characters")
    if re.fullmatch("[0-9a-f]{64}", head):
        raise PlanError(f"image {text!r} is an identifier", hint=f"sha256:{head}")
    return Name(domain, path, tag or (None if at else DEFAULT_TAG), digest if at else None)


def familiar(name: str) -> str:
    """Return the shortest form of a whole name."""
    return name.removeprefix(f"{DEFAULT_DOMAIN}/").removeprefix("library/")


def absolute(reference: Reference, directory: str) -> str:
    """Return the path that a reference to a file stands for, and its selector, as one name."""
    path = os.path.realpath(os.path.join(directory, reference.value))
    selector = f":{reference.selector}" if reference.selector else ""
    return f"{reference.kind}:{path}{selector}"
