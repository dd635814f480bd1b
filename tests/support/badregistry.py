"""A registry of one image that misbehaves as it is told, on the loopback."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.images import Layout

# What a fault may do with a request: change the answer, or send one itself and return None.
Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[["Request", Answer], Answer | None]


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        answer = self._answer()
        self.server.seen[self.kind] += 1
        self.server.ranges.append(self.headers.get("Range", ""))
        fault = self.server.faults.get(self.kind)
        if fault is not None:
            changed = fault(self, answer)
            if changed is None:
                return
            answer = changed
        self.send(answer)

    do_HEAD = do_GET  # noqa: N815  # the base's name for it

    @property
    def kind(self) -> str:
        return "blob" if "/blobs/" in self.path else "manifest"

    @property
    def count(self) -> int:
        """The how manieth request for this kind of thing it is, from 1."""
        return self.server.seen[self.kind]

    def send(self, answer: Answer, cut_after: int | None = None) -> None:
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut_after is None else body[:cut_after])
        if cut_after is not None:
            self.close_connection = True

    def _answer(self) -> Answer:
        reference = self.path.rpartition("/")[2]
        digest = reference if ":" in reference else self.server.digest
        data = (self.server.blobs / digest[7:]).read_bytes()
        if self.kind == "manifest":
            return 200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json",
                         "Docker-Content-Digest": digest}, data  # fmt: skip
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if begin is None:
            return 200, {}, data
        at = int(begin[1])
        return 206, {"Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}"}, data[at:]

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, blobs: Path, digest: str) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.blobs = blobs
        self.digest = digest
        self.faults: dict[str, Fault] = {}
        self.seen: Counter[str] = Counter()
        self.ranges: list[str] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # the client has hung up: its own affair


@contextmanager
def serve(layout: Layout, digest: str) -> Iterator[Server]:
    server = Server(layout.path / "blobs" / "sha256", digest)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
