"""An image's configuration as input: what it may set, checked before a container uses it.

Labels of reserved namespaces are left out (an image must not claim to belong to a project), and
what no container could have is refused by name. Source: image-spec config.md.
"""

from __future__ import annotations

import re

from gocker.image.document import checked_digest, wrong
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

RESERVED_LABELS = ("com.docker.compose.", "io.gocker.", "io.podman.compose.")
_MAX_ENV = 131_000  # MAX_ARG_STRLEN, execve(2)
_MAX_WORDS = 10_000
_SIGNAL = re.compile(r"(?:SIG)?(?:[A-Z]{2,9}[0-9]?|RTMIN(?:\+[0-9]{1,2})?|RTMAX(?:-[0-9]{1,2})?)"
                     r"|[1-9][0-9]?")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Config:
    """What a container takes from its image unless the service says otherwise.

    `healthcheck` is OCI's object, times in nanoseconds; `volumes`: absolute paths.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    healthcheck: Mapping[str, Any] = field(default_factory=dict)
    shell: tuple[str, ...] = ()
    diff_ids: tuple[str, ...] = ()


def config(document: Json) -> Config:
    """Return the checked configuration of an image's document.

    Raises:
        HostError: naming the part that cannot be.
    """
    own = document.get("config") or {}
    if not isinstance(own, dict):
        raise wrong("its config is no object")
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise wrong("its config has no rootfs")
    return Config(
        env=_env(own.get("Env")),
        entrypoint=_words(own.get("Entrypoint"), "Entrypoint"),
        command=_words(own.get("Cmd"), "Cmd"),
        working_dir=_working_dir(own.get("WorkingDir")),
        user=_text(own.get("User"), "User"),
        stop_signal=_stop_signal(own.get("StopSignal")),
        volumes=tuple(_volume(path) for path in _keys(own.get("Volumes"), "Volumes")),
        exposed=tuple(_keys(own.get("ExposedPorts"), "ExposedPorts")),
        labels=_labels(own.get("Labels")),
        healthcheck=_healthcheck(own.get("Healthcheck")),
        shell=_words(own.get("Shell"), "Shell"),
        diff_ids=tuple(checked_digest(item) for item in rootfs.get("diff_ids") or ()),
    )


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value or "\n" in value or len(value) > 4096:
        raise wrong(f"its {what} {str(value)[:60]!r} cannot be")
    return value


def _words(value: object, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_WORDS:
        raise wrong(f"its {what} is no list")
    for word in value:
        if not isinstance(word, str) or "\0" in word or len(word) > _MAX_ENV:
            raise wrong(f"its {what} has a word that no program can get")
    return tuple(value)


def _env(value: object) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in _words(value, "Env"):
        name, equals, text = item.partition("=")
        if not equals or not name or not name.isprintable() or any(c.isspace() for c in name):
            raise wrong(f"its Env has {item[:60]!r}, which is no variable")
        found[name] = text
    return found


def _working_dir(value: object) -> str:
    path = _text(value, "WorkingDir") or "/"
    parts = path.split("/")
    if ".." in parts or (path.startswith("/proc/") and "fd" in parts):
        raise wrong(f"its WorkingDir is {path[:60]!r}")
    return path if path.startswith("/") else f"/{path}"


def _stop_signal(value: object) -> str:
    text = _text(value, "StopSignal")
    if text and (not _SIGNAL.fullmatch(text.upper()) or (text.isdecimal() and int(text) > 64)):
        raise wrong(f"its StopSignal {text[:40]!r} is no signal")
    return text


def _keys(value: object, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, dict) or len(value) > 1000:
        raise wrong(f"its {what} are no object")
    return [_text(key, what) for key in value]


def _volume(path: str) -> str:
    """Return the path, with ``..`` resolved as if the image's root were its own parent."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if not parts:
        raise wrong("one of its Volumes is its root")
    return "/" + "/".join(parts)


def _labels(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 10_000:
        raise wrong("its Labels are no object")
    return {
        key: text
        for key, text in value.items()
        if isinstance(text, str) and not key.startswith(RESERVED_LABELS)
    }


_CHECK_TIMES = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


def _healthcheck(value: object) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong("its Healthcheck is no object")
    found: Json = {}
    test = _words(value.get("Test"), "Healthcheck")
    if test:
        if test[0] not in ("NONE", "CMD", "CMD-SHELL") or (test[0] != "NONE" and not test[1:]):
            raise wrong(f"the Test of its Healthcheck is {list(test)[:3]!r}")
        found["Test"] = list(test)
    for key in _CHECK_TIMES:
        number = value.get(key) or 0
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 63:
            raise wrong(f"{key} of its Healthcheck is {str(number)[:40]}")
        if number:
            found[key] = number
    return found
