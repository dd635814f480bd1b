"""Commands timed in turns: what else the machine does hits every contender alike."""

from __future__ import annotations

import os
import select
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Contender:
    """A way to do the work. `argv` is what is timed, from exec to exit.

    `prepare` runs before each round, `check` after it, both untimed; `check` raises if the
    work was not done.
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Sample:
    """One run: seconds on the clock, and of CPU in all processes that were waited for."""

    wall_s: float
    cpu_s: float


def once(contender: Contender, output: str) -> Sample:
    """Run a contender with its output in a file.

    Raises:
        RuntimeError: it failed, did not do its work, or took too long.
    """
    contender.prepare()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    before = time.perf_counter()
    pid = os.posix_spawnp(
        contender.argv[0], contender.argv, {**os.environ, **contender.environ},
        file_actions=actions, setpgroup=0,
    )  # fmt: skip
    try:
        late = not _ends(pid, TIMEOUT_S)
    except BaseException:
        os.killpg(pid, signal.SIGKILL)  # whoever interrupts us
        os.waitpid(pid, 0)
        raise
    if late:
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - before
    if late or status:
        with open(output, errors="replace") as file:
            said = file.read()[-2000:]
        why = f"not done after {TIMEOUT_S:.0f} s" if late else f"status {status}"
        raise RuntimeError(f"{contender.name}: {why}: {said}")
    contender.check()
    return Sample(wall_s, usage.ru_utime + usage.ru_stime)


def _ends(pid: int, timeout_s: float) -> bool:
    """Wait for a process's end; False if it takes longer."""
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)


def alternate(
    contenders: list[Contender], rounds: int, output: str, say: Callable[[str], None],
    dropped: dict[str, str] | None = None,
) -> dict[str, list[Sample]]:  # fmt: skip
    """Time every contender once per round, first another one each round; one round to warm up.

    Args:
        contenders: who.
        rounds: how often, after the first one.
        output: the file for what they print.
        say: told how far it is.
        dropped: gets a contender that fails, with the reason; it has no figures then. Without
            it, its RuntimeError ends all.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            if contender.name not in samples:
                continue
            try:
                sample = once(contender, output)
            except (RuntimeError, OSError) as error:
                if dropped is None:
                    raise
                dropped[contender.name] = " ".join(str(error).split())[-300:]
                del samples[contender.name]
                say(f"{contender.name} is left out: {error}")
                continue
            if number:
                samples[contender.name].append(sample)
        say(f"round {number} of {rounds}" if number else "warmed up")
    return samples


def statistics_of(samples: list[Sample]) -> dict[str, Any]:
    """Return median, least and most, in seconds, and every value."""
    walls = [sample.wall_s for sample in samples]
    return {
        "median_s": statistics.median(walls),
        "min_s": min(walls),
        "max_s": max(walls),
        "cpu_median_s": statistics.median(sample.cpu_s for sample in samples),
        "wall_s": walls,
        "cpu_s": [sample.cpu_s for sample in samples],
    }


def ratios(samples: list[Sample], base: list[Sample]) -> dict[str, float]:
    """Return time in units of another contender's, round by round: median, least, most.

    Rounds are compared, not medians: a load that comes and goes hits both sides of a round.
    """
    found = [one.wall_s / other.wall_s for one, other in zip(samples, base, strict=True)]
    cpu = [one.cpu_s / other.cpu_s for one, other in zip(samples, base, strict=True)]
    return {
        "median": statistics.median(found), "min": min(found), "max": max(found),
        "cpu_median": statistics.median(cpu),
    }  # fmt: skip


def run(*argv: str, environ: Mapping[str, str] | None = None) -> str:
    """Run a command, with `environ` or our environment, and return its output.

    Raises:
        RuntimeError: with what it said, if it fails.
    """
    result = subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environ
    )
    if result.returncode:
        raise RuntimeError(f"{argv}: {result.stderr or result.stdout}")
    return result.stdout
