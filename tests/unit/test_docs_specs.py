"""Every spec and every Python program in the pages is read by what it is for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gocker.errors import SpecError
from gocker.spec.load import LoadOptions, load
from gocker.spec.model import load as load_model

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Each example of a mistake is run by linux/test_docs_run.py, which looks for its message.
MISTAKES = ("comand: [sleep",)


def blocks(page: Path, kind: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{kind}[^\n]*\n(.+?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return found


SPECS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page, "ya?ml"))
    if re.search("^services:", text, re.MULTILINE)
]


@pytest.mark.parametrize("text", SPECS)
def test_specs_are_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    options = LoadOptions([str(path)], project_name="docs", consistency=False, resolve_env=False)
    if any(it in text for it in MISTAKES):
        with pytest.raises(SpecError):
            load(options)
        return
    loaded = load(options)
    load_model(loaded.model, loaded.place, strict=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles(page: Path) -> None:
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")
