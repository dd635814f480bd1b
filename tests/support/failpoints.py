"""One failpoint and fault: a run that meets it, what the user is told, what is left."""

from __future__ import annotations

import json
from pathlib import Path

from gocker.failpoints import STEPS
from tests.support.command import Gocker, Result, Spec

# Where the user is told of a larger step: the phase of a container's error, the object's name.
WORDS = {
    "rootfs.mount": "mounts", "rootfs.attach": "mounts", "rootfs.cgroup": "mounts",
    "rootfs.file": "files", "rootfs.device": "devices", "rootfs.mask": "protected_paths",
    "rootfs.readonly": "protected_paths", "init.enter_cgroups": "join",
    "init.join": "process cgroup", "init.reaper": "process", "program.identity": "process",
    "program.lookup": "process", "call.chdir": "directory",
    "init.die_with_launcher": "start",
}  # fmt: skip


def spec(bind: Path) -> Spec:
    """Return a spec that takes every step of the list, in a second or so."""
    return {
        "services": {
            "first": {
                "command": ["sh", "-c", "cat /run/secrets/key /dev/null; echo first >/vol/first;"
                            " mkdir /out; echo x >/out/a; echo done-first"],
                "volumes": ["vol:/vol", {"type": "bind", "source": str(bind), "target": "/user"},
                            {"type": "volume", "target": "/anonymous"}],
                "secrets": ["key"], "mem_limit": "64m", "hostname": "first",
                "sysctls": {"kernel.msgmax": "4096"}, "devices": ["/dev/null:/dev/other:rwm"],
                "oom_score_adj": 10,
                "x-gocker": {"artifacts": {"paths": ["/out/*"]}},
            },
            "probed": {
                "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"],
                "healthcheck": {"test": ["CMD", "true"], "interval": "50ms", "timeout": "5s"},
                "stop_grace_period": "3s",
            },
            "last": {
                "command": ["sh", "-c", "cat /vol/first; echo done-last"],
                "init": True, "volumes": ["vol:/vol"],
                "depends_on": {"first": {"condition": "service_completed_successfully"},
                               "probed": {"condition": "service_healthy"}},
            },
        },
        "volumes": {"vol": {}},
        "secrets": {"key": {"environment": "KEY"}},
        "x-gocker": {"keep": "always"},
    }  # fmt: skip


def meet(gocker: Gocker, name: str, fault: str, *, vfork: bool = True) -> Result:
    """Run the spec with one failpoint armed."""
    environ = {"GOCKER_FAILPOINTS": f"{name}={fault}", "KEY": "value"}
    if not vfork:
        environ["GOCKER_NO_VFORK"] = "1"
    bind = gocker.root / "user"
    bind.mkdir(exist_ok=True)
    return gocker.up(spec(bind), environ=environ)


def told(result: Result) -> str:
    """Return all that a user is told."""
    return result.err + result.out + json.dumps(result.records)


def words(name: str) -> set[str]:
    """Return words of which one has to be in the message for a step."""
    found = {name.partition(".")[2], *WORDS.get(name, "").split()}
    for target in STEPS[name]:
        path = target.partition(":")[2].split(".")
        found.add(path[-1].strip("_") if not path[-1].startswith("__") else path[-2])
    return {word.lower() for word in found if word}


def _told_loss(result: Result, instance: str) -> bool:
    """Return whether the work was done, and it is said that its log was lost."""
    warned = {event["message"] for event in result.events("job.warned", instance)}
    told = any("of its log are lost" in message for message in warned)
    return told and f"done-{instance}" in result.out


def _said(text: str) -> set[str]:
    return {word for word in ("launcher", "project's network") if word in text}


def problems(result: Result, name: str, fault: str) -> list[str]:
    """Return what is wrong with the end of a run that met a failpoint."""
    kind = fault.partition("=")[0].partition(":")[0]
    text = told(result)
    found = []
    if "Traceback" in text:
        found.append("a traceback")
    if result.code == 0:
        found += [
            f"exit code 0, and {instance} has not done its work"
            for instance in ("first", "last")
            if f"done-{instance}" not in result.log(instance) and not _told_loss(result, instance)
        ]
    elif kind == "kill":
        if result.code not in (-9, 1, 3):
            found.append(f"exit code {result.code}")
        elif result.code == 3 and not {"launcher", "project's network"} & _said(text):
            found.append("nothing is said of the launcher, or the network's process")
    else:
        if result.code not in (1, 3, 70):
            found.append(f"exit code {result.code}")
        if not any(word in text.lower() for word in words(name)):
            found.append(f"none of {sorted(words(name))} is in the message")
    return found
