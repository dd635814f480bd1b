"""The kernel tests on a pure cgroup v2 host: ``python -m tests.vm [OPTIONS] [-- COMMAND]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.vm import kernel, machine

ROOT = Path(__file__).parents[2]
# What pure v2 is about, in some minutes of an emulated machine.
TESTS = ("tests/linux/test_v2_host.py", "tests/linux/test_cgroup_v2.py")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--release", default=kernel.RELEASE, help="of a Debian kernel")
    parser.add_argument("--cgroup", choices=("v2", "v1", "hybrid"), default="v2")
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS")
    parser.add_argument("--share", action="append", default=[], metavar="DIR",
                        help="writable, and the same as here")  # fmt: skip
    parser.add_argument("--prepare", action="store_true", help="get the kernel, run nothing")
    parser.add_argument("command", nargs="*", metavar="COMMAND",
                        help="instead of the tests of pure v2")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.prepare:
        print(kernel.prepare(arguments.release))
        return 0
    os.chdir(ROOT)
    tests = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *TESTS]
    return machine.run(
        arguments.command or tests, release=arguments.release, cgroup=arguments.cgroup,
        shares=arguments.share, timeout_s=arguments.timeout,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
