"""Attacks of the catalogue that any runtime or engine can be put to; see tests/security/peers.py.

Each ends as ``passed``, ``failed`` or ``-`` (it cannot be asked: a runtime that is given a bundle
knows no users by name, no images and no volumes), with what was seen in brackets.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from gocker.linux import mount
from tests.support.peers import HUNG, Answer, Case, Engine, Ours, Runtime, sh

TITLES = {
    "self": ("A2", "`#!/proc/self/exe` is not the runtime's program"),
    "cwd": ("A4", "working directory `/proc/self/fd/N`, N of 3 to 12, shows nothing of the host"),
    "uid": ("A9", "uid 2^32 is refused, and 1000 is no name for root"),
    "proc": ("B1", "`/proc` is a link"),
    "null": ("B3", "`/dev/null` is a link: the mask does not show its target"),
    "dev": ("B6", "`/dev` is a link to the host: nothing is written there"),
    "link": ("B8", "a link under a mount target leads nowhere"),
    "nested": ("B13", "`ro` bind: a mount below it is read-only, too"),
    "tar": ("C1", "a tar that climbs, and one that writes through a link, stay inside"),
    "name": ("D5", "`../x` as a name is refused"),
    "sysctl": ("D7", "kernel.core_pattern and vm.overcommit_memory are refused"),
    "exec": ("G3", "exec is confined as the container's own program"),
    "fifo": ("A10", "a FIFO as /etc/passwd does not hold the start"),
}
FIELDS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigIgn")


class Attacks:
    """Images and bundles that attack, and what of the host they must not reach."""

    def __init__(self, top: Path, root: Path) -> None:
        self.top = top
        self.root = root
        self.outside = top / "outside"
        self.outside.mkdir()
        (self.outside / "file").write_text("sentinel")
        self.tree = top / "tree"
        (self.tree / "nested").mkdir(parents=True)
        mount.mount("gk", str(self.tree / "nested"), "tmpfs", 0)

    def close(self) -> None:
        """Remove what is mounted."""
        mount.umount(str(self.tree / "nested"), mount.MNT_DETACH)

    def run(self, engine: Engine) -> dict[str, str]:
        """Return how each ended."""
        found = {}
        for key in TITLES:
            question: Callable[[Engine], str] = getattr(self, f"_{key}")
            found[key] = question(engine)
        return found

    def _variant(self, name: str) -> Path:
        """Return a copy of the root file system to spoil."""
        target = self.top / f"root-{name}"
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(self.root, target, symlinks=True)
        return target

    def _untouched(self) -> bool:
        """Return whether nothing was changed outside; put it in order for the next."""
        names = sorted(os.listdir(self.outside))
        good = names == ["file"] and (self.outside / "file").read_text() == "sentinel"
        shutil.rmtree(self.outside)
        self.outside.mkdir()
        (self.outside / "file").write_text("sentinel")
        return good

    def _self(self, engine: Engine) -> str:
        root = self._variant("self")
        (root / "bin/job").write_text("#!/proc/self/exe\n")
        (root / "bin/job").chmod(0o755)
        answer = engine.run(Case(root, ("/bin/job",), timeout_s=10.0))
        said = answer.out if isinstance(engine, Ours) else answer.out + answer.err
        ran = engine.name in said.replace("gocker-peer", "") and "USAGE" in said.upper()
        return _word(not ran, "its program ran" if ran else f"exit code {answer.code}")

    def _cwd(self, engine: Engine) -> str:
        climb = "../" * 12 + str(self.outside)[1:]
        script = f"ls {climb} >/dev/null 2>&1 && echo LEAK; true"
        bad = [
            number for number in range(3, 13)
            if "LEAK" in engine.run(sh(self.root, script, cwd=f"/proc/self/fd/{number}")).out
        ]  # fmt: skip
        return _word(not bad, f"N = {bad}" if bad else "")

    def _uid(self, engine: Engine) -> str:
        if engine.bundles:
            return "-"
        root = self._variant("uid")
        (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n")
        wrapped = engine.run(sh(root, "id -u", user="4294967296")).out.strip()
        named = engine.run(sh(root, "id -u", user="1000")).out.strip()
        return _word(wrapped == "" and named in ("1000", ""), f"{wrapped or 'refused'}, {named}")

    def _fifo(self, engine: Engine) -> str:
        if engine.bundles:
            return "-"
        root = self._variant("fifo")
        (root / "etc/passwd").unlink()
        os.mkfifo(root / "etc/passwd")
        answer = engine.run(sh(root, "id -u", user="somebody", timeout_s=15.0))
        return _word(answer.code != HUNG, "hangs" if answer.code == HUNG else "refused")

    def _proc(self, engine: Engine) -> str:
        root = self._variant("proc")
        (root / "proc").rmdir()
        (root / "proc").symlink_to("/tmp")
        answer = engine.run(sh(root, "grep -c ' /tmp ' /proc/self/mountinfo; echo ran"))
        ran = "ran" in answer.out
        return _word(not ran or answer.out.startswith("0"), "ran" if ran else "refused")

    def _bundle(self, engine: Engine, case: Case, *without: str) -> Answer | None:
        """Run a bundle with some mounts left out; None where an engine is given none."""
        if isinstance(engine, Ours):
            runtime = Runtime("gocker", Path(_fresh(self.top)))
            return runtime.run(case, without=without)
        return engine.run(case, without=without) if isinstance(engine, Runtime) else None

    def _null(self, engine: Engine) -> str:
        root = self._variant("null")
        (root / "marker").write_text("MARKER\n")
        (root / "dev/null").symlink_to("/marker")
        answer = self._bundle(engine, sh(root, "cat /proc/timer_list; echo ran"), "/dev")
        if answer is None:
            return "-"
        return _word("MARKER" not in answer.out, "ran" if "ran" in answer.out else "refused")

    def _dev(self, engine: Engine) -> str:
        root = self._variant("dev")
        (root / "dev").rmdir()
        (root / "dev").symlink_to(self.outside)
        answer = self._bundle(engine, sh(root, "echo ran"), "/dev")
        good = self._untouched()
        if answer is None:
            return "-"
        return _word(good, "ran" if "ran" in answer.out else "refused")

    def _link(self, engine: Engine) -> str:
        root = self._variant("link")
        (root / "lnk").symlink_to(self.outside)
        volume = ((self.tree, "/lnk/made", "ro"),)
        answer = engine.run(sh(root, "echo ran", volumes=volume))
        return _word(self._untouched(), "ran" if "ran" in answer.out else "refused")

    def _nested(self, engine: Engine) -> str:
        volume = ((self.tree, "/v", "ro"),)
        root = self._variant("nested")
        (root / "v").mkdir()
        answer = engine.run(sh(root, "touch /v/nested/x && echo written; echo ran", volumes=volume))
        if "ran" not in answer.out:
            return _word(True, "refused")
        return _word("written" not in answer.out)

    def _tar(self, engine: Engine) -> str:
        if engine.bundles:
            return "-"
        good = True
        for number in range(2):
            archive = self.top / f"attack-{number}.tar"
            with tarfile.open(archive, "w") as tar:
                name = "../" * 12 + f"{str(self.outside)[1:]}/made"
                if number:
                    link = tarfile.TarInfo("lnk")
                    link.type, link.linkname = tarfile.SYMTYPE, str(self.outside)
                    tar.addfile(link)
                    name = "lnk/made"
                made = tarfile.TarInfo(name)
                made.size = 4
                tar.addfile(made, io.BytesIO(b"made"))
            engine.unpack(archive)
            good &= self._untouched()
        return _word(good)

    def _name(self, engine: Engine) -> str:
        case = Case(self.root, ("true",), name="../gocker-peer")
        answer = engine.run(case)
        return _word(answer.code != 0, "refused" if answer.code else "ran")

    def _sysctl(self, engine: Engine) -> str:
        """Ask for the values that they have: nothing changes even where it is allowed."""
        ran = []
        for key in ("kernel.core_pattern", "vm.overcommit_memory"):
            value = Path("/proc/sys", key.replace(".", "/")).read_text().strip()
            case = Case(self.root, ("true",), sysctls=((key, value),))
            ran += [key] if engine.run(case).code == 0 else []
        return _word(not ran, ", ".join(ran))

    def _exec(self, engine: Engine) -> str:
        case = sh(self.root, "sleep 60")
        fields = "|".join(FIELDS)
        script = f"grep -E '^({fields}):' /proc/1/status; grep -E '^({fields}):' /proc/self/status"
        lines = engine.execute(case, "sh", "-c", script).out.split("\n")[:-1]
        half = len(lines) // 2
        if half != len(FIELDS):
            return f"no answer: {lines}"
        other = [one.split(":")[0] for one, two in zip(lines, lines[half:], strict=False)
                 if one != two]  # fmt: skip
        return _word(not other, ", ".join(other))


def _fresh(top: Path) -> str:
    path = top / f"bundles-{len(list(top.iterdir()))}"
    path.mkdir()
    return str(path)


def _word(good: bool, seen: str = "") -> str:
    return ("passed" if good else "failed") + (f" ({seen})" if seen else "")


def merge(
    verdicts: dict[str, dict[str, str]], attacks: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """Add the attacks to the verdicts by id: one that failed fails the id."""
    for name, ends in attacks.items():
        for key, end in ends.items():
            row = verdicts.setdefault(TITLES[key][0], {})
            word = end.split(" ")[0]
            if word in ("passed", "failed") and row.get(name) != "failed":
                row[name] = word
    return verdicts
