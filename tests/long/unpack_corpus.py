"""``python -m tests.long.unpack_corpus [COUNT]``: more of tests/linux/test_unpack_corpus.py."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from gocker.image.unpacking import Worker
from tests.linux.test_unpack_corpus import Corpus, generate


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 5000
    worker = Worker()
    with tempfile.TemporaryDirectory() as directory:
        corpus = Corpus(Path(directory), worker)
        for seed in range(1000, 1000 + count):
            corpus.run(*generate(seed))
        print(f"{count} archives, {corpus.refused} of them refused, no difference")
    worker.close()


if __name__ == "__main__":
    main()
