"""The same questions to gocker, runc, crun, podman and docker: ``python -m tests.security.peers``.

As root. Each asks a container of its own default configuration (of runc and crun: `runc spec`,
`crun spec`); what is not installed or does not start here is told. Nothing is left.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import bundle
from tests.support import seccomp_table as table
from tests.support.command import Gocker

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
SCRIPT = f"""
/p/probe {" ".join(CALLS.values())}
/p/probe {" ".join(table.call(name, *[table.MINUS_ONE] * 6) for name in table.REFUSED.split())} |
    grep -cx 1
n=0; for f in {" ".join(READ)}; do
    c=$( (ls -A $f/ || head -c 64 $f) 2>/dev/null | wc -c)
    [ "$c" = 0 ] || n=$((n + 1)); done; echo $n
grep -c -v ':/$' /proc/self/cgroup
grep -E '^(CapBnd|NoNewPrivs|SigIgn|Seccomp):' /proc/self/status | cut -f 2 | tr '\\n' ' '
"""
QUESTIONS = (
    ("H1", "unshare(NEWUSER) refused", "unshare user", ("1",)),
    ("H2", "i386 call refused", "i386 getpid", ("signal 31", "38")),
    ("H4", "AF_ALG refused", "af_alg", ("1",)),
    ("H4", "AF_VSOCK refused", "af_vsock", ("1",)),
    ("F5", "AF_PACKET refused", "af_packet", ("1",)),
    ("H4", "NETLINK_AUDIT refused", "netlink audit", ("1",)),
    ("A11", "TIOCSTI refused by the filter", "TIOCSTI", ("1",)),
    ("H5", "unknown call is ENOSYS", "unknown call", ("38",)),
)
ENGINES = ("gocker", "runc", "crun", "podman", "docker")


def gocker(top: Path, root: Path, probe: Path) -> str:
    del top
    made = Gocker(image=f"rootfs:{root}")
    try:
        result = made.sh(SCRIPT, volumes=[f"{probe}:/p:ro"])
        return result.log() or print(result, file=sys.stderr) or ""
    finally:
        made.close()


def oci(runtime: str, top: Path, root: Path, probe: Path) -> str:
    directory = top / runtime
    directory.mkdir()
    subprocess.run([runtime, "spec"], cwd=directory, check=True)
    config = json.loads((directory / "config.json").read_text())
    config["root"] = {"path": str(root), "readonly": True}
    config["process"] |= {"terminal": False, "args": ["sh", "-c", SCRIPT]}
    config["mounts"].append({"destination": "/p", "source": str(probe), "type": "bind",
                             "options": ["bind", "ro"]})  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    state = f"--root {directory}/state run -b {directory} gocker-peer-{os.getpid()}"
    return bundle.run_pure_v1(f"exec {runtime} {state}", {**os.environ}).stdout


def podman(top: Path, root: Path, probe: Path) -> str:
    call = f"podman --root {top}/podman --runroot {top}/podman-run --cgroup-manager cgroupfs"
    run = (
        f"tar -C {root} -c . | {call} import -q - gocker-peer >/dev/null && "
        f"{call} run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "
        f"-v {probe}:/p:ro gocker-peer "
        'sh -c "$SCRIPT"; '
        f"{call} rmi -f gocker-peer >/dev/null 2>&1; {call} system reset -f >/dev/null 2>&1"
    )
    return _run(run)


def docker(top: Path, root: Path, probe: Path) -> str:
    """With a daemon of its own, which ends with the shell."""
    sock = f"unix://{top}/docker.sock"
    run = (
        f"dockerd --data-root {top}/docker --exec-root {top}/docker-run -p {top}/docker.pid "
        f"-H {sock} --bridge none --iptables=false --exec-opt native.cgroupdriver=cgroupfs "
        f">{top}/docker.log 2>&1 & daemon=$!; export DOCKER_HOST={sock}; "
        "for n in $(seq 60); do docker version >/dev/null 2>&1 && break; sleep 0.5; done; "
        f"tar -C {root} -c . | docker import - gocker-peer >/dev/null && "
        f'docker run --rm --network none -v {probe}:/p:ro gocker-peer sh -c "$SCRIPT"; '
        "kill $daemon; wait $daemon"
    )
    output = _run(run)
    if not output:
        print((top / "docker.log").read_text()[-400:], file=sys.stderr)
    return output


def _run(command: str) -> str:
    result = bundle.run_pure_v1(command, {**os.environ, "SCRIPT": SCRIPT})
    if not result.stdout:
        print(f"{command[:20]}: {result.stderr.strip()[-300:]}", file=sys.stderr)
    return result.stdout


def answers(output: str) -> dict[str, str]:
    lines = output.splitlines()
    if len(lines) < len(CALLS) + 4:
        print(f"no answer: {lines}", file=sys.stderr)
        return {}
    found = dict(zip(CALLS, lines, strict=False))
    refused, readable, cgroups, status = lines[len(CALLS) : len(CALLS) + 4]
    # Seccomp before NoNewPrivs or after it: in the order of /proc/self/status.
    ignored, bounding, privs, seccomp = status.split()[:4]
    return found | {
        "refused": refused, "readable": readable, "cgroups": cgroups, "ignored": ignored,
        "bounding": bounding, "privs": privs, "seccomp": seccomp,
    }  # fmt: skip


def main() -> int:
    seen: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="gocker-peers-", dir="/var/tmp") as name:
        top = Path(name)
        top.chmod(0o755)
        root = bundle.make_rootfs(top / "rootfs")
        for applet in ("grep", "wc", "cut"):
            link = root / "bin" / applet
            if not link.is_symlink():
                link.symlink_to("busybox")
        (root / "p").mkdir()
        probe = top / "probe"
        probe.mkdir()
        table.compile_probe(probe)
        for engine_name in ENGINES:
            if engine_name != "gocker" and shutil.which(engine_name) is None:
                continue
            if engine_name == "gocker":
                output = gocker(top, root, probe)
            elif engine_name in ("runc", "crun"):
                output = oci(engine_name, top, root, probe)
            else:
                ask = podman if engine_name == "podman" else docker
                output = ask(top, root, probe)
            seen[engine_name] = answers(output)
    print(f"| id | question | {' | '.join(ENGINES)} |\n|---|---|{'---|' * len(ENGINES)}")
    for number, text, key, good in QUESTIONS:
        row = [_yes(seen.get(it, {}).get(key), good) for it in ENGINES]
        print(f"| {number} | {text} | {' | '.join(row)} |")
    for number, text, key in (
        ("H3", f"of {len(table.REFUSED.split())} dangerous calls refused with EPERM", "refused"),
        ("B14", f"of {len(READ)} sensitive files readable", "readable"),
        ("B15", "lines of /proc/self/cgroup that name a host path", "cgroups"),
        ("A7", "SigIgn", "ignored"), ("A8", "bounding set", "bounding"),
        ("A13", "no_new_privs", "privs"), ("H6", "seccomp mode", "seccomp"),
    ):  # fmt: skip
        row = [seen.get(it, {}).get(key, "-") for it in ENGINES]
        print(f"| {number} | {text} | {' | '.join(row)} |")
    return 0


def _yes(value: str | None, good: tuple[str, ...]) -> str:
    return "-" if value is None else "yes" if value in good else "no"


if __name__ == "__main__":
    sys.exit(main())
