"""gocker, runc, crun, podman and docker behind one face, for the same question to all of them.

Containers of each one's own default: of runc and crun ``runc spec`` and ``crun spec``, of podman
and docker ``run``. crun and podman refuse a hybrid cgroup layout, so the others get a pure v1 view
in mount namespaces of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gocker.linux import mount, process
from tests.support.bundle import PURE_V1, command
from tests.support.command import Gocker
from tests.support.images import Layout

TIMEOUT_S = 60.0
HUNG = 124


@dataclass(frozen=True)
class Case:
    """A container to run: a root file system, a program, and what is asked for besides."""

    root: Path
    args: tuple[str, ...]
    volumes: tuple[tuple[Path, str, str], ...] = ()
    user: str | None = None
    cwd: str | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    name: str = "gocker-peer"
    # Descriptors of the caller that stay open in the command.
    fds: tuple[int, ...] = ()
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True)
class Answer:
    """The end of a run: 124 is the code of one that did not end."""

    code: int
    out: str
    err: str = ""


def sh(root: Path, script: str, **keys: Any) -> Case:
    return Case(root, ("sh", "-c", script), **keys)


class Engine(Protocol):
    """What is asked."""

    name: str
    # Whether it is given a bundle, so has no users by name, no images and no volumes.
    bundles: bool

    def run(self, case: Case) -> Answer:
        """Run a container to its end."""

    def execute(self, case: Case, *args: str) -> Answer:
        """Run a program in a container that runs already, and end that."""

    def unpack(self, archive: Path) -> Answer:
        """Make an image of a tar archive."""

    def close(self) -> None:
        """Remove everything."""


def enter() -> None:
    """Be in a mount namespace of its own."""
    process.unshare(process.CLONE_NEWNS)
    mount.mount(None, "/", None, mount.MS_PRIVATE | mount.MS_REC)


def ask(line: str, *words: str, fds: tuple[int, ...] = (), timeout_s: float = TIMEOUT_S,
        environ: dict[str, str] | None = None) -> Answer:  # fmt: skip
    """Run a shell line in a pure v1 view of the cgroups; its end is awaited for a while.

    Standard input is an empty pipe: with /dev/null, crun gives the container's to its user.
    """
    argv = ["unshare", "-m", "sh", "-c", f"{PURE_V1} {line}", "sh", *words]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=err,
                                   pass_fds=fds, env=environ, start_new_session=True)  # fmt: skip
        assert started.stdin is not None
        started.stdin.close()
        try:
            code = started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, 9)
            started.wait()
            code = HUNG
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Answer(code, *texts)


class Ours:
    """gocker, by a spec with one service."""

    name = "gocker"
    bundles = False

    def __init__(self, top: Path) -> None:
        self.top = top

    def _service(self, case: Case) -> dict[str, Any]:
        keys: dict[str, Any] = {
            "user": case.user, "working_dir": case.cwd, "sysctls": dict(case.sysctls),
            "volumes": [f"{source}:{target}:{option}" for source, target, option in case.volumes],
        }  # fmt: skip
        return {
            "image": f"rootfs:{case.root}",
            "command": [word.replace("$", "$$") for word in case.args],
        } | {key: value for key, value in keys.items() if value}  # fmt: skip

    def run(self, case: Case) -> Answer:
        gocker = Gocker()
        try:
            spec = {"name": "peers", "services": {case.name: self._service(case)}}
            result = gocker.up(json.dumps(spec), pass_fds=case.fds)
            log = result.log(case.name) if result.run is not None else ""
            return Answer(result.code, log, result.err)
        except AssertionError as error:
            return Answer(HUNG, "", str(error))
        finally:
            gocker.close()

    def execute(self, case: Case, *args: str) -> Answer:
        gocker = Gocker()
        try:
            path = gocker.write(json.dumps(
                {"name": "test", "services": {case.name: self._service(case)}}
            ))  # fmt: skip
            assert gocker.command("up", "-d", str(path)).code == 0
            result = gocker.command("exec", "-p", "test", "-T", case.name, *args)
            gocker.down()
            return Answer(result.code, result.out, result.err)
        finally:
            gocker.close()

    def unpack(self, archive: Path) -> Answer:
        gocker = Gocker()
        try:
            layout = Layout(gocker.root / "layout")
            layout.image([archive.read_bytes()])
            result = gocker.command("image", "pull", "-q", f"oci:{layout.path}")
            return Answer(result.code, result.out, result.err)
        finally:
            gocker.close()

    def close(self) -> None:
        """Nothing is left of a run."""


class Runtime:
    """runc, crun, or gocker's OCI command line, by a bundle."""

    bundles = True

    def __init__(self, name: str, top: Path) -> None:
        self.name = name
        self.directory = top / name
        self.directory.mkdir()
        self.line = f"{name} --root {self.directory}/state"
        self.spec = [name]
        self.environ = dict(os.environ)
        if name == "gocker":
            self.line = f"{' '.join(command('oci'))} --root {self.directory}/state"
            self.environ |= {"PYTHONPATH": str(Path(__file__).parents[2])}
            self.spec = ["runc"]

    def bundle(self, case: Case, **changes: Any) -> dict[str, Any]:
        """Write config.json; return it. Mounts on `without` are left out."""
        without = changes.get("without", ())
        path = self.directory / "config.json"
        path.unlink(missing_ok=True)
        subprocess.run([*self.spec, "spec"], cwd=self.directory, check=True)
        config: dict[str, Any] = json.loads(path.read_text())
        config["root"] = {"path": str(case.root), "readonly": True}
        config["process"] |= {"terminal": False, "args": list(case.args)}
        if case.cwd:
            config["process"]["cwd"] = case.cwd
        config["linux"]["sysctl"] = dict(case.sysctls)
        config["mounts"] = [
            item for item in config["mounts"]
            if not item["destination"].startswith(tuple(without) or "\0")
        ]  # fmt: skip
        config["mounts"] += [
            {"destination": target, "source": str(source), "type": "bind",
             "options": ["rbind", option]}
            for source, target, option in case.volumes
        ]  # fmt: skip
        path.write_text(json.dumps(config))
        return config

    def run(self, case: Case, **changes: Any) -> Answer:
        self.bundle(case, **changes)
        line = f'exec {self.line} run -b {self.directory} "$1"'
        answer = ask(line, case.name, fds=case.fds, timeout_s=case.timeout_s, environ=self.environ)
        ask(f'exec {self.line} delete --force "$1"', case.name, environ=self.environ)
        return answer

    def execute(self, case: Case, *args: str) -> Answer:
        self.bundle(case)
        line = (
            f'{self.line} run -d -b {self.directory} "$1" >/dev/null 2>&1 </dev/null || exit 9; '
            f'name=$1; shift; {self.line} exec "$name" "$@"; code=$?; '
            f'{self.line} delete --force "$name"; exit $code'
        )
        return ask(line, case.name, *args, environ=self.environ)

    def unpack(self, archive: Path) -> Answer:
        raise NotImplementedError("a runtime has no images")

    def close(self) -> None:
        """Nothing is left of a run."""


class Program:
    """podman or docker, by ``run`` of an image that is imported for each root file system."""

    bundles = False

    def __init__(self, name: str, top: Path) -> None:
        self.name = name
        self.top = top
        self.images: dict[Path, str] = {}
        self.runs = 0
        self.last = ""
        self.environ = dict(os.environ)
        self.options = ""
        self.daemon: subprocess.Popen[bytes] | None = None
        if name == "podman":
            roots = f"--root {top}/podman --runroot {top}/podman-run"
            self.line = f"podman {roots} --cgroup-manager cgroupfs"
            # CAP_SYS_RESOURCE, which it wants for more, may be missing.
            self.options = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
        else:
            self.line = "docker"
            self._start_daemon()

    def _start_daemon(self) -> None:
        top = self.top
        sock = f"unix://{top}/docker.sock"
        self.environ |= {"DOCKER_HOST": sock}
        line = (
            f"exec dockerd --data-root {top}/docker --exec-root {top}/docker-run "
            f"-p {top}/docker.pid -H {sock} --bridge none --iptables=false "
            f"--exec-opt native.cgroupdriver=cgroupfs >{top}/docker.log 2>&1"
        )
        self.daemon = subprocess.Popen(["unshare", "-m", "sh", "-c", f"{PURE_V1} {line}"])
        ready = "for n in $(seq 60); do docker version && exit; sleep 0.5; done; exit 1"
        if ask(ready, environ=self.environ).code != 0:
            self.close()
            raise OSError((top / "docker.log").read_text()[-400:])

    def _image(self, root: Path) -> str:
        if root not in self.images:
            name = f"gocker-peer-{len(self.images)}"
            line = f'tar -C "$1" -c . | {self.line} import - {name} >/dev/null'
            answer = ask(line, str(root), environ=self.environ)
            if answer.code != 0:
                raise OSError(f"{self.name} import: {answer.err}")
            self.images[root] = name
        return self.images[root]

    def _words(self, case: Case) -> list[str]:
        # A name is in use as long as a start hangs.
        self.runs += 1
        self.last = f"{case.name}-{self.runs}"
        words = ["--network", "none", "--name", self.last]
        for source, target, option in case.volumes:
            words += ["-v", f"{source}:{target}:{option}"]
        for key, value in case.sysctls:
            words += ["--sysctl", f"{key}={value}"]
        words += ["-u", case.user] if case.user else []
        words += ["-w", case.cwd] if case.cwd else []
        return [*words, self._image(case.root), *case.args]

    def run(self, case: Case) -> Answer:
        line = f'exec {self.line} run --rm {self.options} "$@"'
        answer = ask(line, *self._words(case), fds=case.fds, timeout_s=case.timeout_s,
                     environ=self.environ)  # fmt: skip
        ask(f'exec {self.line} rm -f "$1"', self.last, timeout_s=20.0, environ=self.environ)
        return answer

    def execute(self, case: Case, *args: str) -> Answer:
        words = self._words(case)
        started = ask(f'exec {self.line} run -d {self.options} "$@"', *words, environ=self.environ)
        if started.code != 0:
            return started
        answer = ask(f'exec {self.line} exec "$@"', self.last, *args, environ=self.environ)
        ask(f'exec {self.line} rm -f "$1"', self.last, environ=self.environ)
        return answer

    def unpack(self, archive: Path) -> Answer:
        return ask(f'exec {self.line} import "$1" gocker-peer-tar', str(archive),
                   environ=self.environ)  # fmt: skip

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(20.0)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        else:
            ask(f"{self.line} system reset -f", environ=self.environ)
