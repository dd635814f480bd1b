"""``update`` and ``events``: limits of a running container, and what it used."""

from __future__ import annotations

import os
import sys
import time

from gocker import jsontext
from gocker.errors import ConfigError, ContainerError, HostError, UsageError
from gocker.runtime.oci import bundle, schema, state, statistics
from gocker.runtime.oci.arguments import FLAG, TEXT, parse
from gocker.runtime.oci.container import Container
from gocker.runtime.oci.lifecycle import one_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cgroup.group import Cgroup
    from gocker.runtime.oci.arguments import Options
    from gocker.runtime.oci.main import Globals

# option: (group, property)
_NUMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_KINDS = {
    "resources": TEXT,
    **dict.fromkeys((*_NUMBERS, *_TEXTS), TEXT),
    "l3-cache-schema": TEXT,
    "mem-bw-schema": TEXT,
}
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}


def _amount(name: str, text: str) -> int:
    """Return a number, perhaps with the suffix of a size in bytes."""
    digits, suffix = text, ""
    if name.startswith(("memory", "kernel")):
        digits = text.lower().removesuffix("b").removesuffix("i")
        if digits[-1:] in _SUFFIXES:
            digits, suffix = digits[:-1], digits[-1]
    try:
        return int(digits) << _SUFFIXES.get(suffix, 0)
    except ValueError:
        raise UsageError(f"--{name} needs a number, not {text!r}") from None


def _wanted(options: Options) -> dict[str, Any]:
    path = options.text("resources")
    if path is not None:
        value = bundle.load(path) if path != "-" else _standard_input()
        found: dict[str, Any] = schema.checked(value, schema.RESOURCES, "resources")
        return found
    wanted: dict[str, Any] = {}
    for name, (group, key) in (*_NUMBERS.items(), *_TEXTS.items()):
        text = options.text(name)
        if text is not None:
            value = text if name in _TEXTS else _amount(name, text)
            wanted.setdefault(group, {})[key] = value
    return wanted


def _standard_input() -> Any:
    try:
        return jsontext.loads(sys.stdin.buffer.read())
    except ValueError as error:
        raise ConfigError(f"standard input is not JSON: {error}", phase="config") from None


def update_command(globals_: Globals, argv: list[str]) -> int:
    """``update [--resources FILE | limits] ID``."""
    options = parse(argv, _KINDS, {"r": "resources"})
    container_id = one_id(options)
    for name in ("l3-cache-schema", "mem-bw-schema"):
        if options.text(name):
            raise UsageError(f"--{name} is refused: this runtime has no intelRdt")
    wanted = _wanted(options)
    with Container.open(globals_.root, container_id, lock=True) as container:
        status = container.status()
        if status not in (state.RUNNING, state.CREATED, state.PAUSED):
            raise ContainerError(f"cannot update container {container_id}: it is {status}")
        group = container.cgroup()
        if group is None:
            raise HostError(f"container {container_id} has no cgroup")
        config = container.config()
        before: dict[str, Any] = config["linux"]["resources"]
        group.set(complete(before, wanted))
        for name, values in wanted.items():
            if isinstance(values, dict) and isinstance(before.get(name), dict):
                before[name] |= values
            else:
                before[name] = values
        container.directory.write(state.CONFIG, config)
    return 0


def complete(before: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what to write: a limit that the kernel takes only with another brings that along."""
    made = {name: dict(value) if isinstance(value, dict) else value
            for name, value in wanted.items()}  # fmt: skip
    for group, first, second in (("memory", "swap", "limit"), ("cpu", "quota", "period")):
        if first in made.get(group, {}) and second not in made[group]:
            known = before.get(group, {}).get(second)
            if known is not None:
                made[group][second] = known
    return made


def events_command(globals_: Globals, argv: list[str]) -> int:
    """``events [--stats] [--interval DURATION] ID``: one JSON object per line."""
    options = parse(argv, {"stats": FLAG, "interval": TEXT}, {})
    container_id = one_id(options)
    interval_s = _seconds(options.text("interval") or "5s")
    with Container.open(globals_.root, container_id) as container:
        if not container.pid:
            raise ContainerError(f"container {container_id} is not running")
        record, group = container.record.get("cgroup"), container.cgroup()
        if record is None or group is None:
            raise HostError(f"container {container_id} has no cgroup")
        if options.flag("stats"):
            _write("stats", container_id, statistics.read(record))
        else:
            _watch(container_id, container.pidfd(), group, record, interval_s)
    return 0


def _write(kind: str, container_id: str, data: Any = None) -> None:
    line = {"type": kind, "id": container_id} | ({} if data is None else {"data": data})
    os.write(1, (jsontext.dumps(line) + "\n").encode())


def _watch(
    container_id: str, pidfd: int, group: Cgroup, record: dict[str, Any], interval_s: float
) -> None:
    """Write statistics at every interval, and what happens, until the first process ends."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    oom_fd, mask = group.watch_oom()
    poll.register(oom_fd, mask)
    count = group.read_oom() or 0
    due = time.monotonic() + interval_s
    while True:
        ready = dict(poll.poll(max(0.0, due - time.monotonic()) * 1000))
        if oom_fd in ready:
            group.clear_oom()
        # Also at its end, which may be told first. It fires for its parent's reasons, too.
        now = (group.read_oom() or 0) if ready else count
        if now > count:
            _write("oom", container_id)
        count = now
        if pidfd in ready:
            os.close(pidfd)
            return
        if time.monotonic() >= due:
            _write("stats", container_id, statistics.read(record))
            due += interval_s


def _seconds(text: str) -> float:
    """Return a Go duration of one unit in seconds; at least a millisecond."""
    for suffix, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        digits = text.removesuffix(suffix)
        if digits != text:
            try:
                seconds = float(digits) * factor
            except ValueError:
                break
            if 0.001 <= seconds <= 1e6:
                return seconds
            break
    raise UsageError(f"--interval needs a duration such as 5s, not {text!r}")
