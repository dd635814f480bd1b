"""Commands that change the store of images, side by side, killed at random moments."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.support.command import Gocker
from tests.support.images import Layout, archive, busybox_layer, member
from tests.support.unpacking import tree

AT_ONCE = 3
# Of the time that a pull takes when nothing runs beside it.
_MOST_DELAY = 2.0


class Storm:
    """One store and some images, and kills that are counted."""

    def __init__(self, gocker: Gocker, top: Path, seed: int) -> None:
        self.gocker = gocker
        self._random = random.Random(seed)  # noqa: S311  # a reproducible storm
        self._layouts = [self._layout(top / f"oci{number}", number) for number in range(3)]
        self.killed: dict[str, int] = {}
        begin = time.monotonic()
        first = gocker.command("image", "pull", "-q", f"oci:{self._layouts[0].path}")
        assert first.code == 0, first
        self._most_delay_s = _MOST_DELAY * (time.monotonic() - begin)
        done = gocker.job("/bin/sh", "-c", "echo x > /written", options=("--keep", "always"),
                          image=f"oci:{self._layouts[0].path}")  # fmt: skip
        assert done.verdict() == "ok", done
        self._wanted = self._layers()

    def _layout(self, path: Path, number: int) -> Layout:
        made = Layout(path)
        layers = [busybox_layer()]
        for layer in range(3):
            entries = [member(f"d{layer}")]
            entries += [
                member(f"d{layer}/f{n}", self._random.randbytes(self._random.randint(0, 30_000)))
                for n in range(120)
            ]
            # The second layer is the same in all images: it is shared.
            layers.append(archive(entries) if layer != 1 else archive([member("shared", b"s")]))
        made.image(layers, {"Env": [f"N={number}", "PATH=/bin"]})
        return made

    def _command(self) -> list[str]:
        layout = f"oci:{self._random.choice(self._layouts).path}"
        return self._random.choice([
            ["image", "pull", "-q", layout],
            ["image", "pull", "-q", layout],
            ["image", "pull", "-q", layout],
            ["image", "rm", "-f", layout],
            ["image", "prune"],
            ["image", "tag", layout, f"tagged:{self._random.randint(1, 3)}"],
            ["commit", "-p", "test", "job", "committed:1"],
        ])  # fmt: skip

    def kill(self, count: int) -> None:
        """Start commands beside each other and kill each of them; `count` in all."""
        done = 0
        while done < count:
            commands = [self._command() for _ in range(min(AT_ONCE, count - done))]
            running = [self.gocker.popen(*command) for command in commands]
            begin = time.monotonic()
            for command, process in zip(commands, running, strict=True):
                delay = begin + self._random.random() * self._most_delay_s - time.monotonic()
                try:
                    process.wait(max(0.0, delay))
                except subprocess.TimeoutExpired:
                    process.kill()
                    name = command[1] if command[0] == "image" else command[0]
                    self.killed[name] = self.killed.get(name, 0) + 1
                    done += 1
            for process in running:
                process.communicate()

    def check(self) -> None:
        """Fail unless the store verifies, and nothing is left that no name leads to."""
        verified = self.gocker.command("image", "verify")
        assert verified.code == 0, verified
        self._check_contents()
        pruned = self.gocker.command("image", "prune")
        assert pruned.code == 0, pruned
        top = self.gocker.data / "images"
        assert os.listdir(top / "partial") == []
        blobs, layers = self._referenced()
        assert set(os.listdir(top / "blobs/sha256")) == blobs
        assert set(os.listdir(top / "layers")) == layers
        for layout in self._layouts:
            again = self.gocker.command("image", "pull", "-q", f"oci:{layout.path}")
            assert again.code == 0, again
        self._check_contents()
        assert self.gocker.command("image", "verify").code == 0

    def _referenced(self) -> tuple[set[str], set[str]]:
        """Return what names lead to, read without gocker's own code."""
        top = self.gocker.data / "images"
        blobs: set[str] = set()
        layers: set[str] = set()
        for file in (top / "refs").iterdir():
            digest = json.loads(file.read_text())["manifest"]
            manifest: dict[str, Any] = json.loads(
                (top / "blobs/sha256" / digest.removeprefix("sha256:")).read_text()
            )
            parts = [digest, manifest["config"]["digest"]]
            parts += [layer["digest"] for layer in manifest["layers"]]
            blobs |= {part.removeprefix("sha256:") for part in parts}
            record = json.loads((top / "unpacked" / digest.replace(":", "-")).read_text())
            layers |= set(record["layers"])
        return blobs, layers

    def _layers(self) -> dict[str, Any]:
        top = self.gocker.data / "images/layers"
        found = {path.name: tree(path / "fs") for path in top.iterdir()}
        # The archives say nothing of their root: it has the time of unpacking.
        return {name: {**files, "": ()} for name, files in found.items()}

    def _check_contents(self) -> None:
        """Compare layers with those of the same name that were seen before: names are contents."""
        for name, found in self._layers().items():
            wanted = self._wanted.setdefault(name, found)
            assert found == wanted, name
