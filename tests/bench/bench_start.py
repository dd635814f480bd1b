"""How long a start takes: ``python tests/bench/bench_start.py`` as root, beside ``python -c pass``.

Up to the job's execve, as ``run.jsonl`` tells it (the front's clock, so a little late);
``config`` beside docker-compose 1.29 (Debian: docker-compose); and the load of 100 to 10,000
services. Prints medians, minima and ratios; --json FILE keeps them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
JOB = "name: start\nservices:\n  job:\n    image: host:/\n    command: [/bin/true]\n"
# What the `gocker` of an installed wheel is.
SCRIPT = "import sys\nfrom gocker.cli.main import main\nsys.exit(main())\n"
Samples = dict[str, list[float]]


def service(number: int) -> str:
    """Return a service of thirty lines, of what people use."""
    return f"""\
  service{number:05}:
    image: registry.example/team/service:{number}
    command: ["serve", "--port", "8080"]
    environment:
      LOG_LEVEL: ${{LOG_LEVEL:-info}}
      DATABASE_URL: postgres://db.example/{number}
      WORKERS: "4"
      FEATURES: a,b,c
    labels:
      team.example.owner: team{number}
      team.example.tier: backend
    volumes:
      - data:/var/lib/data
      - ./config:/etc/service:ro
    network_mode: none
    user: "1000:1000"
    working_dir: /srv
    hostname: service{number}
    mem_limit: 256m
    cpus: 0.5
    healthcheck:
      test: ["CMD", "true"]
      interval: 10s
      timeout: 2s
      retries: 3
    restart: on-failure:3
    cap_drop:
      - ALL
    read_only: true
    stop_grace_period: 5s
    tmpfs:
      - /tmp
"""


def job(number: int) -> str:
    """Return a job of nine lines: ten thousand fit into the 8 MiB that a spec may have."""
    after = f"    depends_on: [job{number - 1}]\n" if number % 10 else ""
    return f"""\
  job{number}:
    image: registry.example/team/job:{number}
    command: ["work", "--number", "{number}"]
    environment: {{NUMBER: "{number}", LOG_LEVEL: "${{LOG_LEVEL:-info}}"}}
    mem_limit: 64m
    cpus: 0.5
    labels:
      team.example.owner: team
{after}"""


def jobs(count: int) -> str:
    """Return a spec of that many jobs."""
    return "name: jobs\nservices:\n" + "".join(map(job, range(count)))


def large(services: int) -> str:
    """Return a spec of that many services."""
    bodies = "".join(map(service, range(services)))
    rest = "volumes:\n  data: {}\n"
    return f'version: "2.4"\nservices:\n{bodies}{rest}'


class Bench:
    """A directory with the specs, and gocker's roots."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "gocker").write_text(SCRIPT)
        (top / "roots").mkdir(mode=0o700)
        self.environ = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/root",
            "GOCKER_DATA_ROOT": f"{top}/roots/data", "GOCKER_RUN_ROOT": f"{top}/roots/live",
        }  # fmt: skip
        self.null = os.open(os.devnull, os.O_RDWR)

    def spec(self, name: str, text: str) -> str:
        path = self.top / name
        path.write_text(text)
        return str(path)

    def gocker(self, *words: str) -> list[str]:
        return [sys.executable, str(self.top / "gocker"), *words]

    def seconds(self, command: list[str]) -> float:
        """Run a command without output; raise if it fails."""
        actions = [(os.POSIX_SPAWN_DUP2, self.null, fd) for fd in (0, 1, 2)]
        began = time.monotonic()
        pid = os.posix_spawnp(command[0], command, self.environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        if status:
            raise RuntimeError(f"{command}: status {status}")
        return time.monotonic() - began

    def start(self, *words: str) -> float:
        """Return the seconds from the exec of gocker until its job was known to run."""
        began = time.monotonic()
        self.seconds(self.gocker("up", *words))
        run = max((self.top / "roots/data/runs").glob("*/run.jsonl"), key=lambda path: path.parts)
        for line in run.read_text().splitlines():
            record = json.loads(line)
            if record["event"] == "container.started":
                return float(record["monotonic"]) - began
        raise RuntimeError("no container was started")


def alternate(rounds: int, ways: dict[str, Callable[[], float]]) -> Samples:
    """Measure in turns, after one round that does not count: what disturbs hits all alike."""
    samples: Samples = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            taken = way()
            if number:
                samples[name].append(taken)
    return samples


def starts(bench: Bench, rounds: int) -> Samples:
    """Return the seconds to a job's execve, without and with its plan kept, beside Python's own."""
    one = bench.spec("one.yaml", JOB)
    return alternate(rounds, {
        "python -c pass": lambda: bench.seconds([sys.executable, "-c", "pass"]),
        "python -I -S -c pass": lambda: bench.seconds([sys.executable, "-ISc", "pass"]),
        "up to execve, no cache": lambda: bench.start("--no-cache", one),
        "up to execve, unchanged spec": lambda: bench.start(one),
    })  # fmt: skip


def stages(bench: Bench, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the least milliseconds of each stage by --timings: without cache, unchanged spec."""
    one = bench.spec("one.yaml", JOB)
    found: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for number, options in enumerate((["--no-cache"], [])):
            command = bench.gocker("up", "--timings", *options, one)
            result = subprocess.run(command, env=bench.environ, capture_output=True, text=True)
            for line in result.stderr.partition("STAGE")[2].splitlines()[1:]:
                words = line.split()
                if len(words) < 3 or not words[-1].replace(".", "").isdigit():
                    break
                name = " ".join(words[:-2])
                found.setdefault(name, [[], []])[number].append(float(words[-2]))
    return {
        name: (min(cold, default=0.0), min(warm, default=0.0))
        for name, (cold, warm) in found.items()
    }


def show(samples: Samples, base: str) -> None:
    """Print a line per contender; ratios to `base`, of the medians and of the minima."""
    print(f"{'':<34}{'median':>10}{'min':>10}{'ratio':>8}{'of min':>8}")
    middle, least = statistics.median(samples[base]), min(samples[base])
    for name, taken in samples.items():
        median, lowest = statistics.median(taken), min(taken)
        print(f"{name:<34}{median * 1e3:7.1f} ms{lowest * 1e3:7.1f} ms"
              f"{median / middle:8.2f}{lowest / least:8.2f}")  # fmt: skip
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gocker-start-") as name:
        bench = Bench(Path(name))
        start = starts(bench, chosen.rounds)
        show(start, "python -c pass")
        hundred = bench.spec("hundred.yaml", large(100))
        print(f"config of {len(large(100).splitlines())} lines")
        ways = {"gocker config": lambda: bench.seconds(bench.gocker("config", hundred))}
        if shutil.which("docker-compose"):
            peer = ["docker-compose", "-f", hundred, "config"]
            ways["docker-compose config"] = lambda: bench.seconds(peer)
        config = alternate(max(3, chosen.rounds // 5), ways)
        show(config, "gocker config")
        print("config -q, microseconds of wall time per service above an empty one")
        growth = {}
        for services in (100, 300, 1000, 3000, 10000):
            spec = bench.spec("large.yaml", jobs(services))
            command = bench.gocker("config", "-q", spec)
            growth[str(services)] = [bench.seconds(command) for _ in range(3)]
        few = bench.gocker("config", "-q", bench.spec("large.yaml", jobs(1)))
        least = min(bench.seconds(few) for _ in range(3))
        for services, taken in growth.items():
            each = (min(taken) - least) / int(services)
            print(f"{services:>8} services {min(taken):8.3f} s {each * 1e6:8.0f} us")
        if chosen.json:
            found = {"start": start, "config": config, "growth": growth}
            chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
