"""The short forms, and checks within one part: plain functions on plain values.

The models and the records (`gocker.spec.model.records`) share them, so nothing here may
import pydantic. A ValueError is in words for the user.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from gocker.spec.model.units import shown

MATRIX_KEYS = ("include", "exclude", "max_parallel", "fail_fast")


def one_or_more(value: Any) -> Any:
    """Return a list for a single value."""
    return [value] if isinstance(value, str | int) else value


def hosts(value: Any) -> Any:
    """Return ``{name: [address]}`` for a list of ``name=address`` or ``name:address``."""
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, list[str]] = {}
    for line in value:
        text = str(line)
        name, separator, address = text.partition("=" if "=" in text else ":")
        if not separator:
            raise ValueError(f"{shown(line)} is not name=address")
        found.setdefault(name, []).append(address.removeprefix("[").removesuffix("]"))
    return found


def ulimit(value: Any) -> Any:
    """One number is both limits. The reference's model leaves zeros out: ``{}`` is 0."""
    if value == {}:
        value = 0
    return {"soft": value, "hard": value} if isinstance(value, int | str) else value


def secret(value: Any) -> Any:
    """Refuse a secret without a source, or with two."""
    return _one_source(value, ("file", "environment"))


def config(value: Any) -> Any:
    """Refuse a config without a source, or with two."""
    return _one_source(value, ("file", "environment", "content"))


def _one_source(value: Any, sources: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        given = [source for source in sources if value.get(source) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"needs exactly one of {', '.join(sources)}; it has {found}")
    return value


def retry(value: Any) -> Any:
    """A number is the number of retries."""
    is_number = isinstance(value, int | str) and not isinstance(value, bool)
    return {"max": value} if is_number else value


def allow_failure(value: Any) -> Any:
    """A boolean is about every failure."""
    return {"any": value} if isinstance(value, bool) else value


def artifacts(value: Any) -> Any:
    """A list is the paths."""
    return {"paths": value} if isinstance(value, list | tuple | str) else value


def reports(value: Any) -> Any:
    """A list is JUnit files."""
    return {"junit": value} if isinstance(value, list | tuple | str) else value


def ready(value: Any) -> Any:
    """Refuse both conditions, and none."""
    if isinstance(value, dict) and len({"log", "port"} & value.keys()) != 1:
        raise ValueError("needs either log or port")
    return value


def limit_policy(value: Any) -> Any:
    """A word is what to do."""
    return {"enforce": value} if isinstance(value, str) else value


def landlock(value: Any) -> Any:
    """Switch it off by a word."""
    return {"off": True} if value in ("off", False) else value


def matrix(value: Any) -> Any:
    """Gather the variables, which stand beside the matrix's own keys in the file."""
    if not isinstance(value, dict):
        return value
    own = {key: value[key] for key in MATRIX_KEYS if key in value}
    variables = {key: item for key, item in value.items() if key not in MATRIX_KEYS}
    return {**own, "variables": variables}


def to_text(value: Any) -> str:
    """Return a value as a variable holds it: GitHub's text for true, false and integers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # pydantic makes a problem of a ValueError only.
        raise ValueError(f"{value!r} must be in quotes: without them 3.10 means 3.1")  # noqa: TRY004
    raise ValueError(f"{shown(value)} is not a value; write text, a whole number or a boolean")


def healthcheck(it: Any) -> None:
    """Refuse a test that names no program."""
    kind, *argv = it.test or ("NONE",)
    if kind not in {"NONE", "CMD", "CMD-SHELL"}:
        raise ValueError("test must start with CMD, CMD-SHELL or NONE")
    if kind != "NONE" and not argv:
        raise ValueError(f"test: {kind} names no program")
    if kind == "CMD-SHELL" and len(argv) > 1:
        raise ValueError("test: CMD-SHELL takes one string; use CMD for an argv")


def combinations(it: Any) -> None:
    """Refuse a matrix without any combination."""
    for entry in it.exclude:
        unknown = sorted(entry.keys() - it.variables.keys())
        if unknown:
            raise ValueError(f"exclude names {unknown[0]!r}, which is no variable of the matrix")
    if not expand(it):
        raise ValueError("the matrix has no combination")


def expand(it: Any) -> list[dict[str, str]]:
    """Return the combinations of a matrix, in the order of the file.

    GitHub's rules: `exclude` removes every combination that has all its values; then each
    entry of `include` extends all combinations of whose own variables it changes none, and
    becomes a combination of its own if there is no such one.
    """
    names = list(it.variables)
    own = [
        combination
        for values in (product(*it.variables.values()) if names else ())
        if (combination := dict(zip(names, values, strict=True)))
        and not any(entry.items() <= combination.items() for entry in it.exclude)
    ]
    extended = [dict(combination) for combination in own]
    added: list[dict[str, str]] = []
    for entry in it.include:
        hits = [
            index
            for index, combination in enumerate(own)
            if all(combination.get(key, value) == value for key, value in entry.items())
        ]
        for index in hits:
            extended[index] |= entry
        if not hits:
            added.append(dict(entry))
    return extended + added


def replicas(service: Any) -> int:
    """Return the number of copies: ``scale``, else ``deploy.replicas``, else 1."""
    if service.scale is not None:
        return int(service.scale)
    if service.deploy is not None and service.deploy.replicas is not None:
        return int(service.deploy.replicas)
    return 1


def enabled(it: Any) -> bool:
    """Return whether a health check has something to probe."""
    return not it.disable and it.test not in (None, (), ("NONE",))
