"""``security_opt``: a seccomp profile in docker's format, masks, labels of security modules.

Source: docker run reference, "Security configuration"; podman-run(1), --security-opt;
moby profiles/seccomp/seccomp.go (the format).
"""

from __future__ import annotations

import fnmatch
import json
import os

from gocker.errors import GockerError, PlanError
from gocker.plan.seccomp import ARCHITECTURES
from gocker.spec import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker import oci

MAX_BYTES = 1 << 20
_UNCONFINED = "unconfined"


def split(option: str) -> tuple[str, str]:
    """Return the key and the value of an option, which ``=`` or ``:`` separates."""
    sign = min((place for place in (option.find("="), option.find(":")) if place >= 0), default=-1)
    return (option, "") if sign < 0 else (option[:sign], option[sign + 1 :])


def apply(config: oci.Config, options: Iterable[str], directory: str, caps: Iterable[str]) -> None:
    """Change a configuration as the options say; `caps`: the bounding set.

    Raises:
        PlanError: a file that is no profile, or an option that this host has nothing for.
    """
    linux, process = config["linux"], config["process"]
    for option in options:
        key, value = split(option)
        if key == "seccomp" and value != _UNCONFINED:
            linux["seccomp"] = profile(value, directory, frozenset(caps))
        elif key == "systempaths":
            linux["maskedPaths"], linux["readonlyPaths"] = [], []
        elif key == "unmask":
            _unmask(linux, value)
        elif key == "mask":
            linux["maskedPaths"] = [*linux.get("maskedPaths", []), *value.split(":")]
        elif key == "apparmor" and value != _UNCONFINED:
            process["apparmorProfile"] = value
        elif key == "label" and value != "disable":
            raise PlanError(
                f"security_opt {option!r}: gocker makes no SELinux labels",
                hint="label=disable, or run where SELinux is off",
            )


def _unmask(linux: oci.Linux, value: str) -> None:
    patterns = ["*"] if value == "ALL" else value.split(":")

    def kept(paths: list[str]) -> list[str]:
        return [it for it in paths if not any(fnmatch.fnmatchcase(it, each) for each in patterns)]

    linux["maskedPaths"] = kept(linux.get("maskedPaths", []))
    linux["readonlyPaths"] = kept(linux.get("readonlyPaths", []))


def profile(path: str, directory: str, caps: frozenset[str]) -> oci.Seccomp:
    """Return OCI's form of a profile file in docker's format.

    Raises:
        PlanError: it cannot be read, or is no profile.
    """
    full = os.path.join(directory, path)
    try:
        found = json.loads(files.read(full, MAX_BYTES))
        return convert(found, os.uname().machine, os.uname().release, caps)
    except (OSError, GockerError, ValueError, RecursionError) as error:
        raise PlanError(f"security_opt seccomp={path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise PlanError(f"security_opt seccomp={path}: not a profile: {error!r}") from error


def convert(found: Any, machine: str, kernel: str, caps: frozenset[str]) -> oci.Seccomp:
    """Return the profile for a machine, a kernel's release and capabilities.

    Raises:
        ValueError: something in it has no meaning for gocker.
        KeyError, TypeError, AttributeError: it has another form.
    """
    known = {
        "defaultAction", "defaultErrnoRet", "archMap", "architectures", "flags", "syscalls",
        "listenerPath", "listenerMetadata",
    }  # fmt: skip
    if set(found) - known:
        raise ValueError(f"unknown key {sorted(set(found) - known)[0]!r}")
    native = ARCHITECTURES[machine]
    architectures = found.get("architectures") or [native]
    for entry in found.get("archMap") or []:
        if entry["architecture"] == native:
            architectures = [native, *(entry.get("subArchitectures") or [])]
    made: oci.Seccomp = {"defaultAction": found["defaultAction"], "architectures": architectures,
                         "syscalls": []}  # fmt: skip
    if found.get("defaultErrnoRet") is not None:
        made["defaultErrnoRet"] = found["defaultErrnoRet"]
    if found.get("flags"):
        made["flags"] = found["flags"]
    for key in ("listenerPath", "listenerMetadata"):
        if found.get(key):
            made[key] = found[key]
    for rule in found.get("syscalls") or []:
        if _applies(rule, native, kernel, caps):
            made["syscalls"].append(_rule(rule))
    return made


def _rule(rule: Any) -> oci.SeccompRule:
    names = rule.get("names") or [rule["name"]]
    made: oci.SeccompRule = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        made["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        made["args"] = rule["args"]
    return made


def _applies(rule: Any, native: str, kernel: str, caps: frozenset[str]) -> bool:
    """Return whether a rule is for this host and container: its ``includes`` and ``excludes``."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    arch = _ARCH_NAMES.get(native, native)
    return (
        not set(excludes.get("caps") or ()) & caps
        and arch not in (excludes.get("arches") or ())
        and set(includes.get("caps") or ()) <= caps
        and (not includes.get("arches") or arch in includes["arches"])
        and _release(kernel) >= _release(includes.get("minKernel") or "0.0")
        and (not excludes.get("minKernel") or _release(kernel) < _release(excludes["minKernel"]))
    )


# Docker's words for architectures in rules are Go's.
_ARCH_NAMES = {"SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64"}


def _release(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.split(".", maxsplit=1)[0].split("-", maxsplit=1)[0]
    return int(major), int(minor)
