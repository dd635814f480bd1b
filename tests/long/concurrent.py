"""Twenty commands at once on one project, fifty rounds: ``python -m tests.long.concurrent``.

Security.md R23. A round is right if every command ended by itself with one of its codes, nobody
spoke of a lock, and `up` and `down` afterwards find two running containers and then nothing.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.support.command import Gocker
from tests.support.crowd import GOOD, play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--commands", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="also stop, start, restart, kill, ls")
    arguments = parser.parse_args()
    kinds = tuple(GOOD) if arguments.all else ("up", "down", "ps", "run")
    bad = ended = 0
    began = time.monotonic()
    for number in range(arguments.rounds):
        gocker = Gocker(image="host:/")
        try:
            found = play(gocker, arguments.commands, arguments.seed + number, kinds)
        finally:
            gocker.close()
        ended += found.ended
        bad += bool(found.complaints)
        for complaint in found.complaints:
            sys.stdout.write(f"round {number}: {complaint}\n")
        if number % 10 == 9:
            sys.stdout.write(f"  {number + 1} rounds: {ended} ended, {bad} with complaints\n")
        sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{arguments.rounds} rounds of {arguments.commands} commands: {ended} ended, "
                     f"{bad} rounds with complaints, {seconds:.0f} s\n")  # fmt: skip
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
