"""What confines each service, for people and for programs: ``gocker config --security``."""

from __future__ import annotations

from gocker.plan.security import properties
from gocker.report.human import safe
from gocker.report.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.plan.model import Plan
    from gocker.plan.security import Property


def by_service(plan: Plan) -> dict[str, list[Property]]:
    """Return the properties of each service; its instances do not differ in them."""
    found: dict[str, list[Property]] = {}
    for name, unit in plan.units.items():
        if unit.service not in found:
            found[unit.service] = properties(plan.containers[name])
    return found


def rows_text(plan: Plan, form: str) -> str:
    """Return a table per service, or one JSON document."""
    found = by_service(plan)
    if form == "json":
        import json

        document = {name: [_record(item) for item in items] for name, items in found.items()}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    blocks = [_block(name, items) for name, items in found.items()]
    return "\n".join(blocks)


def _record(item: Property) -> dict[str, str | bool]:
    return {
        "property": item.name, "value": item.value, "default": item.default,
        "weaker": item.weaker, "because": item.because,
    }  # fmt: skip


def _block(name: str, items: list[Property]) -> str:
    rows = [["PROPERTY", "VALUE", "WEAKER THAN THE DEFAULT, BECAUSE OF"]]
    rows += [
        [item.name, safe(item.value),
         f"{safe(item.because)} (default: {item.default})" if item.weaker else ""]
        for item in items
    ]  # fmt: skip
    lines = [line.rstrip() for line in align(rows, left=3)]
    return "\n".join([f"{safe(name)}:", *(f"  {line}" for line in lines)]) + "\n"
