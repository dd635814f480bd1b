"""`gocker build`, `build:` in specs, commit, export and diff."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.command import Gocker, Result
from tests.support.images import archive, member
from tests.support.unpacking import tree

pytestmark = pytest.mark.root


@pytest.fixture
def base(gocker: Gocker, tmp_path: Path) -> Path:
    """Return a context beside an image ``box`` in the store."""
    layout = images.Layout(tmp_path / "oci")
    layout.image([images.busybox_layer()], {"Env": ["PATH=/bin", "FROM_BASE=yes"]})
    loaded = gocker.command("image", "pull", "-q", f"oci:{layout.path}")
    assert loaded.code == 0, loaded
    assert gocker.command("image", "tag", f"oci:{layout.path}", "box").code == 0
    context = gocker.root / "context"
    (context / "dir/below").mkdir(parents=True)
    (context / "file").write_text("file\n")
    (context / "dir/one").write_text("one\n")
    (context / "dir/below/two").write_text("two\n")
    (context / "secret.log").write_text("secret\n")
    (context / "link").symlink_to("file")
    (context / "out").symlink_to("/etc/passwd")
    (context / ".dockerignore").write_text("*.log\n")
    return context


def build(gocker: Gocker, context: Path, text: str, *options: str) -> Result:
    (context / "Dockerfile").write_text(text)
    return gocker.command("build", "-t", "made:1", "--network", "none", *options, str(context))


def run(gocker: Gocker, script: str, **keys: Any) -> str:
    done = gocker.job(image="made:1", entrypoint=["/bin/sh", "-c", script], **keys)
    assert done.verdict() == "ok", done
    return done.log()


EVERYTHING = """# syntax=docker/dockerfile:1
ARG BASE=box
FROM $BASE AS first
ARG WORD=default
ENV GREETING="hello $WORD"
RUN echo "$GREETING, $FROM_BASE" > /greeting
RUN ["/bin/sh", "-c", "id -u > /who; chmod 1777 /tmp"]
USER alice
RUN id -u > /tmp/alice
USER 0
RUN <<END
set -e
echo from > /heredoc
echo heredoc >> /heredoc
END
FROM $BASE
WORKDIR /work
COPY file dir/ ./
COPY --chown=alice:staff --chmod=600 link owned
COPY --from=first /greeting /who /tmp/alice /heredoc /from/
COPY <<SOME <<'RAW' /docs/
expanded $PATH
SOME
raw $PATH
RAW
VOLUME /data
EXPOSE 80
LABEL kind=test
ENTRYPOINT ["/bin/cat"]
CMD ["owned"]
"""


def test_a_dockerfile_with_everything(gocker: Gocker, base: Path) -> None:
    made = build(gocker, base, EVERYTHING, "--build-arg", "WORD=world")
    assert made.code == 0, made
    assert gocker.up({"services": {"job": {"image": "made:1"}}}).log() == "file\n"
    script = (
        "cd /from && cat alice greeting heredoc who && cat /docs/SOME /docs/RAW && cd /work && ls"
        " && stat -c '%u %g %a' owned && cat below/two && ls /from | wc -l"
    )
    assert run(gocker, script).splitlines() == [
        "1234", "hello world, yes", "from", "heredoc", "0", "expanded /bin", "raw $PATH",
        "below", "file", "one", "owned", "1234 2345 600", "two", "4",
    ]  # fmt: skip


def test_the_second_build_is_the_first_one_again(gocker: Gocker, base: Path) -> None:
    text = 'FROM box\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY file /file\nCMD ["x"]\n'
    first = build(gocker, base, text)
    second = build(gocker, base, text)
    assert first.code == second.code == 0, second
    assert first.out == second.out != ""
    assert second.err.count("cached") == 2
    (base / "file").write_text("changed\n")
    third = build(gocker, base, text)
    assert third.err.count("cached") == 1
    assert run(gocker, "cat /file") == "changed\n"
    assert build(gocker, base, text, "--no-cache").out != third.out


MOUNTS = """FROM box
RUN --mount=type=secret,id=token cp /run/secrets/token /seen
RUN --mount=type=bind,source=dir,target=/shown cat /shown/one > /first
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
RUN --mount=type=cache,target=/cache echo again >> /cache/times; cp /cache/times /times
RUN --mount=type=cache,target=/cache cp /cache/times /times2
RUN rm /etc/group
"""


def test_what_run_needs_and_leaves(gocker: Gocker, base: Path) -> None:
    (base / "token").write_text("s3cret\n")
    made = build(gocker, base, MOUNTS, "--secret", f"id=token,src={base}/token")
    assert made.code == 0, made
    script = "cat /seen /first /times2; ls /scratch /cache /shown; test ! -e /etc/group"
    assert run(gocker, script).startswith("s3cret\none\nagain\n")
    assert gocker.runs() == [gocker.last_run()], "no run of the build is left"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM box\nRUN exit 7", 2, "exit code 7"),
        ("FROM box\nCOPY nothing /x", 2, "not there"),
        ("FROM box\nCOPY secret.log /x", 2, ".dockerignore"),
        ("FROM box\nCOPY out /x", 2, "not there"),
        ("FROM box\nCOPY ../../etc/passwd /x", 2, "leads out"),
        ("FROM box\nCOPY file dir/one /x", 2, "cannot become the one"),
        ("FROM box\nCOPY --chown=nobody-here file /x", 2, "no 'nobody-here'"),
        ("FROM box\nADD https://example.test/x /x", 2, "URL"),
        ("FROM box\nONBUILD RUN x", 2, "ONBUILD"),
        ("FROM box\nRUN --security=insecure x", 2, "--security"),
        ("FROM box\nCOPY --parents file /x", 2, "--parents"),
        ("FROM missing.example/x:1", 1, "registry"),
        ("RUN x\nFROM box", 1, "before the first FROM"),
    ],
)
def test_what_cannot_be_built_is_refused_by_line(
    text: str, line: int, message: str, gocker: Gocker, base: Path
) -> None:
    refused = build(gocker, base, text)
    assert refused.code in (2, 3), refused
    assert f"Dockerfile:{line}:" in refused.err
    assert message in refused.err
    assert "made:1" not in gocker.command("images").out


def test_build_in_a_spec(gocker: Gocker, base: Path) -> None:
    gocker.image = None  # a service without one is named after the project
    (base / "Dockerfile").write_text("FROM box\nARG A\nRUN echo $A > /a\nCMD cat /a\n")

    def up(value: str, **keys: Any) -> str:
        wanted = {"context": "context", "args": {"A": value}, "network": "none"}
        return gocker.up({"services": {"job": {"build": wanted, **keys}}}).log()

    assert up("1") == "1\n"
    assert "test-job" in gocker.command("images").out
    assert up("2") == "1\n", "an image that is there is taken"
    assert gocker.command("build", "-q", "spec.yaml").code == 0
    assert up("2") == "2\n"
    assert up("3", pull_policy="build") == "3\n"
    assert up("4", pull_policy="build") == "4\n"
    inline = {"context": ".", "dockerfile_inline": "FROM box\nCMD echo inline\n"}
    named = {"services": {"job": {"image": "own/name:1", "build": inline}}}
    assert gocker.up(named).log() == "inline\n"


# -- what containers write ---------------------------------------------------------------------

CHANGES = (
    "set -e; echo new > /new; ln /new /new2; rm /etc/group; chmod 711 /home; mkdir /d;"
    " echo x > /d/x; rm -r /root; mkdir /root; echo y > /root/y"
)


def test_diff_commit_and_export_are_what_the_container_had(
    gocker: Gocker, base: Path, tmp_path: Path
) -> None:
    done = gocker.job("/bin/sh", "-c", CHANGES, image="box", options=("--keep", "always"))
    assert done.verdict() == "ok", done
    changes = gocker.command("diff", "-p", "test", "job").out.splitlines()
    assert changes == [
        "A /d", "A /d/x", "C /etc", "D /etc/group", "C /home", "A /new", "A /new2", "C /root",
        "A /root/y",
    ]  # fmt: skip
    committed = gocker.command("commit", "-p", "test", "job", "made:1", "-c", "ENV ADDED=1")
    assert committed.code == 0, committed
    assert gocker.command("image", "verify").code == 0
    script = (
        "cat /new /d/x /root/y; stat -c %h /new; stat -c %a /home; echo $ADDED $FROM_BASE;"
        " test -e /etc/group || echo gone"
    )
    assert run(gocker, script) == "new\nx\ny\n2\n711\n1 yes\ngone\n"


def test_an_export_has_the_files_of_the_commit(gocker: Gocker, base: Path, tmp_path: Path) -> None:
    gocker.job("/bin/sh", "-c", CHANGES, image="box", options=("--keep", "always"))
    root = tmp_path / "root.tar"
    exported = gocker.command("export", "-p", "test", "job", "-o", str(root))
    assert exported.code == 0, exported
    (tmp_path / "exported").mkdir()
    subprocess.run(["tar", "-xf", str(root), "-C", str(tmp_path / "exported")], check=True)
    assert gocker.command("commit", "-p", "test", "job", "made:1").code == 0
    saved = str(tmp_path / "saved")
    assert gocker.command("image", "save", "--format", "oci", "made:1", "-o", saved).code == 0
    subprocess.run(
        ["umoci", "unpack", "--image", f"{saved}:docker.io/library/made:1",
         str(tmp_path / "bundle")], check=True, capture_output=True,
    )  # fmt: skip
    wanted = tree(tmp_path / "bundle/rootfs")
    found = tree(tmp_path / "exported")
    # Mount points that gocker makes are no part of an image, and change their directory.
    ours = ("", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    for path in ours:
        wanted.pop(path, None)
        found.pop(path, None)
    assert found == wanted


def test_a_running_container_can_be_committed(gocker: Gocker, base: Path) -> None:
    spec = {"services": {"job": {
        "image": "box", "command": ["/bin/sh", "-c", "echo here > /x; echo up; sleep 60"],
    }}}  # fmt: skip
    running = gocker.start(spec)
    running.wait_for_output("up")
    committed = gocker.command("commit", "-p", "test", "job", "made:1")
    assert committed.code == 0, committed
    running.send(15)
    running.finish()
    assert run(gocker, "cat /x") == "here\n"


def test_files_that_are_gone_are_said_to_be(gocker: Gocker, base: Path) -> None:
    assert gocker.job("/bin/true", image="box").verdict() == "ok"
    refused = gocker.command("diff", "-p", "test", "job")
    assert refused.code == 3
    assert "--keep" in refused.err
    assert gocker.command("diff", "-p", "test", "other").code == 3


def test_an_archive_of_files_becomes_an_image(gocker: Gocker, tmp_path: Path) -> None:
    data = archive([
        member("bin"), member("bin/sh", images.BUSYBOX.read_bytes()),
        member("bin/cat", type=b"2", linkname="sh"),
    ])  # fmt: skip
    (tmp_path / "root.tar").write_bytes(data)
    imported = gocker.command("image", "import", "-q", str(tmp_path / "root.tar"), "made:1")
    assert imported.code == 0, imported
    assert run(gocker, "echo works") == "works\n"


def test_saved_archives_are_read_by_podman_and_back(
    gocker: Gocker, base: Path, tmp_path: Path
) -> None:
    assert build(gocker, base, "FROM box\nCOPY file /file\nLABEL a=b\n").code == 0
    image = _made(gocker)
    podman = [
        # The test's directory is too long for podman.
        "podman", "--root", str(tmp_path / "root"), "--runroot", str(gocker.root / "run"),
        "--storage-driver", "vfs",
    ]  # fmt: skip
    for form in ("docker-archive", "oci-archive"):
        path, back = str(tmp_path / form), str(tmp_path / f"{form}-back")
        assert gocker.command("image", "save", "--format", form, "-o", path, "made:1").code == 0
        loaded = subprocess.run([*podman, "load", "-i", path], capture_output=True, text=True)
        assert loaded.returncode == 0, loaded
        listed = subprocess.run(
            [*podman, "images", "--no-trunc", "--format", "{{.ID}} {{.Digest}}"],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        assert listed[0] in (image["id"], image["id"].removeprefix("sha256:"))
        if form == "oci-archive":
            assert image["manifest"] in listed
        subprocess.run(
            [*podman, "save", "--format", form, "-o", back, "made:1"],
            check=True, capture_output=True,
        )  # fmt: skip
        assert gocker.command("image", "load", "-q", "-i", back).code == 0
        assert _made(gocker)["id"] == image["id"]
        assert run(gocker, "cat /file") == "file\n"
        subprocess.run([*podman, "rmi", "-a", "-f"], check=True, capture_output=True)


def _made(gocker: Gocker) -> dict[str, Any]:
    found = json.loads(gocker.command("images", "--format", "json").out)["images"]
    image: dict[str, Any] = next(it for it in found if it["name"].endswith("/made:1"))
    return image
