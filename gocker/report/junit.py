"""A JUnit report of a run: one test case per job instance and attempt.

A failed attempt is a ``failure`` (an ``error`` if it never ran) whose type is the verdict. What
the run did not fail by is ``skipped``: attempts that were followed by another one, allowed
failures, what was skipped or cancelled. There is no standard; the elements and attributes are
those of Ant's JUnit task, which every CI reads.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from gocker.report.lines import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from gocker.report.lines import Record


# Last lines of an attempt's output that go into the report.
TAIL_LINES = 20
# Of one report that a job wrote.
MAX_REPORT = 16 << 20
_MAX_DEPTH = 50
# What XML 1.0 cannot hold, not even escaped (section 2.2).
_NO_CHARACTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RESULTS = ("failure", "error", "skipped")


def text(value: str) -> str:
    """Return text with U+FFFD for what XML cannot hold."""
    return _NO_CHARACTER.sub("�", value)


class Report:
    """Collects a run's records; `xml` is the document.

    Args:
        jobs: the instances that are jobs; others appear only if they made the run fail.
        tail: returns the last lines of an attempt's output.
        clean: takes out what must not be shown.
    """

    def __init__(
        self, jobs: Iterable[str], tail: Callable[[str, int], str],
        clean: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        self._jobs = frozenset(jobs)
        self._tail = tail
        self._clean = clean
        self._attempts: dict[str, list[Record]] = {}
        self._because: dict[str, str] = {}
        self._suite = ET.Element("testsuite", {"name": "gocker"})
        self._merged: list[ET.Element] = []

    def add(self, record: Record) -> None:
        """Take in a record of the run, in their order."""
        event = record["event"]
        if event == "run.started":
            self._suite.set("name", text(record["project"]))
            self._suite.set("timestamp", record["time"])
        elif event in ("container.exited", "container.failed"):
            self._attempts.setdefault(record["instance"], []).append(record)
        elif event == "job.skipped":
            self._because[record["instance"]] = record["because"]
        elif event == "job.finished":
            self._finished(record)
        elif event == "run.finished":
            self._suite.set("time", f"{record['duration_s']:.3f}")

    def merge(self, instance: str, document: bytes) -> None:
        """Add the suites of a report that a job wrote.

        Raises:
            ValueError: why it is none.
        """
        root = _parse(document)
        suites = [root] if root.tag == "testsuite" else list(root.iter("testsuite"))
        if not suites:
            raise ValueError(f"there is no testsuite in <{text(root.tag[:80])}>")
        for suite in suites:
            name = suite.get("name") or ""
            made = ET.Element(
                "testsuite", {"name": self._shown(f"{instance}: {name}".rstrip(": "))}
            )
            made.extend(self._case(case) for case in suite.iterfind("testcase"))
            self._merged.append(made)

    def xml(self) -> bytes:
        """Return the document."""
        root = ET.Element("testsuites", {"name": self._suite.get("name", "")})
        root.extend([self._suite, *self._merged])
        for suite in root:
            for key, value in _counts(suite).items():
                suite.set(key, value)
        for key in ("tests", "failures", "errors", "skipped"):
            root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
        ET.indent(root)
        document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        return document + b"\n"

    def _shown(self, value: str) -> str:
        return text(self._clean(value))

    def _finished(self, record: Record) -> None:
        instance = record["instance"]
        attempts = self._attempts.pop(instance, [])
        if instance not in self._jobs and not record["failed"]:
            return
        for attempt in attempts:
            last = attempt is attempts[-1] and attempt["next"] == "done"
            verdict = record["verdict"] if last else attempt["verdict"]
            case = self._new_case(record, attempt["attempt"], attempt.get("duration_s"))
            if verdict == "ok":
                continue
            reason = f"{verdict}: {explain(verdict, attempt)}".removesuffix(": ")
            kind = "skipped"
            if not last:
                reason = f"retried after {reason}"
            elif record["failed"]:
                kind = "error" if verdict == "start_failed" else "failure"
            elif record["allowed"]:
                reason = f"allowed {reason}"
            result = ET.SubElement(case, kind, {"type": verdict, "message": self._shown(reason)})
            result.text = self._shown(self._tail(instance, attempt["attempt"])) or None
        if not attempts:
            reason = f"{record['verdict']} because of {self._because.get(instance, '?')}"
            attributes = {"type": record["verdict"], "message": self._shown(reason)}
            ET.SubElement(self._new_case(record, 1, None), "skipped", attributes)

    def _new_case(self, record: Record, attempt: int, seconds: float | None) -> ET.Element:
        name = record["instance"] if attempt == 1 else f"{record['instance']} (attempt {attempt})"
        attributes = {"classname": text(record["service"]), "name": text(name)}
        return ET.SubElement(self._suite, "testcase", attributes | {"time": f"{seconds or 0:.3f}"})

    def _case(self, case: ET.Element) -> ET.Element:
        """Return a copy of a job's test case: what we know of, and nothing else."""
        made = ET.Element("testcase", self._attributes(case, "classname", "name", "time"))
        for part in case:
            if part.tag in (*_RESULTS, "system-out", "system-err"):
                copy = ET.SubElement(made, part.tag, self._attributes(part, "type", "message"))
                copy.text = self._shown("".join(part.itertext())) or None
        return made

    def _attributes(self, element: ET.Element, *names: str) -> dict[str, str]:
        found = {name: element.get(name) for name in names}
        return {name: self._shown(it) for name, it in found.items() if it is not None}


def _counts(suite: ET.Element) -> dict[str, str]:
    cases = suite.findall("testcase")
    found = {"tests": len(cases)}
    for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        found[plural] = sum(case.find(tag) is not None for case in cases)
    return {key: str(value) for key, value in found.items()}


class _Builder(ET.TreeBuilder):
    """Refuses what only an attack has: entities, and depth (XML is a job's, so anybody's)."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, *_: Any) -> None:
        raise ValueError("it has a document type, which could define entities")

    def start(self, tag: str, attrs: dict[str, str]) -> ET.Element:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"its elements are nested deeper than {_MAX_DEPTH} levels")
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: str) -> ET.Element:
        self._depth -= 1
        return super().end(tag.rpartition("}")[2])


def _parse(document: bytes) -> ET.Element:
    if len(document) > MAX_REPORT:
        raise ValueError(f"it is larger than {MAX_REPORT >> 20} MiB")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314  # the builder refuses entities and depth
    try:
        parser.feed(document)
        root: ET.Element = parser.close()
    except ET.ParseError as error:
        raise ValueError(f"it is no XML: {error}") from error
    return root
