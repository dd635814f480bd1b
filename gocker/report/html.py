"""A run as one HTML page: self-contained, without network, readable without a mouse.

``page.html`` has the layout, the styles and the script; here the text is put in. What came from
containers or specs is data: JSON that the script shows as text, or escaped text.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

from gocker.report.human import count, duration, safe, safe_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_PAGE = Path(__file__).with_name("page.html")
# Failures whose output is in the page before any script has run.
_MOST_FAILURES = 20


def page(document: Mapping[str, Any]) -> bytes:
    """Return the page of a run.

    Args:
        document: as `gocker.report.history.History.document` returns it.
    """
    parts = {
        "title": escape(safe(f"{document['project']} {document['run']}")),
        "headline": escape(safe(_headline(document))),
        "state": "bad" if document["exit_code"] else "good",
        "facts": _facts(document),
        "failures": _failures(document),
        "hints": _list("What the figures say", document["hints"]),
        "notes": _list("Notes", document["notes"]),
        "data": _script_data(document),
    }
    text = _PAGE.read_text(encoding="utf-8")
    # At once: what is put in is not looked at again.
    made = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text)
    return made.encode("utf-8", "replace")


def _script_data(document: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the script element it is in (HTML 4.12.1.3)."""
    return json.dumps(document, separators=(",", ":")).replace("<", "\\u003c")


def _headline(document: Mapping[str, Any]) -> str:
    if document["exit_code"] is None:
        return "The run has not finished"
    what = "failed" if document["exit_code"] else "passed"
    totals = ", ".join(f"{number} {verdict}" for verdict, number in document["totals"].items())
    jobs = count(len(document["jobs"]), "job")
    return f"{document['project']} {what}: {jobs}, {totals}"


def _facts(document: Mapping[str, Any]) -> str:
    host = document["host"]
    facts = {
        "Began": document["time"],
        "Took": duration(document["duration"]),
        "Exit code": f"{document['exit_code']} ({document['reason']})",
        "Run": document["run"],
        "Spec": ", ".join(host.get("spec.files", ())),
        "Host": f"Linux {host.get('host.kernel')}, {host.get('host.cpus')} CPUs, cgroup "
        f"{host.get('host.cgroup')}, {host.get('isolation')}",
        "At once": host.get("parallel"),
        "gocker": host.get("gocker.version"),
    }
    rows = (
        f"<dt>{escape(name)}</dt><dd>{escape(safe(str(it)))}</dd>" for name, it in facts.items()
    )
    return "<dl>" + "".join(rows) + "</dl>"


def _failures(document: Mapping[str, Any]) -> str:
    failed = [job for job in document["jobs"] if job["failed"]]
    parts = [_failure(job) for job in failed[:_MOST_FAILURES]]
    if document["error"]:
        parts.insert(0, f"<p>{escape(safe(document['error']))}</p>")
    if len(failed) > _MOST_FAILURES:
        parts.append(f"<p>… and {len(failed) - _MOST_FAILURES} more, in the table.</p>")
    if not parts:
        return ""
    return f"<section><h2>Failures</h2>{''.join(parts)}</section>"


def _failure(job: Mapping[str, Any]) -> str:
    last = job["attempts"][-1] if job["attempts"] else {}
    why = job["error"] or last.get("why") or job["because"] or ""
    tail = safe_output(last.get("tail", ""))
    name, verdict = escape(safe(job["name"])), escape(job["verdict"])
    output = "<p>It wrote nothing.</p>"
    if tail:
        label = f'role="region" tabindex="0" aria-label="last output of {name}"'
        output = f"<pre {label}>{escape(tail)}</pre>"
    return f"<article><h3>{name}: {verdict}</h3><p>{escape(safe(why))}</p>{output}</article>"


def _list(title: str, items: list[str]) -> str:
    if not items:
        return ""
    rows = "".join(f"<li>{escape(safe(item))}</li>" for item in items[:200])
    return f"<section><h2>{title}</h2><ul>{rows}</ul></section>"
