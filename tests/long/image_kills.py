"""``python -m tests.long.image_kills [COUNT] [SEED]``: kills of commands on the image store.

Every 20 kills the store is checked: it verifies, nothing unreferenced survives a prune, and each
layer has the content that its name had before. About 10 minutes for 200.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.support.command import Gocker
from tests.support.imagestorm import Storm

_BETWEEN_CHECKS = 20


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 200
    seed = int(sys.argv[2]) if sys.argv[2:] else 7
    began = time.monotonic()
    gocker = Gocker()
    try:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            storm = Storm(gocker, Path(directory), seed)
            for _ in range(0, count, _BETWEEN_CHECKS):
                storm.kill(min(_BETWEEN_CHECKS, count))
                storm.check()
        gocker.check()
    finally:
        gocker.close()
    killed = ", ".join(f"{name} {number}" for name, number in sorted(storm.killed.items()))
    print(f"{sum(storm.killed.values())} kills ({killed}): the store verifies, nothing is left; "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
