"""Runs gocker-oci on mutations of valid configurations: a clean error, or a container that ran.

    python tests/fuzz/oci_fuzz.py --count 100000 --seed 1     # offline
    python tests/fuzz/oci_fuzz.py --seconds 8                 # what CI runs

Never a traceback, never a hang, nothing left: no process, no cgroup, no state. Needs root; works in
a mount namespace of its own in which the host's file systems are read-only. A configuration that
fails is printed; exit code 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from gocker.linux import mount, process  # noqa: E402  # the path comes first
from gocker.runtime.oci import create, lifecycle, main, state  # noqa: E402, F401  # loaded once
from tests.support.bundle import make_rootfs  # noqa: E402  # same
from tests.support.oci import cgroups_left, config  # noqa: E402  # same

HANG_S = 30.0
NAME = f"oci-fuzz-{os.getpid()}"
POOL: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 1000, 65535, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 64, 0.5,
    "", "/", ".", "..", "/bin/true", "/nothing", "relative/path", "a" * 300, "x\0y", "\udc80", "é",
    "rw", "ro", "bind", "rbind", "rshared", "private", "size=1m", "mode=777", "nonsense=1",
    "proc", "sysfs", "tmpfs", "devpts", "cgroup", "overlay", "/proc", "/proc/self", "/sys", "/dev",
    "/dev/pts", "/etc", "/tmp/../..", "/proc/sys/kernel", "pid", "user", "network", "time", "mount",
    "CAP_SYS_ADMIN", "CAP_NONE", "RLIMIT_NOFILE", "RLIMIT_CORE", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL",
    "1.0.0", "2.0.0", "max", "0-1", [], {}, [None], [""], ["/bin/true"], {"": ""}, {"type": "pid"},
    [[]], [{}],
]  # fmt: skip


def seeds() -> list[dict[str, Any]]:
    """Return valid configurations that together have most properties."""
    plain = config("/bin/true")
    rich = config("/bin/true")
    rich["annotations"] = {"a": "b"}
    rich["domainname"] = "domain"
    rich["process"] |= {
        "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5]},
        "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        "noNewPrivileges": True, "oomScoreAdj": 500,
    }  # fmt: skip
    hook = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}
    rich["hooks"] = {kind: [hook] for kind in ("createRuntime", "createContainer", "poststop")}
    rich["mounts"] += [
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "ro"]},
        {"destination": "/b", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    rich["linux"] |= {
        "resources": {
            "memory": {"limit": 64 << 20}, "pids": {"limit": 20},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "devices": [{"allow": False, "access": "rwm"},
                        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
        },
        "sysctl": {"kernel.shmmax": "1000000", "net.ipv4.ip_forward": "1"},
        "devices": [{"path": "/dev/zeros", "type": "c", "major": 1, "minor": 5, "fileMode": 438}],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                          "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}],
        },
        "maskedPaths": ["/proc/kcore", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys", "/etc"],
        "rootfsPropagation": "rprivate",
    }  # fmt: skip
    mapped = config("/bin/true")
    mapped["linux"]["namespaces"].append({"type": "user"})
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mapped["linux"] |= {"uidMappings": ids, "gidMappings": ids}
    return [plain, rich, mapped]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every part of a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            found += places(value[key])
    return found


def mutate(base: dict[str, Any], rng: random.Random, others: list[Any]) -> dict[str, Any]:
    """Return a copy with one to four changes."""
    made = copy.deepcopy(base)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        where, key = rng.choice(places(made) or [(made, "ociVersion")])
        kind = rng.randrange(6)
        if kind == 0:
            del where[key]
        elif kind == 1 and isinstance(where, list):
            where.append(copy.deepcopy(rng.choice(where)))
        elif kind == 2 and isinstance(where, dict):
            where[rng.choice(("unknown", "x-y", key.upper()))] = where.get(key)
        elif kind == 3:
            where[key] = copy.deepcopy(rng.choice(others))
        elif kind == 4 and isinstance(where[key], list):
            where[key].append(copy.deepcopy(rng.choice(POOL)))
        else:
            where[key] = copy.deepcopy(rng.choice(POOL))
    return made


class Fuzzer:
    """A bundle in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        make_rootfs(self.bundle / "rootfs")
        self.ran = self.refused = 0

    def once(self, value: Any) -> str | None:
        """Run one configuration; return what is wrong, if anything."""
        try:
            text = json.dumps(value)
        except ValueError:
            return None
        (self.bundle / "config.json").write_text(text, errors="surrogatepass")
        output = os.memfd_create("output")
        pid = os.fork()
        if pid == 0:
            self._child(output)
        hung = not self._wait(pid)
        _, status = os.waitpid(pid, 0)
        said = os.pread(output, 1 << 16, 0).decode(errors="replace")
        os.close(output)
        problem = "it hangs" if hung else self._judge(os.waitstatus_to_exitcode(status), said)
        return problem or self._left()

    def _child(self, output: int) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 70
        try:
            os.environ.pop("GOCKER_DEBUG", None)
            code = main.run(["--root", str(self.root), "run", "-b", str(self.bundle), NAME])
        finally:
            os._exit(code)

    def _wait(self, pid: int) -> bool:
        fd = os.pidfd_open(pid)
        done = bool(select.select([fd], [], [], HANG_S)[0])
        if not done:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)
        return done

    def _judge(self, code: int, said: str) -> str | None:
        if "internal error" in said or "Traceback" in said or code in (70, -11):
            return said.strip() or f"exit code {code}"
        if code and "level=error" in said:
            self.refused += 1
        elif code and not said:
            return f"exit code {code} and nothing said"
        else:
            self.ran += 1
        return None

    def _left(self) -> str | None:
        left = [str(path) for path in self.root.glob("*")] if self.root.is_dir() else []
        left += cgroups_left(NAME)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue  # an orphan that has ended
            left.append("a process")
        except ChildProcessError:
            pass
        return f"left: {left}" if left else None


def read_only_host() -> None:
    """Whatever a configuration makes of the host's root, it must not harm it."""
    process.unshare(process.CLONE_NEWNS)
    mount.mount(None, "/", None, mount.MS_PRIVATE | mount.MS_REC)
    mount.mount_setattr(mount.AT_FDCWD, "/", attr_set=mount.MOUNT_ATTR_RDONLY)


def fuzz() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1 << 62)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311  # no secret
    bases = seeds()
    others = [where[key] for base in bases for where, key in places(base)]
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        read_only_host()
        mount.mount("tmpfs", directory, "tmpfs", 0, "mode=755")
        fuzzer = Fuzzer(Path(directory))
        bad = number = 0
        while number < options.count and time.monotonic() < until:
            value = mutate(rng.choice(bases), rng, others)
            problem = fuzzer.once(value)
            number += 1
            if problem is not None:
                bad += 1
                print(f"#{number}: {problem}\n{json.dumps(value)}", flush=True)
                fuzzer_clean(fuzzer)
                if bad >= 20:
                    break
        print(f"{number} configurations: {fuzzer.ran} ran, {fuzzer.refused} refused, {bad} bad")
        mount.umount(directory, mount.MNT_DETACH)
        mount.mount_setattr(mount.AT_FDCWD, "/", attr_clr=mount.MOUNT_ATTR_RDONLY)
    return 1 if bad else 0


def fuzzer_clean(fuzzer: Fuzzer) -> None:
    """Remove what a bad case left, so that the next one is judged by itself."""
    pid = os.fork()
    if pid == 0:
        os._exit(main.run(["--root", str(fuzzer.root), "delete", "--force", NAME]))
    os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(fuzz())
