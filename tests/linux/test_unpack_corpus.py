"""C1, C2, C3: archives made to get out of their layer, held against a model.

``python -m tests.long.unpack_corpus 5000`` runs more of them.
"""

from __future__ import annotations

import os
import random
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError
from gocker.image.unpacking import Worker
from gocker.tree import remove_path
from tests.support.images import archive, member
from tests.support.tarmodel import Model, RefusedError
from tests.support.unpacking import tree, unpack

pytestmark = pytest.mark.root
Entry = tuple[tarfile.TarInfo, bytes]
# With few names entries meet: the same name as a directory, a link, a file and a whiteout.
NAMES = ["a", "b", "a/b", "a/c", "b/a", "a/b/c", "./a", "/a", "a/", "//b//c", "a/./c"]
HOSTILE = ["..", "../x", "a/../b", "../../../../etc/passwd", "/../x", "", ".", "./", "a/..",
           ".wh.", ".wh..", ".wh...", "a/.wh.b", ".wh.a", "a/.wh..wh..opq", ".wh..wh.plnk/x",
           ".wh.a/b", "x" * 300, "d/" * 200 + "e", "y" * 4100]  # fmt: skip
TARGETS = ["a", "b", "a/b", "..", "../..", "/", "/a", "/etc", "../../../../../etc", "b/../a", ".",
           "/proc/self/root", "a/a/a", "missing/b", ""]  # fmt: skip


def entry(choice: random.Random) -> Entry:
    name = choice.choice(NAMES) if choice.random() < 0.85 else choice.choice(HOSTILE)
    kind = choice.choice("ddfffsshhp")
    mode = choice.choice([0o755, 0o700, 0o644, 0o4755, 0o1777, 0o000])
    if kind == "f":
        return member(name, choice.randbytes(3), mode=mode)
    types = {
        "d": tarfile.DIRTYPE,
        "s": tarfile.SYMTYPE,
        "h": tarfile.LNKTYPE,
        "p": tarfile.FIFOTYPE,
    }
    return member(name, type=types[kind], mode=mode, linkname=choice.choice(TARGETS))


def seen(top: Path) -> dict[str, tuple[str, int, Any]]:
    """Return what was unpacked, in the words of the model."""
    kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link",
             stat.S_IFIFO: "fifo"}  # fmt: skip
    first: dict[int, str] = {}
    found: dict[str, tuple[str, int, Any]] = {}

    def add(path: Path, name: str) -> None:
        status = path.lstat()
        kind = kinds[stat.S_IFMT(status.st_mode)]
        value: Any = None
        if kind != "directory":
            content = path.read_bytes() if kind == "file" else None
            content = os.readlink(path) if kind == "link" else content
            value = (first.setdefault(status.st_ino, name), content)
        found[name] = (kind, stat.S_IMODE(status.st_mode), value)
        if kind == "directory":
            for below in sorted(os.listdir(path)):
                add(path / below, f"{name}/{below}")

    add(top, "")
    return found


class Corpus:
    """Unpacks generated archives beside files that must not change."""

    def __init__(self, top: Path, worker: Worker) -> None:
        self.top = top
        self._worker = worker
        self.refused = 0
        (top / "etc").mkdir()
        (top / "etc/passwd").write_text("sentinel\n")
        (top / "x").write_text("sentinel\n")
        self.before = self.sentinels()

    def run(self, entries: list[Entry], form: int) -> None:
        model = Model()
        wanted: dict[str, Any] | None
        try:
            for info, content in entries:
                model.add(info, content)
            wanted = model.tree()
        except RefusedError:
            wanted = None
            self.refused += 1
        target = self.top / "target"
        try:
            unpack(self._worker, archive(entries, form), target)
            found: dict[str, Any] | None = seen(target)
        except HostError:
            found = None
        shown = [(it.name[:60], it.type, it.linkname) for it, _ in entries]
        assert found == wanted, shown
        self.clean(target)
        assert self.sentinels() == self.before, shown

    def sentinels(self) -> dict[str, tuple[Any, ...]]:
        """Return all beside the target; the directory itself changes with each target."""
        return {path: facts for path, facts in tree(self.top).items() if path}

    def clean(self, target: Path) -> None:
        remove_path(str(target))


def generate(seed: int) -> tuple[list[Entry], int]:
    choice = random.Random(seed)  # noqa: S311  # a reproducible corpus
    form = choice.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    return [entry(choice) for _ in range(choice.randint(2, 7))], form


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"), worker)


def test_generated_archives_do_what_the_model_does(corpus: Corpus) -> None:
    for seed in range(200):
        corpus.run(*generate(seed))
    assert 20 < corpus.refused < 180, "both kinds are in the corpus"
