"""R: up, SIGKILL of one of our processes at a random moment, down: nothing is left.

``python -m tests.long.network_kills [ROUNDS] [SEED]``, as root; 100 rounds by default, some
five minutes. Compares links, addresses, routes, rules, cgroups, processes, mounts and files before
and after every round.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.long.support import busybox_rootfs
from tests.support import machine
from tests.support.command import Gocker
from tests.support.netns import Host
from tests.support.servers import ask, client, server

_SPEC = {
    "services": {
        "web": server(ports=["8080:8080"], deploy={"replicas": 3}),
        "db": server(networks=["back"]),
        "c": client(f"while :; do {ask('web')}; done", "web", networks=["default", "back"]),
        "d": client("sleep 100", "db", networks=["back"]),
    },
    "networks": {"back": {"internal": True}, "default": {"enable_ipv6": True}},
}
# A replica has no fixed port; the network's does not matter here.
_SPEC["services"]["web"]["ports"] = ["8080-8090:8080"]  # type: ignore[index]  # a dictionary
_LONGEST_S = 2.0


def ours(pid: int) -> dict[str, list[int]]:
    """Return our processes of a run by name; containers are not ours."""
    found: dict[str, list[int]] = {"front": [pid]}
    for child in machine.descendants(pid):
        try:
            name = Path(f"/proc/{child}/comm").read_text().strip()
        except OSError:
            continue  # it has ended
        if name.startswith("gocker-"):
            found.setdefault(name, []).append(child)
    return found


def round_of(gocker: Gocker, host: Host, chance: random.Random) -> tuple[str, list[str]]:
    """Do one round; return who was killed and what was wrong."""
    before = host.state()
    running = gocker.start(_SPEC)
    time.sleep(chance.uniform(0.05, _LONGEST_S))  # the moment is what is tried
    victims = ours(running.pid)
    name = chance.choice(sorted(victims))
    try:
        os.kill(chance.choice(victims[name]), signal.SIGKILL)
    except ProcessLookupError:
        name += " (had ended)"
    result = running.finish()
    wrong = [] if result.code != 0 else ["up said it had succeeded"]
    down = gocker.down()
    if down.code != 0:
        wrong.append(f"down: {down}")
    if not host.becomes(before):
        wrong.append(f"on the host: {host.state()}")
    wrong += [f"process {it}" for it in gocker.left_processes()]
    return name, wrong + gocker.left_things()


def main(argv: list[str]) -> int:
    """Run the rounds; print what was wrong, and who was killed how often."""
    rounds = int(argv[0]) if argv else 100
    chance = random.Random(int(argv[1]) if len(argv) > 1 else 10)  # noqa: S311  # moments to kill at
    killed: collections.Counter[str] = collections.Counter()
    bad = 0
    host = Host()
    with busybox_rootfs() as rootfs:
        gocker = Gocker(image=f"rootfs:{rootfs}")
        gocker.netns = host.host.fd
        try:
            for number in range(rounds):
                name, wrong = round_of(gocker, host, chance)
                killed[name] += 1
                if wrong:
                    bad += 1
                    print(f"round {number}, {name}:", *wrong, sep="\n  ", flush=True)
        finally:
            gocker.close()
            host.close()
    print(f"rounds {rounds}, something left in {bad}; killed: {dict(killed)}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
