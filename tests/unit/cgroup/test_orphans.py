from __future__ import annotations

import os
import subprocess

from gocker.cgroup.processes import are_orphans
from gocker.linux import process


def test_nobody_is_an_orphan() -> None:
    assert are_orphans([])


def test_what_a_launcher_started_is_its_own() -> None:
    """Also a grandchild."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        process.set_name("gocker-launcher")
        subprocess.run(["sh", "-c", "sleep 100 & echo $$ $!; wait"], stdout=write)
        os._exit(0)
    os.close(write)
    with open(read) as file:
        pids = [int(word) for word in file.readline().split()]
    assert not are_orphans(pids)
    assert not are_orphans(pids[:1])
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert are_orphans(pids)
    for pid in pids:
        os.kill(pid, 9)


def test_a_process_that_is_gone_proves_nothing() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert not are_orphans([gone.pid])
