"""`gocker cp`: what goes where, and what a hostile container cannot do to it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Gocker, Result, Running

pytestmark = pytest.mark.root

SETUP = """
mkdir -p /c/dir/sub /c/empty /c/mixed; touch "/c/dir/a b
c"
echo one > /c/file; echo two > /c/dir/two; echo three > /c/dir/sub/three; echo in > /c/mixed/in
chmod 4751 /c/file; chmod 750 /c/dir; chown 1234:77 /c/dir/two; ln /c/dir/two /c/dir/hard
ln -s file /c/link; ln -s dir /c/dirlink; ln -s /etc/passwd /c/abs; ln -s /nowhere/x /c/dangling
ln -s / /c/mixed/out; mkfifo /c/dir/fifo; touch -d @1000000000 /c/dir/two
"""


class Copier:
    """Copies between a directory here and ``/c`` in the container."""

    def __init__(self, gocker: Gocker) -> None:
        self.gocker = gocker
        self.here = gocker.root / "here"

    def cp(self, *words: str, **how: object) -> Result:
        return self.gocker.command("cp", "-p", "test", *words, **how)

    def sh(self, script: str) -> str:
        result = self.gocker.command("exec", "-p", "test", "web", "sh", "-c", script)
        assert result.code == 0, result
        return result.out

    def fresh(self) -> Path:
        """Empty both sides."""
        subprocess.run(["rm", "-rf", self.here], check=True)
        self.here.mkdir(mode=0o700)
        self.sh(f"rm -rf /c; {SETUP}")
        return self.here


@pytest.fixture(scope="module")
def living(rootfs: Path) -> Iterator[tuple[Gocker, Running]]:
    gocker = Gocker(image=f"rootfs:{rootfs}")
    try:
        running = gocker.start({"services": {"web": {"command": ["sleep", "1000"]}}})
        running.wait_for("container.started")
        yield gocker, running
        running.send(signal.SIGKILL)
        running.finish()
        gocker.check()
    finally:
        gocker.close()


@pytest.fixture
def copier(living: tuple[Gocker, Running]) -> Copier:
    made = Copier(living[0])
    made.fresh()
    return made


def tree(top: Path) -> dict[str, str]:
    """Return what is below a directory: contents of files, targets of links."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "/"
        else:
            found[name] = path.read_text() if path.is_file() else "special"
    return found


DIR = {
    "": "/", "/a b\nc": "", "/fifo": "special", "/hard": "two\n", "/sub": "/",
    "/sub/three": "three\n", "/two": "two\n",
}  # fmt: skip


def under(name: str, entries: dict[str, str] = DIR) -> dict[str, str]:
    if not name:
        return {key[1:]: value for key, value in entries.items() if key}
    return {f"{name}{key}": value for key, value in entries.items()}


OUT = [
    # source, target, what is in the directory here afterwards
    ("/c/file", "new", {"new": "one\n"}),
    ("/c/file", ".", {"file": "one\n"}),
    ("/c/file", "there", {"there": "one\n"}),
    ("/c/file", "d", {"d/file": "one\n"}),
    ("/c/file", "d/", {"d/file": "one\n"}),
    ("c/file", "new", {"new": "one\n"}),
    ("/c/link", "new", {"new": "-> file"}),
    ("/c/dir", "new", under("new")),
    ("/c/dir", "new/", under("new")),
    ("/c/dir/", "new", under("new")),
    ("/c/dir/.", "new", under("new")),
    ("/c/dir", "d", under("d/dir")),
    ("/c/dir/", "d", under("d/dir")),
    ("/c/dir/.", "d", under("d", {k: v for k, v in DIR.items() if k})),
    ("/c/dirlink", "new", {"new": "-> dir"}),
    ("/c/dirlink/", "new", under("new")),
    ("/c/dirlink/.", "new", under("new")),
    ("/c/empty", "d", {"d/empty": "/"}),
    ("/c/mixed", "new", {"new": "/", "new/in": "in\n", "new/out": "-> /"}),
    ("/c/file", "linked", {"linked": "-> target", "target": "one\n"}),
    ("/c/../c/./file", "new", {"new": "one\n"}),
]


@pytest.mark.parametrize(("source", "target", "wanted"), OUT, ids=lambda it: str(it)[:30])
def test_out(copier: Copier, source: str, target: str, wanted: dict[str, str]) -> None:
    here = copier.here
    (here / "there").write_text("before, and longer")
    (here / "d").mkdir()
    (here / "linked").symlink_to("target")
    before = tree(here)
    result = copier.cp(f"web:{source}", str(here / target) + ("/" if target.endswith("/") else ""))
    assert result.code == 0, result
    found = tree(here)
    assert {key: found[key] for key in wanted} == wanted
    assert found.keys() - wanted.keys() <= before.keys()


REFUSED = [
    ("/c/file", "missing/", "the directory must exist"),
    ("/c/file", "missing/x", "No such file or directory"),
    ("/c/dir", "there", "is a file"),
    ("/c/file", "there/", "is not a directory"),
    ("/c/missing", "new", "web:/c/missing: No such file or directory"),
    ("/c/file/", "new", "is not a directory"),
    ("/c/dangling/", "new", "No such file"),
    ("/proc", "new", "the kernel's, not data"),
    ("/proc/1/status", "new", "the kernel's, not data"),
    ("/dev/null", "new", "device"),
]


@pytest.mark.parametrize(("source", "target", "message"), REFUSED)
def test_out_refused(copier: Copier, source: str, target: str, message: str) -> None:
    (copier.here / "there").write_text("before")
    before = tree(copier.here)
    suffix = "/" if target.endswith("/") else ""
    result = copier.cp(f"web:{source}", str(copier.here / target) + suffix)
    assert (result.code, message in result.err) == (3, True), result
    assert tree(copier.here) == before


def test_out_keeps_modes_times_and_hard_links_and_drops_owners(copier: Copier) -> None:
    assert copier.cp("web:/c/dir", str(copier.here)).code == 0
    assert copier.cp("web:/c/file", str(copier.here)).code == 0
    found = (copier.here / "dir/two").stat()
    assert (found.st_uid, found.st_gid, found.st_mtime) == (0, 0, 1000000000)
    assert found.st_ino == (copier.here / "dir/hard").stat().st_ino
    assert (copier.here / "dir").stat().st_mode & 0o7777 == 0o750
    # A set-user-ID program of the container's would be root's here.
    assert (copier.here / "file").stat().st_mode & 0o7777 == 0o751


def test_archive_keeps_owners_and_all_bits(copier: Copier) -> None:
    assert copier.cp("-a", "web:/c/dir", str(copier.here)).code == 0
    assert copier.cp("-a", "web:/c/file", str(copier.here)).code == 0
    found = (copier.here / "dir/two").stat()
    assert (found.st_uid, found.st_gid) == (1234, 77)
    assert (copier.here / "file").stat().st_mode & 0o7777 == 0o4751


def test_follow_link_means_the_source_alone(copier: Copier) -> None:
    assert copier.cp("-L", "web:/c/link", str(copier.here / "a")).code == 0
    assert copier.cp("-L", "web:/c/mixed", str(copier.here / "b")).code == 0
    assert tree(copier.here) == {"a": "one\n", "b": "/", "b/in": "in\n", "b/out": "-> /"}
    # An absolute link leads where it leads in the container.
    assert copier.cp("-L", "web:/c/abs", str(copier.here / "c")).code == 0
    assert "alice" in (copier.here / "c").read_text()


IN = [
    ("file", "/c/new", "cat /c/new", "mine\n"),
    ("file", "/c/empty", "cat /c/empty/file", "mine\n"),
    ("file", "/c/empty/", "cat /c/empty/file", "mine\n"),
    ("file", "/c/file", "cat /c/file; stat -c %u:%g:%a /c/file", "mine\n0:0:640\n"),
    ("file", "/c/link", "cat /c/file; readlink /c/link", "mine\nfile\n"),
    ("file", "/c/dirlink", "cat /c/dir/file", "mine\n"),
    ("file", "/etc/hosts", "cat /etc/hosts", "mine\n"),
    ("tree", "/c/new", "cat /c/new/sub/deep", "deep\n"),
    ("tree", "/c/empty", "cat /c/empty/tree/sub/deep", "deep\n"),
    ("tree/.", "/c/empty", "cat /c/empty/sub/deep", "deep\n"),
    ("tree/.", "/c/new", "cat /c/new/sub/deep", "deep\n"),
    ("link", "/c/new", "readlink /c/new", "file\n"),
]


@pytest.mark.parametrize(("source", "target", "script", "wanted"), IN)
def test_in(copier: Copier, source: str, target: str, script: str, wanted: str) -> None:
    _local(copier.here)
    assert copier.cp(f"{copier.here}/{source}", f"web:{target}").code == 0
    assert copier.sh(script) == wanted


def _local(here: Path) -> None:
    (here / "file").write_text("mine\n")
    (here / "file").chmod(0o640)
    os.chown(here / "file", 4321, 4321)
    (here / "tree/sub").mkdir(parents=True)
    (here / "tree/sub/deep").write_text("deep\n")
    (here / "link").symlink_to("file")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("tree", "/c/file", "is a file"),
        ("file", "/c/missing/", "the directory must exist"),
        ("file", "/c/missing/x", "No such file"),
        ("missing", "/c/new", "No such file"),
        ("conflict/.", "/c", "with a directory"),
        ("conflict2/.", "/c", "cannot overwrite the directory"),
    ],
)
def test_in_refused(copier: Copier, source: str, target: str, message: str) -> None:
    _local(copier.here)
    (copier.here / "conflict/file").mkdir(parents=True)
    (copier.here / "conflict2").mkdir()
    (copier.here / "conflict2/dir").write_text("")
    result = copier.cp(f"{copier.here}/{source}", f"web:{target}")
    assert (result.code, message in result.err) == (3, True), result


def _run(copier: Copier, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gocker", "cp", "-p", "test", *words], input=data,
        capture_output=True, env=copier.gocker.environ, preexec_fn=copier.gocker.nest.enter,
        cwd=copier.here,
    )  # fmt: skip


def test_streams(copier: Copier) -> None:
    done = _run(copier, "web:/c/dir", "-")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        names = {member.name for member in archive}
    assert names == {f"dir{key}" for key in DIR}
    done = _run(copier, "web:/c/dir/.", "-")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "./two" in {member.name for member in archive}
    back = _run(copier, "-", "web:/c/empty", data=done.stdout)
    assert (back.returncode, back.stderr) == (0, b"")
    assert copier.sh("cat /c/empty/sub/three") == "three\n"
    assert _run(copier, "-", "web:/c/file", data=done.stdout).returncode == 3
    assert _run(copier, "-", "web:/c", data=b"no archive" * 100).returncode == 3


def test_a_hostile_stream_writes_only_below_its_directory(copier: Copier) -> None:
    def archive(*members: tuple[str, bytes, str]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as made:
            for name, kind, link in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, link
                info.size = 4 if kind == tarfile.REGTYPE else 0
                made.addfile(info, io.BytesIO(b"evil"))
        return buffer.getvalue()

    link, file, hard = tarfile.SYMTYPE, tarfile.REGTYPE, tarfile.LNKTYPE
    copier.sh("mkdir /c/safe; ln -s /c/safe /c/empty/there")
    for members in (
        (("../safe/x", file, ""),),
        (("/c/safe/x/../../x", file, ""),),
        (("l", link, "/c/safe"), ("l/x", file, "")),
        (("there/x", file, ""),),
        (("h", hard, "../file"), ("h", file, "")),
        (
            ("l2", link, "../safe"),
            ("h2", hard, "l2/../../file"),
        ),
    ):
        _run(copier, "-", "web:/c/empty", data=archive(*members))
    assert copier.sh("ls /c/safe; cat /c/file") == "one\n"
    assert _run(copier, "-", "web:/c/empty", data=archive(("/abs", file, ""))).returncode == 0
    assert copier.sh("cat /c/empty/abs; test -e /abs || echo none") == "evilnone\n"


def test_a_paused_container_can_be_copied_from(
    copier: Copier, living: tuple[Gocker, Running]
) -> None:
    started = living[1].wait_for("container.started")
    directory = copier.gocker.nest.directories["freezer"]
    (state,) = Path(directory).glob(f"*/{started['container.id']}/freezer.state")
    state.write_text("FROZEN")
    try:
        assert copier.cp("web:/c/file", str(copier.here)).code == 0
    finally:
        state.write_text("THAWED")


def test_in_a_user_namespace_owners_are_the_containers(gocker: Gocker) -> None:
    spec = {"services": {"web": {"command": ["sleep", "1000"], "userns_mode": "auto"}}}
    running = gocker.start(spec)
    running.wait_for("container.started")
    copier = Copier(gocker)
    copier.here.mkdir()
    (copier.here / "mine").write_text("mine\n")
    os.chown(copier.here / "mine", 4321, 4321)
    assert copier.cp(str(copier.here / "mine"), "web:/tmp/plain").code == 0
    assert copier.cp("-a", str(copier.here / "mine"), "web:/tmp/kept").code == 0
    script = "stat -c %u /tmp/plain /tmp/kept; echo out > /tmp/out; chown 1234 /tmp/out"
    assert copier.sh(script) == "0\n4321\n"
    assert copier.cp("-a", "web:/tmp/out", str(copier.here)).code == 0
    assert (copier.here / "out").stat().st_uid == 1234
    running.send(signal.SIGTERM)
    running.finish()


FLIP = """
import ctypes, os
libc = ctypes.CDLL(None)
os.chdir('/c')
os.makedirs('d/etc', exist_ok=True)
open('d/etc/hostname', 'w').write('inside')
os.symlink('/', 'e') if not os.path.lexists('e') else None
while True:
    libc.syscall(316, -100, b'd', -100, b'e', 2)  # renameat2, RENAME_EXCHANGE
"""


def test_g1_no_race_leads_to_the_hosts_files(rootfs: Path) -> None:
    """A link is swapped in and out while files are copied through its name."""
    gocker = Gocker(image="host:/")
    try:
        (gocker.root / "c").mkdir()
        spec = {"command": ["python3", "-c", FLIP], "volumes": [f"{gocker.root}/c:/c"],
                "hostname": "inside"}  # fmt: skip
        running = gocker.start({"services": {"web": spec}})
        running.wait_for("container.started")
        copier = Copier(gocker)
        copier.here.mkdir()
        host = Path("/etc/hostname").read_text()
        sentinel = f"gocker-g1-{os.getpid()}"
        (copier.here / sentinel).write_text("sentinel")
        got = set()
        for turn in range(int(os.environ.get("GOCKER_G1_TURNS", "8"))):
            target = copier.here / f"out-{turn}"
            if copier.cp("web:/c/d/etc/hostname", str(target)).code == 0:
                got.add(target.read_text())
            copier.cp(str(copier.here / sentinel), "web:/c/d/")
        assert {text.strip() for text in got} == {"inside"}
        assert host.strip() != "inside"
        assert not Path("/", sentinel).exists()
        running.send(signal.SIGTERM)
        running.finish()
        gocker.check()
    finally:
        gocker.close()
