"""RUN and ADD: their words, mounts and limits."""

from __future__ import annotations

import os

from gocker.digest import hexdigest
from gocker.image import buildconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gocker.image import dockerfile as df
    from gocker.image.context import Files


def mount(text: str, context: Files, secrets: Mapping[str, str], caches: str) -> dict[str, Any]:
    """Return a ``--mount`` as the spec has volumes.

    Args:
        text: the flag's value.
        context: what bind mounts show.
        secrets: files by their ids.
        caches: where the directories of cache mounts are.

    Raises:
        ValueError: if it is none, or of a kind that is not supported.
    """
    options = dict(part.partition("=")[::2] for part in text.split(","))
    kind = options.get("type", "bind")
    target = options.get("target") or options.get("dst") or options.get("destination") or ""
    if kind == "secret":
        return _secret(options, target, secrets)
    if not target:
        raise ValueError(f"--mount={text} has no target")
    if kind == "tmpfs":
        return {"type": "tmpfs", "target": target}
    if kind == "cache":
        source = os.path.join(caches, hexdigest((options.get("id") or target).encode())[:32])
        os.makedirs(source, 0o755, exist_ok=True)
        return {"type": "bind", "source": source, "target": target}
    if kind != "bind":
        raise ValueError(f"--mount=type={kind} is not supported")
    if options.get("from"):
        raise ValueError("--mount=from= is not supported; use COPY --from")
    path = context.resolve(options.get("source") or options.get("src") or "")
    if path is None:
        raise ValueError(f"--mount={text}: the source is not in the context")
    source = os.path.join(context.layers[0], path)
    return {"type": "bind", "source": source, "target": target, "read_only": True}


def _secret(options: dict[str, str], target: str, secrets: Mapping[str, str]) -> dict[str, Any]:
    name = options.get("id") or os.path.basename(target)
    target = target or f"/run/secrets/{name}"
    if name not in secrets:
        if options.get("required") in ("", "true"):
            raise ValueError(f"the secret {name!r} is required: --secret id={name},src=FILE")
        return {"type": "tmpfs", "target": os.path.dirname(target)}
    source = os.path.abspath(secrets[name])
    return {"type": "bind", "source": source, "target": target, "read_only": True}


def argv(config: dict[str, Any], item: df.Instruction) -> list[str]:
    """Return the words of a RUN: exec form, shell form, or a heredoc as the script."""
    shell = config.get("Shell") or buildconfig.DEFAULT_SHELL
    if not item.heredocs:
        return buildconfig.command(config, item.text)
    first = item.heredocs[0]
    alone = item.text.strip().replace("'", "").replace('"', "").replace("<<-", "<<")
    if len(item.heredocs) == 1 and alone == f"<<{first.name}":
        if first.content.startswith("#!"):
            return _interpreted(first.content)
        return [*shell, first.content]
    documents = "".join(f"{it.content}{it.name}\n" for it in item.heredocs)
    return [*shell, f"{item.text}\n{documents}"]


def _interpreted(script: str) -> list[str]:
    """Return the words for a heredoc that begins with ``#!``."""
    interpreter = script[2:].split("\n", 1)[0].split()
    name = os.path.basename(interpreter[-1]) if interpreter else ""
    if not name.startswith(("sh", "bash", "dash", "ash", "zsh", "python")):
        raise ValueError(f"a heredoc for {name!r} is not supported; COPY it as a file")
    return [*interpreter, "-c", script]


def check_add(sources: list[str], context: Files) -> None:
    """Refuse what ADD does beyond COPY.

    Raises:
        ValueError: for a URL, and an archive that it would unpack.
    """
    for source in sources:
        if "://" in source or source.startswith("git@"):
            raise ValueError("ADD of a URL is not supported; download it in a RUN")
        for path in context.match(source):
            if path.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")):
                raise ValueError(
                    f"ADD would unpack {path!r}, which is not supported; COPY it and unpack it "
                    "in a RUN"
                )
