"""The same questions to gocker, runc, crun, podman, docker: ``python -m tests.security.peers``.

As root. Two tables: what a container of each one's own default configuration sees, and which
attacks of the catalogue each withstands. What is not installed or does not start here is told;
nothing is left. ``--json FILE`` writes a verdict for each id, for ``tests.security.table --peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.security import peer_attacks
from tests.support import bundle, peers
from tests.support import seccomp_table as table

READ = (
    "/proc/kcore", "/proc/keys", "/proc/interrupts", "/proc/timer_list", "/proc/kallsyms",
    "/proc/kmsg", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/pagetypeinfo", "/proc/config.gz",
    "/proc/mtrr", "/sys/kernel/notes", "/sys/kernel/vmcoreinfo", "/proc/sched_debug",
    "/sys/firmware",
)  # fmt: skip
CALLS = {
    "unshare user": table.call("unshare", 0x10000000),
    "i386 getpid": "i386:20",
    "af_alg": table.call("socket", 38, 5, 0),
    "af_vsock": table.call("socket", 40, 1, 0),
    "af_packet": table.call("socket", 17, 3, 0),
    "netlink audit": table.call("socket", 16, 3, 9),
    "TIOCSTI": table.call("ioctl", 0, 0x5412, 0),
    "unknown call": "9999",
}
_CALLS = " ".join(table.call(name, *[table.MINUS_ONE] * 6) for name in table.REFUSED.split())
# name: a script that prints one line.
LINES = {
    "refused": f"/p/probe {_CALLS} | grep -cx 1",
    "readable": f"n=0; for f in {' '.join(READ)}; do c=$( (ls -A $f/ || head -c 64 $f) "
                "2>/dev/null | wc -c); [ \"$c\" = 0 ] || n=$((n + 1)); done; echo $n",
    "cgroups": "grep -c -v ':/$' /proc/self/cgroup",
    "ignored": "grep ^SigIgn: /proc/self/status | cut -f 2",
    "bounding": "grep ^CapBnd: /proc/self/status | cut -f 2",
    "inheritable": "grep -E '^Cap(Inh|Amb):' /proc/self/status | cut -f 2 | tr '\\n' ' '; echo",
    "privs": "grep ^NoNewPrivs: /proc/self/status | cut -f 2",
    "seccomp": "grep ^Seccomp: /proc/self/status | cut -f 2",
    "fds": "echo $(($(ls /proc/self/fd | wc -l) - 4))",  # and that of ls itself
    "environ": "env | grep -c ^GK_CANARY",
    "umask": "umask",
    "core": "ulimit -c",
    "shared": "grep -cE ' (shared|master):' /proc/self/mountinfo",
    "paths": "grep -v ' /p ' /proc/self/mountinfo | cut -d ' ' -f 4 | grep -cE '/.*/'",
    "cgroupfs": "n=0; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do "
                "mkdir $d/gk 2>/dev/null && n=$((n + 1)) && rmdir $d/gk; done; echo $n",
    "tun": "{ mknod /dev/gk c 10 200 && : <>/dev/gk; } 2>/dev/null && echo yes || echo no",
}  # fmt: skip
SCRIPT = f"/p/probe {' '.join(CALLS.values())}\n" + "\n".join(LINES.values())
QUESTIONS = (
    ("H1", "unshare(NEWUSER) refused", "unshare user", ("1",)),
    ("H2", "i386 call refused", "i386 getpid", ("signal 31", "38")),
    ("H4", "AF_ALG refused", "af_alg", ("1",)),
    ("F7", "AF_VSOCK refused", "af_vsock", ("1",)),
    ("F5", "AF_PACKET refused", "af_packet", ("1",)),
    ("H4", "NETLINK_AUDIT refused", "netlink audit", ("1",)),
    ("A11", "TIOCSTI refused by the filter", "TIOCSTI", ("1",)),
    ("H5", "unknown call is ENOSYS", "unknown call", ("38",)),
)
# id, question, key, the good values (None: only shown).
FIGURES: tuple[tuple[str, str, str, tuple[str, ...] | None], ...] = (
    ("H3", f"of {len(table.REFUSED.split())} dangerous calls refused with EPERM", "refused",
     (str(len(table.REFUSED.split())),)),
    ("B14", f"of {len(READ)} sensitive files readable", "readable", ("0",)),
    ("B15", "lines of /proc/self/cgroup that name a host path", "cgroups", ("0",)),
    ("B15", "cgroup directories in which one can be made", "cgroupfs", ("0",)),
    ("B16", "/dev/net/tun opened by a node of its own", "tun", ("no",)),
    ("B11", "mounts with propagation", "shared", ("0",)),
    ("B11", "mounts that show a path of the host", "paths", None),
    ("A3", "descriptors of the caller in the job, of 10", "fds", ("0",)),
    ("A6", "variables of the caller in the job", "environ", ("0",)),
    ("A7", "SigIgn", "ignored", ("0000000000000000",)),
    ("A8", "inheritable and ambient sets", "inheritable", ("0000000000000000 0000000000000000",)),
    ("A8", "bounding set", "bounding", None),
    ("A13", "no_new_privs", "privs", ("1",)),
    ("A13", "umask", "umask", ("0022",)),
    ("A13", "core limit", "core", ("0",)),
    ("H6", "seccomp mode", "seccomp", ("2",)),
)  # fmt: skip
ENGINES = ("gocker", "runc", "crun", "podman", "docker")
Seen = dict[str, dict[str, str]]


def make(name: str, top: Path) -> peers.Engine | None:
    """Return an engine, or None where it is not installed or does not start."""
    if name == "gocker":
        return peers.Ours(top)
    if shutil.which("dockerd" if name == "docker" else name) is None:
        return None
    try:
        return peers.Runtime(name, top) if name in ("runc", "crun") else peers.Program(name, top)
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None


def look(engine: peers.Engine, root: Path, probe: Path) -> dict[str, str]:
    """Return what a container of the default configuration sees."""
    fds = [os.open("/root", os.O_RDONLY | os.O_DIRECTORY) for _ in range(10)]
    os.environ["GK_CANARY"] = "1"
    try:
        case = peers.sh(root, SCRIPT, volumes=((probe, "/p", "ro"),), fds=tuple(fds))
        answer = engine.run(case)
    finally:
        del os.environ["GK_CANARY"]
        for fd in fds:
            os.close(fd)
    lines = [line.strip() for line in answer.out.splitlines()]
    if len(lines) != len(CALLS) + len(LINES):
        print(f"{engine.name}: no answer: {answer}", file=sys.stderr)
        return {}
    return dict(zip((*CALLS, *LINES), lines, strict=True))


def _verdicts(seen: Seen) -> Seen:
    """Return id -> engine -> passed or failed, of what containers see."""
    found: Seen = {}
    for number, _, key, good in (*QUESTIONS, *FIGURES):
        for name, lines in seen.items():
            if key in lines and good is not None:
                failed = lines[key] not in good or found.get(number, {}).get(name) == "failed"
                found.setdefault(number, {})[name] = "failed" if failed else "passed"
    return found


def _print(head: str, rows: list[tuple[str, str, list[str]]]) -> None:
    print(f"\n| id | {head} | {' | '.join(ENGINES)} |\n|---|---|{'---|' * len(ENGINES)}")
    for number, text, row in rows:
        print(f"| {number} | {text} | {' | '.join(row)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--only", default="", help="one engine")
    arguments = parser.parse_args()
    seen: Seen = {}
    attacks: Seen = {}
    peers.enter()
    with tempfile.TemporaryDirectory(prefix="gocker-peers-", dir="/var/tmp") as name:
        top = Path(name)
        top.chmod(0o755)
        root = bundle.make_rootfs(top / "rootfs")
        for applet in ("grep", "wc", "rmdir", "ps"):
            (root / "bin" / applet).symlink_to("busybox")
        (root / "p").mkdir()
        probe = top / "probe"
        probe.mkdir()
        table.compile_probe(probe)
        attack = peer_attacks.Attacks(top, root)
        try:
            for it in ENGINES:
                engine = make(it, top) if arguments.only in ("", it) else None
                if engine is None:
                    continue
                try:
                    seen[it] = look(engine, root, probe)
                    attacks[it] = attack.run(engine)
                finally:
                    engine.close()
        finally:
            attack.close()
    rows = [
        (number, text, [_yes(seen.get(it, {}).get(key), good) for it in ENGINES])
        for number, text, key, good in QUESTIONS
    ]  # fmt: skip
    rows += [
        (number, text, [seen.get(it, {}).get(key, "-") for it in ENGINES])
        for number, text, key, _ in FIGURES
    ]  # fmt: skip
    _print("question", rows)
    _print("attack", [
        (number, text, [attacks.get(it, {}).get(key, "-") for it in ENGINES])
        for key, (number, text) in peer_attacks.TITLES.items()
    ])  # fmt: skip
    if arguments.json:
        verdicts = peer_attacks.merge(_verdicts(seen), attacks)
        Path(arguments.json).write_text(json.dumps(verdicts, indent=1) + "\n")
    return 0


def _yes(value: str | None, good: tuple[str, ...]) -> str:
    return "-" if value is None else "yes" if value in good else "no"


if __name__ == "__main__":
    sys.exit(main())
