"""Instructions that only change an image's configuration: ENV, CMD, LABEL and the rest. Pure.

Also ``gocker commit --change`` and ``gocker image import --change``. Source: Dockerfile reference.
"""

from __future__ import annotations

import re

from gocker.image import dockerfile as df
from gocker.image.config import RESERVED_LABELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

DEFAULT_SHELL = ["/bin/sh", "-c"]
CONFIGURING = frozenset((
    "ENV", "LABEL", "CMD", "ENTRYPOINT", "USER", "WORKDIR", "EXPOSE", "VOLUME", "STOPSIGNAL",
    "HEALTHCHECK", "SHELL", "MAINTAINER",
))  # fmt: skip
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_TIMES = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
          "start-interval": "StartInterval"}  # fmt: skip


def apply(config: Json, item: df.Instruction, *, keep_command: bool = False) -> None:
    """Change a configuration as an instruction says, whose variables are replaced.

    An ENTRYPOINT clears the command that was inherited, unless `keep_command` says that it is
    the same file's own.

    Raises:
        ValueError: what is wrong with the instruction.
    """
    flags = {"HEALTHCHECK"}
    if item.flags and item.name not in flags:
        raise ValueError(f"{item.name} has no flag --{item.flags[0][0]}")
    _APPLY[item.name](config, item)
    if item.name == "ENTRYPOINT" and not keep_command:
        config.pop("Cmd", None)


def _env(config: Json, item: df.Instruction) -> None:
    for name, value in df.pairs(item.text):
        env = [it for it in config.get("Env") or () if it.partition("=")[0] != name]
        config["Env"] = [*env, f"{name}={value}"]


def _label(config: Json, item: df.Instruction) -> None:
    for name, value in df.pairs(item.text):
        if name.startswith(RESERVED_LABELS):
            raise ValueError(f"the label {name!r} is reserved")
        config.setdefault("Labels", {})[name] = value


def _maintainer(config: Json, item: df.Instruction) -> None:
    config.setdefault("Labels", {})["maintainer"] = item.text


def command(config: Json, text: str) -> list[str]:
    """Return the words of an exec form, or the shell and the text."""
    found = df.json_list(text)
    return found if found is not None else [*(config.get("Shell") or DEFAULT_SHELL), text]


def _cmd(config: Json, item: df.Instruction) -> None:
    config["Cmd"] = command(config, item.text)


def _entrypoint(config: Json, item: df.Instruction) -> None:
    config["Entrypoint"] = command(config, item.text)


def _user(config: Json, item: df.Instruction) -> None:
    config["User"] = item.text


def _workdir(config: Json, item: df.Instruction) -> None:
    config["WorkingDir"] = join(config.get("WorkingDir") or "/", item.text)


def join(directory: str, path: str) -> str:
    """Return an absolute path, ``..`` resolved as if nothing were a link."""
    parts: list[str] = []
    whole = path if path.startswith("/") else f"{directory}/{path}"
    for part in whole.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _expose(config: Json, item: df.Instruction) -> None:
    for word in df.words(item.text):
        match = _PORT.fullmatch(word)
        if match is None or not 0 < int(match[1]) <= int(match[2] or match[1]) < 65536:
            raise ValueError(f"{word!r} is no port")
        for port in range(int(match[1]), int(match[2] or match[1]) + 1):
            config.setdefault("ExposedPorts", {})[f"{port}/{match[3] or 'tcp'}"] = {}


def _volume(config: Json, item: df.Instruction) -> None:
    for path in df.json_list(item.text) or df.words(item.text):
        config.setdefault("Volumes", {})[path] = {}


def _stopsignal(config: Json, item: df.Instruction) -> None:
    config["StopSignal"] = item.text


def _shell(config: Json, item: df.Instruction) -> None:
    found = df.json_list(item.text)
    if not found:
        raise ValueError("SHELL takes a JSON list of words")
    config["Shell"] = found


def _healthcheck(config: Json, item: df.Instruction) -> None:
    kind, _, rest = item.text.partition(" ")
    if kind.upper() == "NONE":
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not rest.strip():
        raise ValueError("HEALTHCHECK takes CMD and a command, or NONE")
    exec_form = df.json_list(rest.strip())
    test = ["CMD", *exec_form] if exec_form is not None else ["CMD-SHELL", rest.strip()]
    check: Json = {"Test": test}
    for name, value in item.flags:
        if name == "retries" and value.isdecimal():
            check["Retries"] = int(value)
        elif name in _TIMES:
            check[_TIMES[name]] = _duration_ns(value)
        else:
            raise ValueError(f"HEALTHCHECK has no --{name}={value}")
    config["Healthcheck"] = check


def _duration_ns(text: str) -> int:
    units = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration, as 30s or 1m30s")
    return round(sum(float(number) * units[unit] for number, unit in parts))


_APPLY = {
    "ENV": _env, "LABEL": _label, "MAINTAINER": _maintainer, "CMD": _cmd,
    "ENTRYPOINT": _entrypoint, "USER": _user, "WORKDIR": _workdir, "EXPOSE": _expose,
    "VOLUME": _volume, "STOPSIGNAL": _stopsignal, "SHELL": _shell, "HEALTHCHECK": _healthcheck,
}  # fmt: skip
