"""``python -m tests.bench.bench_images``: pull and unpack 500 MB, beside podman, skopeo and umoci.

A registry on the loopback has ten layers of 50 MB: half of the bytes compress, as programs do, and
there are 20,000 files. Each tool begins with nothing, in turn. Then the start of a container from
images of 1, 10 and 100 layers: unpacked layers cost nothing extra.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import images
from tests.support.command import Gocker
from tests.support.images import Layout, archive, member

LAYERS, FILES, FILE_BYTES = 10, 2000, 25_000
ROUNDS = 3


def layer(choice: random.Random, number: int) -> bytes:
    entries = [member(f"l{number}")]
    for file in range(FILES):
        half = choice.randbytes(FILE_BYTES // 2)
        text = b"a line of a program that repeats itself\n" * (FILE_BYTES // 80)
        entries.append(member(f"l{number}/f{file}", half + text, mode=0o644))
    return archive(entries)


def seconds(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def pulls(host: str, top: Path) -> dict[str, Callable[[], None]]:
    name = f"{host}/bench/big:1"

    def gocker() -> None:
        made = Gocker()
        try:
            with images.host_network(made):
                done = made.command("image", "pull", "-q", "--tls-verify=false", name)
                assert done.code == 0, done
        finally:
            made.close()

    def podman() -> None:
        directory = Path(tempfile.mkdtemp(dir=top))
        options = ["--root", str(directory / "r"), "--runroot", str(top / "rr"),
                   "--storage-driver", "overlay"]  # fmt: skip
        run("podman", *options, "pull", "-q", "--tls-verify=false", name)
        shutil.rmtree(directory)

    def skopeo() -> None:
        directory = Path(tempfile.mkdtemp(dir=top))
        run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}",
            f"oci:{directory}/oci:1")  # fmt: skip
        run("umoci", "unpack", "--image", f"{directory}/oci:1", f"{directory}/bundle")
        shutil.rmtree(directory)

    return {"gocker image pull": gocker, "podman pull": podman, "skopeo + umoci": skopeo}


def starts(top: Path) -> None:
    """Compare the time to start containers from images of many layers and of one."""
    gocker = Gocker()
    try:
        for count in (1, 10, 100):
            made = Layout(top / f"layers{count}")
            further = [archive([member(f"x{n}", b"x")]) for n in range(count - 1)]
            made.image([images.busybox_layer(), *further], {})
            spec = {"services": {f"j{n}": {"image": f"oci:{made.path}", "command": ["/bin/true"],
                                           "network_mode": "none"} for n in range(20)}}  # fmt: skip
            gocker.up(spec)
            run_ = gocker.up(spec)
            found = [record["start_s"] for record in run_.events("container.started")]
            print(f"start from {count:>3} layers: median {statistics.median(found) * 1000:.1f} ms")
    finally:
        gocker.close()


def main() -> None:
    choice = random.Random(1)  # noqa: S311  # the same image each time
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        top = Path(directory)
        made = Layout(top / "oci")
        made.image([layer(choice, number) for number in range(LAYERS)], {}, "big")
        with images.registry(top) as host:
            images.skopeo("copy", "-q", "--dest-tls-verify=false", f"oci:{made.path}:big",
                          f"docker://{host}/bench/big:1")  # fmt: skip
            found: dict[str, list[float]] = {}
            for _ in range(int(sys.argv[1]) if sys.argv[1:] else ROUNDS):
                for name, action in pulls(host, top).items():
                    found.setdefault(name, []).append(seconds(action))
        for name, times in found.items():
            shown = " ".join(f"{time_s:.1f}" for time_s in times)
            print(f"{name:<18} median {statistics.median(times):5.1f} s   ({shown})")
        starts(top)


if __name__ == "__main__":
    main()
