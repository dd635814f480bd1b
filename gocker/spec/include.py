"""``include``: adds another application's resources, loaded in its own directory."""

from __future__ import annotations

import os

from gocker.spec import files, schema
from gocker.spec.dotenv import read_env_file
from gocker.spec.extends import MAX_CHAIN, is_remote
from gocker.spec.nodes import Mapping, Scalar, Sequence, plain
from gocker.spec.paths import join
from gocker.spec.problems import failure
from gocker.spec.reset import delete
from gocker.spec.schema_data import INCLUDE, SECTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.spec.documents import Documents
    from gocker.spec.nodes import Node
    from gocker.spec.reset import Path


def include(loader: Documents, document: Mapping, paths: list[Path], name: str) -> Mapping:
    """Return `document`, read from the file `name`, with what it includes added."""
    entries = document.get("include")
    if entries is None:
        return document
    items = {key: item for key, item in document.items.items() if key != "include"}
    document = Mapping(items, document.place, document.keys)
    if isinstance(entries, Scalar) and entries.value is None:
        return document
    if not isinstance(entries, Sequence):
        loader.problems.add(entries.place, "include", "must be a list")
        return document
    for index, entry in enumerate(entries.items):
        imported = _included(loader, entry, f"include[{index}]", name)
        if imported is not None:
            document = _imported(loader, document, imported, paths)
    return document


def _included(loader: Documents, entry: Node, path: str, name: str) -> Mapping | None:
    """Return the project of one entry of ``include``, None after a problem."""
    before = len(loader.problems.found)
    schema.validate(entry, INCLUDE, path, loader.problems)
    if len(loader.problems.found) > before:
        return None
    config = plain(entry)
    if isinstance(config, str):
        config = {"path": config}
    names = _strings(config["path"])
    if not names or any(is_remote(one, entry.place, path, loader.problems) for one in names):
        return None
    names = [one if one.startswith("/") else join(loader.working_dir, one) for one in names]
    chain = (*loader.chain, name)
    if names[0] in chain or len(chain) > MAX_CHAIN:
        shown = " includes ".join((*chain, names[0])[-8:])
        raise failure(entry.place, path, f"include cycle detected: {shown}")
    folder = config.get("project_directory") or os.path.dirname(names[0])
    folder = folder if folder.startswith("/") else join(loader.working_dir, folder)
    environment = _environment(loader, entry, config, folder, path)
    return loader.below(folder, environment, name).load(names, entry.place)


def _environment(
    loader: Documents, entry: Node, config: dict[str, object], folder: str, path: str
) -> dict[str, str]:
    """Return the environment for an included file: its own ``.env`` gives only defaults."""
    names = _strings(config.get("env_file"))
    if names:
        names = [
            one if one.startswith("/") else join(loader.working_dir, one)
            for one in names
            if one != "/dev/null"
        ]
    else:
        default = join(folder, ".env")
        names = [default] if files.exists(default) and not files.is_dir(default) else []
    found: dict[str, str] = {}
    for one in names:
        read_env_file(one, found, loader.environment, loader.problems, entry.place, path)
    return {**found, **loader.environment}


def _imported(
    loader: Documents, document: Mapping, imported: Mapping, paths: list[Path]
) -> Mapping:
    """Add included resources; where both sides have one, the including file wins."""
    changed: dict[str, Node] = {}
    for section in SECTIONS:
        given = imported.get(section)
        if not isinstance(given, Mapping):
            continue
        own = document.get(section)
        if own is None:
            own = Mapping({}, document.place)
        if not isinstance(own, Mapping):
            continue
        items = dict(own.items)
        for name, item in given.items.items():
            if name in items:
                reset = [p[2:] for p in paths if p[:2] == (section, name) and len(p) > 2]
                whole = (section, name) in paths
                base = delete(item, reset) if isinstance(item, Mapping) else item
                if not whole:
                    items[name] = loader.merger.resource(
                        base, items[name], section, f"{section}.{name}"
                    )
            else:
                items[name] = item
        changed[section] = Mapping(items, own.place, {**given.keys, **own.keys})
    return Mapping({**document.items, **changed}, document.place, document.keys)


def _strings(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [value] if isinstance(value, str) else []
