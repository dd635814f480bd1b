"""Every event of ``run.jsonl``: its name, its fields, once.

Names are ``object.verb``; fields are flat dotted names, OpenTelemetry's where it has one.
`build` refuses missing and extra fields, so the log, docs/events.md and the JSON Schema,
which are made from this table, cannot disagree.
"""

from __future__ import annotations

from time import gmtime, strftime

from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


SCHEMA_VERSION = 1

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array"},
    "object": {"type": "object"},
    "int?": {"type": ["integer", "null"]},
    "float?": {"type": ["number", "null"]},
    "str?": {"type": ["string", "null"]},
    "int|str": {"type": ["integer", "string"]},
}

VERDICTS = (
    "ok", "exit", "oom", "pids", "timeout", "signal",
    "unhealthy", "start_failed", "skipped", "cancelled",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event. `type` is a key of the JSON type table; "?" allows null."""

    type: str
    doc: str
    required: bool = True
    values: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Return the field's JSON Schema."""
        schema = {**_JSON_TYPES[self.type], "description": self.doc}
        return schema | {"enum": list(self.values)} if self.values else schema


ENVELOPE = {
    "schema": Field("int", "version of this schema"),
    "seq": Field("int", "sequence number in the run, from 1, without gaps"),
    "time": Field("str", "RFC 3339 time in UTC with microseconds"),
    "monotonic": Field("float", "CLOCK_MONOTONIC in seconds, for differences"),
    "event": Field("str", "name of the event"),
    "run.id": Field("str", "identifier of the run"),
    "project": Field("str", "name of the project"),
}

_UNIT = {
    "service": Field("str", "service as named in the spec"),
    "instance": Field("str", "one of the service's instances; the service's name if only one"),
}
_ATTEMPT = _UNIT | {"attempt": Field("int", "attempt, from 1")}
_CONTAINER = _ATTEMPT | {"container.id": Field("str", "identifier of the container")}
_VERDICT = Field("str", "what became of it", values=VERDICTS)

# docs/hosts.md tells what each does not have.
ISOLATION = ("root", "rootless-delegated", "rootless", "process")

EVENTS: dict[str, tuple[str, dict[str, Field]]] = {
    "run.started": ("A run begins.", {
        "gocker.version": Field("str", "version of gocker"),
        "spec.files": Field("list", "files the spec was read from"),
        "host.kernel": Field("str", "kernel release"),
        "host.cgroup": Field("str", "how cgroups are mounted", values=("v1", "v2", "hybrid")),
        "host.cpus": Field("int", "CPUs this process may use"),
        "isolation": Field("str", "isolation level", values=ISOLATION),
        "units": Field("int", "instances in the plan"),
        "parallel": Field("int", "jobs that may run at once"),
    }),
    "key.ignored": ("A key of the spec has no effect here; accepted, and said.", {
        "path": Field("str", "path of the key"),
        "place": Field("str", "file:line:column"),
        "reason": Field("str", "why it has no effect"),
    }),
    "security.relaxed": ("A service runs with less confinement than the default.", {
        **_UNIT,
        "profile": Field("str", "its security profile"),
        "weaker": Field("list", "objects: what, value, default, because (the key of the spec)"),
    }),
    "security.missing": ("This host cannot do what the default confinement asks for.", {
        "what": Field("str", "landlock, interpreter, limits"),
        "detail": Field("str", "what it has, and what is not enforced"),
    }),
    "volume.created": ("A named volume was made.", {
        "volume": Field("str", "name of the volume"),
        "path": Field("str", "its directory"),
    }),
    "network.created": ("A network of the project is there.", {
        "network": Field("str", "its real name"),
        "key": Field("str", "its name in the spec"),
        "driver": Field("str", "bridge or macvlan"),
        "subnets": Field("list", "its subnets"),
        "internal": Field("bool", "whether it leads nowhere outside"),
    }),
    "port.published": ("A port of the host leads to a container.", {
        **_UNIT,
        "protocol": Field("str", "tcp or udp"),
        "host": Field("str", "address on the host; 127.0.0.1 unless the spec names one"),
        "published": Field("int", "port on the host"),
        "target": Field("int", "port of the container"),
    }),
    "container.started": ("The container's program was executed.", {
        **_CONTAINER,
        "process.pid": Field("int", "PID of the container's first process, as the host sees it"),
        "process.start_time": Field("int", "when it started, in clock ticks since boot: with it "
                                    "the PID is no other process's", required=False),
        "image": Field("str", "image reference of the service"),
        "start_s": Field("float", "seconds from the request to execve"),
        "layer": Field("str", "name of the directory of what it writes to its root, in the data "
                       "root's containers/", required=False),
    }),
    "limit.applied": ("A limit was written to the kernel and read back.", {
        **_CONTAINER,
        "limit": Field("str", "name of the limit, as in OCI: memory.limit, cpu.quota …"),
        "requested": Field("int|str", "value asked for, in OCI's unit; a list of CPUs is a string"),
        "effective": Field("int|str", "value read back from the file, in the file's unit"),
        "file": Field("str", "the kernel's file"),
    }),
    "limit.skipped": ("A limit could not be set and the spec allows to go on without it.", {
        **_CONTAINER,
        "limit": Field("str", "name of the limit"),
        "requested": Field("int|str", "value asked for, in OCI's unit"),
        "reason": Field("str", "what the kernel said"),
    }),
    "container.oom": ("The kernel killed a process because of the memory limit.", {
        **_CONTAINER,
        "memory.limit": Field("int?", "limit in bytes"),
        "memory.peak": Field("int?", "highest use in bytes"),
        "oom_kills": Field("int", "processes killed so far in this container"),
    }),
    "container.health": ("The health state of a container changed.", {
        **_CONTAINER,
        "status": Field("str", "new state", values=("starting", "healthy", "unhealthy")),
        "failing_streak": Field("int", "probes that failed in a row"),
        "output": Field("str", "end of the last probe's output, at most 4 KiB"),
        "exit_code": Field("int?", "the last probe's exit code; null: it ran out of time, or there "
                           "was none", required=False),
    }),
    "container.stopping": ("gocker asked a container to stop.", {
        **_CONTAINER,
        "signal": Field("str", "signal sent to its first process"),
        "reason": Field("str", "why: timeout, run_timeout, cancelled, not_needed, fail_fast …"),
    }),
    "container.hook": ("A program of post_start or pre_stop has ended in a container.", {
        **_CONTAINER,
        "hook": Field("str", "when it is executed", values=("post_start", "pre_stop")),
        "number": Field("int", "its place in the list, from 1"),
        "exit_code": Field("int", "its exit code; 1 also if a signal ended it"),
        "output": Field("str", "end of its output"),
    }),
    "container.paused": ("The processes of a container were frozen.", _CONTAINER),
    "container.unpaused": ("The processes of a container go on.", _CONTAINER),
    "container.exited": ("A container's first process is gone, and all others with it.", {
        **_CONTAINER,
        "process.exit.code": Field("int?", "exit code, null when killed by a signal"),
        "process.exit.signal": Field("str?", "signal that ended it, or null"),
        "verdict": _VERDICT,
        "next": Field("str", "what follows", values=("done", "retry", "restart")),
        "duration_s": Field("float", "seconds from execve to exit"),
        "cpu.user_s": Field("float?", "CPU time in user mode, seconds"),
        "cpu.system_s": Field("float?", "CPU time in the kernel, seconds"),
        "cpu.throttled_s": Field("float?", "time spent throttled by the CPU quota, seconds"),
        "cpu.throttled_periods": Field("int?", "periods in which it was throttled"),
        "cpu.periods": Field("int?", "enforcement periods that went by"),
        "memory.limit": Field("int?", "limit in bytes"),
        "memory.peak": Field("int?", "highest use in bytes"),
        "memory.failcnt": Field("int?", "times the limit was hit"),
        "memory.oom_kills": Field("int?", "processes killed for memory"),
        "pids.limit": Field("int?", "limit of tasks"),
        "pids.peak": Field("int?", "most tasks at once"),
        "pids.denied": Field("int?", "forks refused by the limit"),
        "io.read_bytes": Field("int?", "bytes read from block devices"),
        "io.write_bytes": Field("int?", "bytes written to block devices"),
    }),
    "container.lost": ("A container died with its supervisor; told by the next command.", {
        **_CONTAINER,
        "reason": Field("str", "why nobody saw its end: supervisor-lost"),
        "exit_code": Field("int", "137, as after SIGKILL"),
    }),
    "container.failed": ("A container could not be started.", {
        **_CONTAINER,
        "verdict": _VERDICT,
        "next": Field("str", "what follows", values=("done", "retry", "restart")),
        "error": Field("object", "the error: type, message, hint, context, cause"),
    }),
    "artifact.saved": ("A file of a container that has ended was copied.", {
        **_CONTAINER,
        "path": Field("str", "where it was in the container"),
        "file": Field("str", "where it is now, below the project's directory"),
        "bytes": Field("int", "its size"),
    }),
    "layer.kept": ("What a container wrote to its root file system was kept.", {
        **_CONTAINER,
        "path": Field("str", "the directory of the overlay's upper layer"),
    }),
    "job.retry": ("Another attempt will be made.", {
        **_ATTEMPT,
        "verdict": _VERDICT,
        "delay_s": Field("float", "seconds until the next attempt"),
    }),
    "job.skipped": ("An instance will not run.", {
        **_UNIT,
        "because": Field("str", "the instance whose result made it so, or the reason"),
    }),
    "job.warned": ("Something about an instance that may not be meant.", {
        **_UNIT,
        "message": Field("str", "what was seen"),
        "hint": Field("str?", "what to do about it"),
    }),
    "job.finished": ("The last word on an instance.", {
        **_UNIT,
        "verdict": _VERDICT,
        "attempts": Field("int", "attempts made"),
        "allowed": Field("bool", "a failure that the spec allows"),
        "failed": Field("bool", "whether it makes the run fail"),
    }),
    "run.requested": ("A command asked for something, over the control socket.", {
        "request": Field("str", "what: stop, start, restart, kill, pause, unpause, down, adopt"),
        "units": Field("list", "instances it is about; empty for all, or none"),
        "uid": Field("int", "user of the command"),
        "process.pid": Field("int", "PID of the command"),
    }),
    "run.detached": ("The run goes on without the terminal that began it.", {
        "process.pid": Field("int", "PID of the process that runs it"),
        "exit_code": Field("int", "what the command that began it ended with"),
    }),
    "run.resumed": ("Another process runs what outlived the one before, which was killed.", {
        "process.pid": Field("int", "its PID"),
        "containers": Field("list", "identifiers of the containers that outlived it"),
    }),
    "run.interrupted": ("A signal asked gocker to stop.", {
        "signal": Field("str", "the signal"),
    }),
    "run.finished": ("A run ends.", {
        "exit_code": Field("int", "exit code of the command"),
        "reason": Field("str", "why: jobs_ok, job_failed, interrupted, run_timeout, error"),
        "duration_s": Field("float", "seconds since run.started"),
        "totals": Field("object", "number of instances by verdict"),
        "error": Field("object", "the error that ended the run", required=False),
    }),
}  # fmt: skip

_REQUIRED = {
    name: frozenset(key for key, field in fields.items() if field.required)
    for name, (_, fields) in EVENTS.items()
}
_KNOWN = {name: frozenset(fields) for name, (_, fields) in EVENTS.items()}


def check(event: str, fields: dict[str, Any]) -> None:
    """Refuse an unknown event and missing or extra fields.

    Raises:
        ValueError: naming the event and the fields.
    """
    known = _KNOWN.get(event)
    if known is None:
        raise ValueError(f"unknown event {event!r}")
    given = fields.keys()
    if given == known:
        return
    missing, extra = _REQUIRED[event] - given, given - known
    if missing or extra:
        raise ValueError(f"{event}: missing {sorted(missing)}, extra {sorted(extra)}")


def timestamp(seconds: float) -> str:
    """Return `seconds` since 1970 as RFC 3339 in UTC with microseconds."""
    whole, micro = divmod(round(seconds * 1e6), 1_000_000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(whole))}.{micro:06}Z"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one line of ``run.jsonl``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"gocker event, schema version {SCHEMA_VERSION}",
        "type": "object",
        "oneOf": [_event_schema(name) for name in EVENTS],
    }


def _event_schema(name: str) -> dict[str, Any]:
    doc, fields = EVENTS[name]
    properties = {key: field.schema() for key, field in (ENVELOPE | fields).items()}
    properties["event"] = {"const": name}
    properties["schema"] = {"const": SCHEMA_VERSION}
    return {
        "description": doc,
        "properties": properties,
        "required": [*ENVELOPE, *(key for key, field in fields.items() if field.required)],
        "additionalProperties": False,
    }


def markdown() -> str:
    """Return docs/events.md."""
    lines = ["# Events", "", "Made from `gocker/events.py` by `python -m gocker.events`.", ""]
    lines += ["Every line of `run.jsonl` has these fields:", "", *_table(ENVELOPE)]
    for name, (doc, fields) in EVENTS.items():
        lines += ["", f"## {name}", "", doc, "", *_table(fields)]
    return "\n".join(lines) + "\n"


def _table(fields: dict[str, Field]) -> list[str]:
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for key, field in fields.items():
        values = f" ({', '.join(field.values)})" if field.values else ""
        optional = "" if field.required else ", optional"
        kind = field.type.replace("?", " or null").replace("|", " or ")
        rows.append(f"| `{key}` | {kind}{optional} | {field.doc}{values} |")
    return rows


if __name__ == "__main__":
    import json
    import sys

    schema = sys.argv[1:] == ["--schema"]
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n" if schema else markdown())
