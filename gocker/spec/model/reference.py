"""docs/spec.md, from the table of support and the descriptions of the models.

``python -m gocker.spec.model.reference`` writes it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gocker.spec import support
from gocker.spec.jsonschema import Generator
from gocker.spec.model import units
from gocker.spec.support import Branch, Row

HEAD = """\
# The spec, key by key

Made from `gocker/spec/support.py` and the models by `python -m gocker.spec.model.reference`.

A gocker spec is a Compose file. Every path of the Compose Specification's schema is in these
tables, itself or through the key above it, and no key is silently ignored:

| | |
|---|---|
| honoured | has its full meaning, or the part that the row says |
| warned | accepted without effect, said on stderr and in the run's log; `--strict` refuses it |
| later | not built yet, refused by name until then |
| refused | has no meaning here, refused by name |

Values that change nothing (`false`, null, empty ones, and those named) are always accepted.
`*` is any name, `[]` any item of a list. A key that is not honoured speaks for all below it.
"""

JOBS = "The upcoming element of the specification. Keys without a row are those of services."

TITLES = {
    "": "Top level",
    "services.*": "Services",
    "services.*.": "Services: below those keys",
    "services.*.x-gocker": "Services: batch extensions",
    "networks.*": "Networks",
    "volumes.*": "Volumes",
    "secrets.*": "Secrets",
    "configs.*": "Configs",
    "jobs.*": "Jobs",
    "x-gocker": "Batch extensions at the top level",
}


def rows() -> Iterator[tuple[str, Row, str]]:
    """Yield path, row and description of everything in the table, in its order."""
    schema = Generator().schema()
    yield from _below(support.tree(), "", schema, schema)


def _below(
    branch: Branch, path: str, schema: dict[str, Any], root: dict[str, Any]
) -> Iterator[tuple[str, Row, str]]:
    for key, below in sorted(branch.below.items()):
        at = path + key if key == "[]" or not path else f"{path}.{key}"
        found = _step(schema, key, root)
        if key not in {"*", "[]"}:
            yield at, below.row, found.get("description", "")
        # Unsupported keys speak for all below; what jobs share is told once, at the services.
        if below.row.status == "honoured":
            yield from _below(below, at, found, root)


def _step(schema: dict[str, Any], key: str, root: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what is under `key`, through references and alternatives."""
    wanted = {"*": "additionalProperties", "[]": "items"}.get(key)
    for each in _alternatives(schema, root):
        found = each.get(wanted) if wanted else each.get("properties", {}).get(key)
        if isinstance(found, dict):
            return found
    return {}


def _alternatives(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].removeprefix("#/definitions/")]
    yield schema
    for each in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _alternatives(each, root)


def text() -> str:
    """Return docs/spec.md."""
    everything = list(rows())
    services = {path for path, *_ in everything if path.startswith("services.*")}
    tables: dict[str, list[str]] = {section: [] for section in TITLES}
    for path, row, about in everything:
        shared = path.replace("jobs.*", "services.*", 1) in services and path.startswith("jobs.*")
        if not shared or row.reason == support.JOB_REASON:
            section = _section(path)
            key = path.removeprefix(section).removeprefix(".")
            tables[section].append(f"| `{key}` | {row.status} | {_cell(row, about)} |")
    parts = [HEAD]
    for section, title in TITLES.items():
        head = ["| key | | |", "|---|---|---|"]
        note = [JOBS, ""] if section == "jobs.*" else []
        parts.append("\n".join([f"## {title}", "", *note, *head, *tables[section]]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(path: str) -> str:
    """Return the section that a path belongs to, a key of `TITLES`."""
    if path.startswith("services.*."):
        key = path.removeprefix("services.*.")
        if key.startswith("x-gocker."):
            return "services.*.x-gocker"
        return "services.*." if "." in key or "[" in key else "services.*"
    return next((each for each in TITLES if each and path.startswith(f"{each}.")), "")


def _cell(row: Row, about: str) -> str:
    harmless = ", ".join(
        f"`{units.shown(each)}`".replace("'", "") for each in sorted(row.harmless, key=str)
    )
    said = row.reason if row.status != "honoured" else about
    if row.unless is not None:
        said += f"; warned beside `{row.unless[0]}`: {row.unless[1]}"
    return f"{said}; accepted: {harmless}" if harmless else said


if __name__ == "__main__":
    Path("docs/spec.md").write_text(text(), encoding="utf-8")
