"""A throw-away virtual machine that sees this machine's files: boots, runs a command, powers off.

Emulated (TCG): it needs no hardware and no right, only files. The root is an overlay, this
machine's / over 9p read-only below a tmpfs; /scratch, /tmp and /var/tmp are an empty disk. There
is no network but loopback. Everything is 15 to 40 times slower than here.
"""

from __future__ import annotations

import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.vm import initramfs, kernel

QEMU = "qemu-system-x86_64"
TIMED_OUT, DIED = 124, 125
_PORTS = ("out", "err", "result")
_DISK_BYTES = 6 << 30
# Any command's environment: GOCKER_VM tells tests to be patient.
_ENVIRON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
    "LANG": "C.UTF-8", "VMHOST": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


def run(
    command: Sequence[str], *, release: str = kernel.RELEASE, cgroup: str = "v2",
    directory: Path | None = None, shares: Sequence[str] = (), cpus: int = 2,
    memory_mib: int = 3072, timeout_s: float = 1800.0,
) -> int:  # fmt: skip
    """Run a command in the machine; its output goes to ours as it comes.

    Args:
        release: of the kernel, as Debian has it.
        cgroup: how cgroups are mounted: v2, v1 or hybrid.
        directory: working directory, ours by default.
        shares: directories that are writable and the same as here.

    Returns:
        the command's exit code; 124 after `timeout_s`, 125 if the machine died.
    """
    booted = kernel.prepare(release)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in _ENVIRON.items()]
    lines += [f"cd {shlex.quote(str(directory or Path.cwd()))} || exit 126",
              f"exec {shlex.join(command)}"]  # fmt: skip
    settings = {"CGROUP": cgroup, "SHARES": " ".join(shares)}
    work = Path(tempfile.mkdtemp(prefix="gocker-vm-", dir="/var/tmp"))
    try:
        (work / "initramfs").write_bytes(initramfs.make(booted, settings, "\n".join(lines) + "\n"))
        with (work / "disk").open("wb") as disk:
            disk.truncate(_DISK_BYTES)
        options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", options, str(work / "disk")],
                       check=True)  # fmt: skip
        return _boot(_arguments(booted, work, cgroup, shares, cpus, memory_mib), work, timeout_s)
    finally:
        shutil.rmtree(work)  # nothing is mounted there: the machine has its own mounts


def _arguments(
    booted: Path, work: Path, cgroup: str, shares: Sequence[str], cpus: int, memory_mib: int
) -> list[str]:
    line = "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable random.trust_cpu=on "
    line += "no_timer_check " + ("cgroup_no_v1=all" if cgroup == "v2" else "")
    found = [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
        "-M", "q35", "-m", str(memory_mib), "-smp", str(cpus), "-cpu", "Nehalem",
        # Never KVM: where it is itself emulated it opens, and hangs.
        "-accel", "tcg,thread=multi,tb-size=1024",
        "-kernel", str(kernel.bootable(booted)), "-initrd", str(work / "initramfs"),
        "-append", line, "-serial", f"file:{work}/console",
        "-device", "virtio-serial-pci,max_ports=4", "-device", "virtio-rng-pci",
        "-drive", f"if=none,id=disk,file={work}/disk,format=raw,cache=unsafe",
        "-device", "virtio-blk-pci,drive=disk",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
    ]  # fmt: skip
    for number, path in enumerate(shares):
        found += ["-fsdev", f"local,id=s{number},path={path},security_model=none,multidevs=remap",
                  "-device", f"virtio-9p-pci,fsdev=s{number},mount_tag=share{number}"]  # fmt: skip
    return found


def _boot(arguments: list[str], work: Path, timeout_s: float) -> int:
    pairs = {name: socket.socketpair() for name in _PORTS}
    theirs = [pair[1] for pair in pairs.values()]
    for name, sock in zip(_PORTS, theirs, strict=True):
        arguments += ["-chardev", f"socket,id={name},fd={sock.fileno()}",
                      "-device", f"virtserialport,chardev={name},name=vm.{name}"]  # fmt: skip
    fds = [sock.fileno() for sock in theirs]
    machine = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=fds)
    try:
        for sock in theirs:
            sock.close()
        result = _follow({name: pair[0] for name, pair in pairs.items()}, timeout_s)
    finally:
        machine.kill()  # powered off, or past its time
        machine.wait()
        for ours, _ in pairs.values():
            ours.close()
    if result is None:
        sys.stderr.write(f"the machine did not end within {timeout_s:g} s\n")
        return TIMED_OUT
    if not result.strip().isdigit():
        console = (work / "console").read_text(errors="replace")
        sys.stderr.write(
            f"the machine died: {result!r}; the end of its console:\n{console[-3000:]}"
        )
        return DIED
    return int(result)


def _follow(sockets: dict[str, socket.socket], timeout_s: float) -> bytes | None:
    """Copy what comes until the machine is off; return its result, None if it takes too long."""
    result = b""
    until = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for name, sock in sockets.items():
            selector.register(sock, selectors.EVENT_READ, name)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                data = sockets[key.data].recv(1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.data == "result":
                    result += data
                else:
                    stream = sys.stdout if key.data == "out" else sys.stderr
                    stream.buffer.write(data)
                    stream.buffer.flush()
    return result
