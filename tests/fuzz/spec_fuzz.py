"""Feeds the loader made-up specs: each must end in a project or a clean error within a second.

    python tests/fuzz/spec_fuzz.py --count 1000000 --seed 1     # the offline million
    python tests/fuzz/spec_fuzz.py --seconds 5                  # what CI runs

A failing input is written to the directory given with --keep; exit code 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from gocker.errors import SpecError, UsageError  # noqa: E402  # the path comes first
from gocker.spec import explain, render  # noqa: E402  # same
from gocker.spec.load import LoadOptions, load  # noqa: E402  # same

SEED = b"""name: demo
x-base: &base {image: "busybox:${TAG:-1}", environment: {A: 1, B: yes}}
services:
  web:
    <<: *base
    command: sh -c 'echo hi'
    ports: ["8080:80", 9000-9001, {target: 5, published: "6"}]
    volumes: [./a:/b:ro, "data:/d", {type: tmpfs, target: /t, tmpfs: {size: 1m}}]
    depends_on: {db: {condition: service_healthy, required: false}}
    healthcheck: {test: [CMD, x], interval: 1m30s, retries: 3}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64m, pids: 9}}}
    networks: {front: {aliases: [w]}}
    secrets: [s, {source: s, target: t, mode: 0440}]
    ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}
    extra_hosts: ["a=1.1.1.1"]
  db: {image: y, extends: {service: web}, ports: !reset [], environment: [C=d, D]}
  job: {image: z, profiles: [p], x-gocker: {timeout: 5s}, labels: !override {a: b}}
networks: {front: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}
volumes: {data: {driver: local, driver_opts: {o: bind, device: ./x}}}
secrets: {s: {environment: S}}
configs: {c: {content: "${A:?x}"}}
---
services: {web: {environment: {A: !reset null}, command: [a]}}
"""
TOKENS = [
    b"${", b"}", b"$", b":", b"- ", b"\n", b"  ", b"{", b"}", b"[", b"]", b"'", b'"', b"&a ", b"*a",
    b"<<: ", b"!reset ", b"!override ", b"!!str ", b"null", b"~", b"0x1F", b"1e999", b"-1", b"\x00",
    b"\xff", b"\xef\xbb\xbf", b"---\n", b"services:", b"include:", b"extends:", b"web", b"image: ",
    b"ports: ", b"99999999999999999999", b"|", b">", b"#", b"%", b"@", b"`", b"\t", b"...\n", b"? ",
]  # fmt: skip


def mutate(rng: random.Random) -> bytes:
    """Return a spec with a few bytes deleted, repeated, swapped or replaced by tokens."""
    data = bytearray(SEED)
    if rng.random() < 0.2:
        start = rng.randrange(len(data))
        data = data[start : start + rng.randrange(200)]
    for _ in range(rng.choice((1, 1, 2, 3, 5, 20))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 5, 30)))
        action = rng.randrange(5)
        if action == 0:
            del data[at:end]
        elif action == 1:
            data[at:at] = rng.choice(TOKENS)
        elif action == 2:
            data[at:end] = rng.choice(TOKENS)
        elif action == 3:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        else:
            data[at:end] = rng.randbytes(end - at)
    return bytes(data)


FLAGS = ("interpolate", "normalize", "resolve_paths", "consistency", "all_resources")


def options_for(path: Path, rng: random.Random) -> LoadOptions:
    """Return the usual options, or once in a while some of `config`'s rarer ones."""
    flags = {flag: rng.random() < 0.8 for flag in FLAGS} if rng.random() < 0.2 else {}
    return LoadOptions(
        [str(path)],
        environ={"A": "x", "HOME": "/h"},
        project_name=None if rng.random() < 0.1 else "p",
        profiles=["p"] if rng.random() < 0.2 else [],
        services=["web"] if rng.random() < 0.1 else [],
        **flags,
    )


def check(path: Path, data: bytes, rng: random.Random) -> str | None:
    """Load and print one input; return what is wrong with how that ended."""
    path.write_bytes(data)
    options = options_for(path, rng)
    started = time.monotonic()
    signal.alarm(10)
    try:
        loaded = load(options)
        render.json_text(loaded.model, interpolated=options.interpolate)
        render.yaml_text(loaded.model, interpolated=options.interpolate)
        explain.explain(loaded)
        render.hashes(loaded)
        render.services(loaded)
    except (SpecError, UsageError):
        pass
    except BaseException:  # every other end is the finding
        return traceback.format_exc()
    took = time.monotonic() - started
    return f"took {took:.1f} s" if took > 1 else None


def timed_out(number: int, frame: FrameType | None) -> None:
    """End a load that does not."""
    raise TimeoutError(f"signal {number}: no end after 10 s")


def main() -> int:
    """Run until the count or the time is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path())
    options = parser.parse_args()
    # An endless loop must end with a traceback, not with the machine.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    signal.signal(signal.SIGALRM, timed_out)
    rng = random.Random(options.seed)  # noqa: S311  # repeatable, not secret
    end = time.monotonic() + options.seconds
    done = failed = 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "compose.yaml"
        while done < options.count if options.count else time.monotonic() < end:
            data = mutate(rng)
            problem = check(path, data, rng)
            done += 1
            if problem is not None:
                failed += 1
                kept = options.keep / f"spec-fuzz-{options.seed}-{done}.yaml"
                kept.write_bytes(data)
                print(f"{kept}: {problem}")
    print(f"{done} inputs, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
