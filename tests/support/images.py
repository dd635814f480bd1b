"""Makes images: archives, layers, layouts; and runs a registry on the loopback."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.command import Gocker

BUSYBOX = Path("/bin/busybox")
REGISTRY_PATIENCE_S = 20.0
OCI = "application/vnd.oci.image"
Json = dict[str, Any]


def member(name: str, content: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a tar entry: a file with `content`, or what ``type`` says; mode 0755 by default."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755
    for key, value in fields.items():
        setattr(info, key, value)
    if content is None and "type" not in fields:
        info.type = tarfile.DIRTYPE
    if content is not None:
        info.size = len(content)
    return info, content or b""


def archive(entries: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:  # fmt: skip  # noqa: E501  # a signature
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def busybox_layer() -> bytes:
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    names = [name for name in applets.stdout.split() if name != "busybox"]
    return archive([
        *(member(name) for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home")),
        member("bin/busybox", BUSYBOX.read_bytes()),
        *(member(f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox") for name in names),
        member("etc/passwd", b"root:x:0:0::/root:/bin/sh\nalice:x:1234:2345::/home:/bin/sh\n"),
        member("etc/group", b"root:x:0:\nstaff:x:2345:\n"),
    ])  # fmt: skip


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layout:
    """An OCI image layout being written."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._entries: list[Json] = []

    def blob(self, data: bytes, media_type: str) -> Json:
        digest = sha256(data)
        (self.path / "blobs" / "sha256" / digest[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def document(self, value: Json, media_type: str) -> Json:
        return self.blob(json.dumps(value).encode(), media_type)

    def image(
        self, layers: list[bytes], config: Json | None = None, tag: str = "latest", *,
        packed: bool = True, change: Any = None,
    ) -> Json:  # fmt: skip
        """Add an image of uncompressed layers; return its descriptor."""
        document = {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64", "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        }  # fmt: skip
        kind = f"{OCI}.layer.v1.tar" + ("+gzip" if packed else "")
        manifest = {
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
            "config": self.document(document, f"{OCI}.config.v1+json"),
            "layers": [
                self.blob(gzip.compress(layer, 1, mtime=0) if packed else layer, kind)
                for layer in layers
            ],
        }  # fmt: skip
        if change is not None:
            change(manifest)
        entry = self.document(manifest, f"{OCI}.manifest.v1+json")
        self.add(entry, tag)
        return entry

    def add(self, entry: Json, tag: str) -> None:
        notes = {"org.opencontainers.image.ref.name": tag}
        self._entries.append({**entry, "annotations": notes})
        index = {"schemaVersion": 2, "manifests": self._entries}
        (self.path / "index.json").write_text(json.dumps(index))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def registry(directory: Path, **parts: Any) -> Iterator[str]:
    """Run Debian's docker-registry on the loopback; give its host and port."""
    host = f"127.0.0.1:{free_port()}"
    http = {"addr": host, **parts.pop("http", {})}
    config = {
        "version": 0.1, "log": {"level": "error"}, "http": http,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")},
                    "delete": {"enabled": True}},
        **parts,
    }  # fmt: skip
    path = directory / "config.yml"
    path.write_text(json.dumps(config))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(path)], stdout=log, stderr=log,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
    try:
        _wait_for(host, process)
        yield host
    finally:
        process.kill()
        process.wait()


def _wait_for(host: str, process: subprocess.Popen[bytes]) -> None:
    name, _, port = host.partition(":")
    deadline = time.monotonic() + REGISTRY_PATIENCE_S
    while True:
        assert process.poll() is None, "the registry has ended"
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the registry does not listen"
            time.sleep(0.02)  # it has no other way to tell
        else:
            return


@contextmanager
def host_network(gocker: Gocker) -> Iterator[Gocker]:
    """Have the command in this process's network, where the registries of tests are."""
    gocker.netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield gocker
    finally:
        os.close(gocker.netns)
        gocker.netns = None


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
