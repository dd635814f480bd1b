from __future__ import annotations

from pathlib import Path

import pytest

from gocker.errors import SpecError
from gocker.spec.further import all_problems
from gocker.spec.load import LoadOptions, load

WRONG = """\
services:
  web:
    imge: x
    mem_limit: 1q
    command: echo a && rm x
    depends_on: [dbb]
    x-gocker: {timout: 3s}
  b:
    image: "${NOPE?set NOPE}"
    ports: ["80:99999"]
    user: [1]
"""


def told(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    options = LoadOptions([str(file)], environ={})
    with pytest.raises(SpecError) as first:
        load(options)
    problems = all_problems(options, first.value, strict=False).problems
    return [(problem.line, problem.path) for problem in problems]


def test_the_mistakes_of_all_passes_are_told_at_once(tmp_path: Path) -> None:
    assert told(tmp_path, WRONG) == [
        (3, "services.web.imge"),
        (4, "services.web.mem_limit"),
        (5, "services.web.command"),
        (6, "services.web.depends_on.dbb"),
        (7, "services.web.x-gocker.timout"),
        (9, "services.b.image"),
        (10, "services.b.ports[0]"),
        (11, "services.b.user"),
    ]


def test_a_mistake_has_no_followers(tmp_path: Path) -> None:
    text = "services:\n  db: 7\n  web: {image: x, depends_on: [db]}\n"
    assert told(tmp_path, text) == [(2, "services.db")]


def test_in_every_file_that_is_merged(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("services:\n  b: {image: x, cpuz: 1, mem_limit: 1q}\n")
    text = "services:\n  web:\n    extends: {file: base.yaml, service: b}\n    shm_size: 1x\n"
    assert told(tmp_path, text) == [
        (2, "services.web.cpuz"), (2, "services.web.mem_limit"), (4, "services.web.shm_size"),
    ] or sorted(line for line, _ in told(tmp_path, text)) == [2, 2, 4]  # fmt: skip
