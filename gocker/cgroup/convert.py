"""OCI's units, which are those of cgroup v1, in those of cgroup v2. Pure.

-1 is unlimited, here and in OCI. The formulas are runc's (opencontainers/cgroups, utils.go), so
that one configuration means the same under every runtime.
"""

from __future__ import annotations

import math

from gocker.errors import ConfigError

DEFAULT_PERIOD_US = 100_000


def limit(value: int) -> str:
    """Return a limit as v2 takes it: negative is ``max``. Source: cgroup-v2.rst, "Conventions"."""
    return "max" if value < 0 else str(value)


def swap_max_v2(memory: int | None, swap: int) -> int:
    """Return ``memory.swap.max`` for an OCI ``memory.limit`` and ``memory.swap``.

    Args:
        memory: bytes; -1 for unlimited, None for not set.
        swap: memory *plus* swap in bytes, as in cgroup v1; -1 for unlimited.

    Raises:
        ConfigError: if ``swap`` is smaller than ``limit``, or a sum without a limit.
    Source: OCI config-linux.md "Memory"; cgroup-v2.rst, memory.swap.max (swap alone).
    """
    if swap < 0:
        return -1
    if memory is None or memory < 0:
        raise ConfigError(
            "linux.resources.memory.swap is memory plus swap and needs memory.limit on cgroup v2",
            hint="set memory.limit too, or swap to -1",
        )
    if swap < memory:
        raise ConfigError(
            f"linux.resources.memory.swap {swap} is smaller than memory.limit {memory}",
            hint="swap is memory plus swap: it is at least the limit",
        )
    return swap - memory


def cpu_weight(shares: int) -> int:
    """Return ``cpu.weight`` (1..10000) for ``cpu.shares`` (2..262144).

    A quadratic in log2 that maps 2 to 1, 1024 to 100 and 262144 to 10000: each end to its end
    and the default to the default. It is the one of runc 1.3.2 and crun 1.23. Older ones have a
    straight line, on which the default of 1024 became 39.
    Source: opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value.

    Raises:
        ConfigError: outside 2..262144, which the kernel's v1 would clamp.
    """
    if not 2 <= shares <= 262_144:
        raise ConfigError(f"linux.resources.cpu.shares {shares} is not in 2..262144")
    if shares == 2:
        return 1
    if shares == 262_144:
        return 10_000
    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Return ``io.weight`` (1..10000) for OCI's 10..1000, on a straight line.

    ``io.bfq.weight`` needs no conversion: it has v1's range.
    Source: opencontainers/cgroups, ConvertBlkIOToIOWeightValue.

    Raises:
        ConfigError: outside 10..1000.
    """
    if not 10 <= weight <= 1000:
        raise ConfigError(f"linux.resources.blockIO.weight {weight} is not in 10..1000")
    return 1 + (weight - 10) * 9999 // 990


def cpu_max(quota: int | None, period: int | None) -> str:
    """Return ``cpu.max`` for a quota and a period in microseconds.

    A quota of None (not set) or below 0 is ``max``; a period of None is the kernel's 100 ms.
    Source: cgroup-v2.rst, cpu.max.
    """
    word = "max" if quota is None else limit(quota)
    return f"{word} {period or DEFAULT_PERIOD_US}"
