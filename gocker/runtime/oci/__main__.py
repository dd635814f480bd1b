"""Where a ``gocker-oci`` process begins, run as a file by an interpreter without site packages.

It is compiled at every start, so it is short: it takes the compiled `boot` from where Python
keeps it, without looking for it, or has it imported. No ``from __future__``: a module, too.
"""

import sys
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads
from os import stat

HERE = __file__.rpartition("/")[0]
TAG = sys.implementation.cache_tag
try:
    with open(f"{HERE}/__pycache__/boot.{TAG}.pyc", "rb", 0) as file:
        data = file.read()
    source = stat(f"{HERE}/boot.py")
    # importlib's own check: PEP 552, "The pyc header".
    parts = (0, int(source.st_mtime), source.st_size)
    header = MAGIC_NUMBER + b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in parts)
    boot = loads(data[16:]) if data[:16] == header else None  # noqa: S302  # as import does
except OSError:
    boot = None
if boot is not None:
    space: dict[str, object] = {"__name__": "boot"}
    exec(boot, space)  # noqa: S102  # an import
    run = space["main"]
    assert callable(run)  # noqa: S101  # boot.py has it
    run(HERE)
sys.path.insert(0, HERE.removesuffix("/gocker/runtime/oci"))
from gocker.runtime.oci.boot import main  # noqa: E402  # now that it can be found

main(HERE)
