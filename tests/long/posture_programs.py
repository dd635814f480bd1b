"""Ordinary programs under the default posture: ``python -m tests.long.posture_programs``, as root.

Needs Debian's gcc, git, iputils-ping, make, mmdebstrap, strace. What breaks is run once more by
``gocker explain``, whose words are printed. Servers are in tests/long/programs.py.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.command import Gocker

PYTHON = """
import asyncio, concurrent.futures, multiprocessing, os, socket, sqlite3, ssl, subprocess, tempfile
with concurrent.futures.ProcessPoolExecutor(2) as pool: assert sum(pool.map(abs, range(9))) == 36
with tempfile.TemporaryDirectory() as name:
    database = sqlite3.connect(name + '/x'); database.execute('create table t(a)')
assert subprocess.run(['true']).returncode == 0; ssl.create_default_context()
asyncio.run(asyncio.sleep(0)); socket.create_server(('127.0.0.1', 0)); os.memfd_create('x')
print('done')
"""
BUILD = r"""
mkdir /tmp/p && cd /tmp/p
for n in $(seq 30); do printf 'int f%d(int x) { return x + %d; }\n' $n $n >f$n.c; done
printf '#include <stdio.h>\nint f30(int);int main(void){puts(f30(0)==30?"done":"no");}\n' >main.c
printf 'OBJ=$(patsubst %%.c,%%.o,$(wildcard *.c))\nprogram: $(OBJ)\n\t$(CC) -o $@ $^\n' >Makefile
make -s -j4 && ./program
"""
GIT = """
cd /tmp && git init -q a && cd a && git config user.email a@b && git config user.name a
for n in 1 2 3; do echo $n >f; git add f; git commit -qm $n; done
git branch x HEAD~1; git rebase -q x; git gc -q; git clone -q . ../b
git -C ../b fsck && echo done
"""
TAR = """
cd /tmp && mkdir -p d/e && ln -s e d/l && ln /etc/passwd d/h 2>/dev/null; mkfifo d/p; echo x >d/e/f
chown -R 7:8 d && tar cpf a.tar d && rm -r d && tar xpf a.tar && tar df a.tar
stat -c %u:%g d/e/f | grep -qx 7:8 && echo done
"""
APT = """
echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*
apt-get -qq update && apt-get -qq install -y gocker-hello >/dev/null && hello-gocker
apt-get -qq remove -y gocker-hello >/dev/null && test ! -e /usr/bin/hello-gocker && echo done
"""
SCRIPTS: dict[str, dict[str, Any]] = {
    "python": {"command": ["/usr/bin/python3", "-c", PYTHON]},
    "gcc and make": {"command": ["sh", "-ec", BUILD]},
    "git": {"command": ["sh", "-ec", GIT], "environment": {"HOME": "/tmp"}},
    "tar": {"command": ["sh", "-ec", TAR]},
    "ping": {"command": ["sh", "-ec", "ping -c 2 -i 0.2 127.0.0.1 >/dev/null && echo done"]},
    "ping as a user": {"command": ["sh", "-ec", "ping -c 1 127.0.0.1 >/dev/null && echo done"],
                       "user": "1000:1000"},
    "strace with SYS_PTRACE": {"command": ["sh", "-ec", "strace -fo /tmp/o true && echo done"],
                               "cap_add": ["SYS_PTRACE"]},
}  # fmt: skip
# What the posture refuses, with a word of the reason that `gocker explain` has to give.
REFUSED: dict[str, tuple[list[str], str]] = {
    "strace": (["strace", "true"], "cap_add: [SYS_PTRACE]"),
    "unshare": (["unshare", "-n", "true"], "cap_add: [SYS_ADMIN]"),
    "mount": (["mount", "-t", "tmpfs", "x", "/tmp"], "cap_add: [SYS_ADMIN]"),
    "raw sockets": (["/usr/bin/python3", "-c", "import socket; socket.socket(17, 3, 0)"],
                    "cap_add: [NET_RAW]"),
    "sysctl": (["sh", "-c", "echo x >/proc/sys/kernel/hostname"], "a read-only path of /proc"),
    "chroot": (["chroot", "/", "true"], "cap_add: [SYS_CHROOT]"),
}  # fmt: skip


def debian(top: Path) -> Path:
    """Return a Debian root file system, made by mmdebstrap from the machine's own mirror."""
    target = top / "debian"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "bookworm", target], check=True)
    return target


def repository(top: Path) -> Path:
    """Return a local package repository with one small package."""
    package = top / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/bin").mkdir(parents=True)
    control = ("Package: gocker-hello\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\n"
               "Description: a test\n")  # fmt: skip
    (package / "DEBIAN/control").write_text(control)
    postinst = package / "DEBIAN/postinst"
    postinst.write_text(
        "#!/bin/sh\nset -e\ntouch /var/lib/gocker-hello\nchown 1:1 /var/lib/gocker-hello\n"
    )
    postinst.chmod(0o755)
    (package / "usr/bin/hello-gocker").write_text("#!/bin/sh\necho hello\n")
    (package / "usr/bin/hello-gocker").chmod(0o755)
    repo = top / "repo"
    repo.mkdir()
    deb = repo / "gocker-hello_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", package, deb], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    data = deb.read_bytes()
    (repo / "Packages").write_text(
        f"{control}Filename: ./{deb.name}\nSize: {len(data)}\n"
        f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    return repo


def main() -> int:
    gocker = Gocker()
    gocker.netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)  # audit records
    failed = 0
    try:
        gocker.root.chmod(0o755)
        root, repo = debian(gocker.root), repository(gocker.root)
        jobs = {name.replace(" ", "-"): {"image": "host:/", "network_mode": "none", **keys}
                for name, keys in SCRIPTS.items()}  # fmt: skip
        jobs["apt-in-Debian"] = {
            "image": f"rootfs:{root}", "command": ["sh", "-ec", APT], "network_mode": "none",
            "volumes": [f"{repo}:/repo:ro"],
        }  # fmt: skip
        result = gocker.up({"services": jobs}, "--parallel", "2")
        for name in jobs:
            good = result.verdict(name) == "ok" and result.log(name).endswith("done\n")
            failed += not good
            print(f"{'works' if good else 'FAILS':<7} {name}", flush=True)
            if not good:
                print(result.log(name)[-1000:])
        for name, (command, reason) in REFUSED.items():
            path = gocker.write({"services": {"job": {"image": "host:/", "command": command}}})
            said = gocker.command("explain", str(path), "job").out
            good = reason in said
            failed += not good
            print(f"{'refused' if good else 'FAILS  '} {name}: {reason}", flush=True)
            if not good:
                print(said)
    finally:
        os.close(gocker.netns)
        gocker.close()
    print(f"{len(jobs) + len(REFUSED) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
