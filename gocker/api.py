"""The Python API: `load` a spec, run it with `up`, ask its services. See docs/python.md.

    with gocker.up("compose.yaml") as run:
        port = run.service("db").port_for(5432)

The commands do the work, each in a process of its own (``up -d --wait``, ``exec``, ``down``), so
the API has no way of its own, and a project lives no longer than the program that asked for it:
see `gocker.cli.caller`. Errors are those of `gocker.errors`.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gocker.errors import ContainerError, GockerError, HostError, from_wire

if TYPE_CHECKING:
    from gocker.spec.load import LoadOptions
    from gocker.spec.model import Project
    from gocker.state.networks import PortState
    from gocker.state.roots import Roots
    from gocker.state.run import Run as StoredRun

    Path = str | os.PathLike[str]

__all__ = ["Completed", "Run", "Service", "Spec", "load", "up"]

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Not -m: the working directory would be searched for gocker first.
_CODE = f"import sys; sys.path.insert(0, {_ROOT!r}); from gocker.cli.main import main; main()"
_MAX_MESSAGE = 1 << 18
# Last lines of each service's output that a failed start shows.
_NOTED_LINES = 20


@dataclass(frozen=True)
class Spec:
    """A spec that was loaded and validated.

    Attributes:
        name: of the project.
        files: every file that was read.
        project: the validated model; ``project.services["web"].command`` and the like.
    """

    name: str
    files: tuple[str, ...]
    project: Project

    @property
    def services(self) -> tuple[str, ...]:
        """The names of its services and jobs."""
        return (*self.project.services, *self.project.jobs)


@dataclass(frozen=True)
class Completed:
    """A program that has ended in a container: its exit code and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    def check(self) -> Completed:
        """Return itself if the exit code is 0.

        Raises:
            ContainerError: with what it wrote, if it is not.
        """
        if self.exit_code != 0:
            raise ContainerError(
                f"exit code {self.exit_code}", hint=(self.stderr or self.stdout).strip() or None
            )
        return self


@dataclass(frozen=True)
class _Where:
    """Which project, and the environment of the commands that are about it."""

    project: str
    environ: Mapping[str, str] = field(repr=False)

    def command(self, name: str, *words: str) -> Completed:
        """Run a command on the project."""
        return _command([name, "-p", self.project, *words], self.environ)

    @contextmanager
    def run(self) -> Iterator[tuple[Roots, StoredRun]]:
        """Give the roots and the project's last run.

        Raises:
            HostError: if it has none any more.
        """
        from gocker.state.roots import Roots
        from gocker.state.run import runs

        with Roots.open(self.environ) as roots:
            found = runs(roots, self.project)
            if not found:
                raise HostError(f"project {self.project!r} has no run")
            yield roots, found[-1]


@dataclass(frozen=True)
class Service:
    """One service of a project that is up, or one instance of it."""

    name: str
    _where: _Where = field(repr=False)

    def port_for(self, target: int, protocol: str = "tcp") -> int:
        """Return the host's port that leads to a port of the first container.

        Raises:
            HostError: if that port is not published.
        """
        return self._published(target, protocol).published

    def address_for(self, target: int, protocol: str = "tcp") -> tuple[str, int]:
        """Return host and port to connect to, for a port of the first container.

        Raises:
            HostError: if that port is not published.
        """
        found = self._published(target, protocol)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found.host, found.host)
        return host, found.published

    def _published(self, target: int, protocol: str) -> PortState:
        from gocker.state.networks import ports

        with self._where.run() as (_, run):
            mine = [it for it in ports(run) if self.name in (it.service, it.instance)]
        for it in mine:
            if (it.target, it.protocol) == (target, protocol):
                return it
        others = ", ".join(f"{it.target}/{it.protocol}" for it in mine) or "nothing"
        raise HostError(
            f"{self.name!r} does not publish {target}/{protocol}",
            hint=f"it publishes {others}; ports: ['{target}'] publishes it",
        )

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until the service is over; return its exit code.

        Raises:
            TimeoutError: if it is not over after `timeout_s`.
            UsageError: if there is no such service.
        """
        from gocker.cli.lifecycle import check_names, last_units
        from gocker.cli.wait import exit_codes, until_over

        with self._where.run() as (roots, _):
            check_names(last_units(roots, self._where.project), [self.name], self._where.project)
            if not until_over(roots, self._where.project, [self.name], timeout_s):
                raise TimeoutError(f"{self.name} is not over after {timeout_s:g} s")
            codes = exit_codes(roots, self._where.project, [self.name])
        return next(filter(None, codes.values()), 0)

    def logs(self, tail: int | None = None) -> str:
        """Return what its containers wrote, each of them as a whole.

        Args:
            tail: only so many last lines of each container.
        """
        from gocker.state.logs import read_logs
        from gocker.state.outcomes import of_run

        with self._where.run() as (_, run):
            names = [it.instance for it in of_run(run).values()
                     if self.name in (it.service, it.instance)]  # fmt: skip
            chunks = [chunk for _, _, chunk in read_logs(run, names, tail=tail)]
        return b"".join(chunks).decode("utf-8", "replace")

    def exec(
        self, *command: str, user: str | None = None, workdir: str | None = None,
        env: Mapping[str, str] | None = None, index: int | None = None,
    ) -> Completed:  # fmt: skip
        """Run a program in the service's container, as ``gocker exec`` does; see `Completed.check`.

        Raises:
            ContainerError: if it cannot be executed there (126, 127 as in docs/errors.md).
        """
        words = ["-T"]
        for option, value in (("-u", user), ("-w", workdir), ("--index", index)):
            words += [option, str(value)] if value is not None else []
        for key, value in (env or {}).items():
            words += ["-e", f"{key}={value}"]
        return self._where.command("exec", *words, self.name, "--", *command)


@dataclass(frozen=True)
class Run:
    """A project that is up. `project` is its name, for the command line: ``gocker ps -p NAME``."""

    project: str
    services: tuple[str, ...]
    _where: _Where = field(repr=False)

    def service(self, name: str) -> Service:
        """Return a service of the spec.

        Raises:
            UsageError: if there is no such service.
        """
        if name not in self.services:
            from gocker.cli.naming import no_such_service

            error = no_such_service([name], self.services)
            _note(error)
            raise error
        return Service(name, self._where)

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until all services are over; return the first exit code that is not 0.

        Raises:
            TimeoutError: if they are not over after `timeout_s`.
        """
        from gocker.cli.lifecycle import last_units
        from gocker.cli.wait import exit_codes, until_over

        with self._where.run() as (roots, _):
            names = list(last_units(roots, self.project))
            if not until_over(roots, self.project, names, timeout_s):
                raise TimeoutError(f"{self.project} is not over after {timeout_s:g} s")
            codes = exit_codes(roots, self.project, names)
        return next(filter(None, codes.values()), 0)

    def logs(self, tail: int | None = None) -> dict[str, str]:
        """Return the output of each service by its name; see `Service.logs`."""
        return {name: self.service(name).logs(tail) for name in self.services}


def load(
    *files: Path, project_name: str | None = None, profiles: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Spec:  # fmt: skip
    """Load and validate a spec; no files means what ``gocker up`` would find.

    Args:
        files: later ones override earlier ones.
        project_name: instead of the spec's own.
        profiles: to enable.
        env: variables beside those of this process.

    Raises:
        SpecError: with every mistake and its place.
        UsageError: if there is no file.
    """
    from gocker.spec.load import load as load_spec
    from gocker.spec.model import load as load_model

    loaded = load_spec(_options(files, project_name, profiles, {**os.environ, **(env or {})}))
    project = load_model(loaded.model, loaded.place, strict=False)
    return Spec(loaded.name, tuple(loaded.files), project)


@contextmanager
def up(
    *files: Path, services: Sequence[str] = (), project_name: str | None = None,
    profiles: Sequence[str] = (), env: Mapping[str, str] | None = None,
    timeout_s: float | None = None, stop_timeout_s: float | None = None,
    keep_volumes: bool = False, label: str = "",
) -> Iterator[Run]:  # fmt: skip
    """Run a spec while a ``with`` block lasts; begins when all services run or are healthy.

    At its end, whatever the reason, the project is brought down and nothing of it stays: no
    process, no network, no volume. That holds for the end of this process by SIGKILL, too.

    Args:
        files: of the spec; none means what ``gocker up`` would find.
        services: only these, with what they need.
        project_name: default is the spec's own and a random part, so that two never meet.
        profiles: to enable.
        env: variables for the spec beside those of this process.
        timeout_s: how long to wait for the start.
        stop_timeout_s: before SIGKILL at the end; default is each service's own.
        label: a word in the project's name where `project_name` does not say it.
        keep_volumes: let named volumes live on; with a `project_name` they are met again.

    Raises:
        SpecError, PlanError, HostError: as the command; nothing runs then.
        ContainerError: a service did not start, or ended before it was healthy.
        TimeoutError: the start took longer than `timeout_s`.
    """
    environ = {**os.environ, **(env or {})}
    spec = load(*files, project_name=project_name, profiles=profiles, env=env)
    parts = [spec.name[:40], label, secrets.token_hex(4)]
    where = _Where(project_name or "-".join(filter(None, parts)), environ)
    words = ["-d", "--wait", "-q", "--color", "never", *_spec_words(files, profiles), *services]
    words += [] if timeout_s is None else ["--wait-timeout", str(timeout_s)]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The connection is what the project lives by: closing it ends it.
    with ours:
        try:
            with theirs:
                done = _command(["up", "-p", where.project, *words], environ, (ours, theirs))
            if done.exit_code != 0:
                raise _not_started(done, where, timeout_s)
            yield Run(where.project, services_of(where), where)
        finally:
            end = [] if keep_volumes else ["--volumes"]
            end += [] if stop_timeout_s is None else ["-t", str(stop_timeout_s)]
            where.command("down", "-q", *end)


def services_of(where: _Where) -> tuple[str, ...]:
    """Return the services that a project's last run has."""
    from gocker.state.outcomes import of_run

    with where.run() as (_, run):
        return tuple(dict.fromkeys(it.service for it in of_run(run).values()))


def _not_started(done: Completed, where: _Where, timeout_s: float | None) -> Exception:
    if timeout_s is not None and "not ready after" in done.stderr:
        return TimeoutError(f"project {where.project} is not ready after {timeout_s:g} s")
    error = ContainerError(
        f"project {where.project} did not start: exit code {done.exit_code}",
        hint=done.stderr.strip()[-2000:] or None,
    )
    _note(error)
    for name in services_of(where):
        if text := Service(name, where).logs(_NOTED_LINES):
            error.add_note(f"{name}:\n{text}")
    return error


def _note(error: GockerError) -> None:
    """Let a traceback show the hint, too."""
    if error.hint:
        error.add_note(f"hint: {error.hint}")


def _options(
    files: Sequence[Path], name: str | None, profiles: Sequence[str], environ: Mapping[str, str]
) -> LoadOptions:
    from gocker.spec.load import LoadOptions

    return LoadOptions(
        [os.fspath(file) for file in files], project_name=name, profiles=list(profiles) or None,
        environ=environ,
    )  # fmt: skip


def _spec_words(files: Sequence[Path], profiles: Sequence[str]) -> list[str]:
    words = [word for file in files for word in ("-f", os.fspath(file))]
    return words + [word for name in profiles for word in ("--profile", name)]


def _command(
    words: Sequence[str], environ: Mapping[str, str],
    pair: tuple[socket.socket, socket.socket] | None = None,
) -> Completed:  # fmt: skip
    """Run a command to its end.

    Args:
        words: its arguments.
        environ: its environment.
        pair: our end and its end of what `gocker.cli.caller` listens to; None: a new pair.

    Raises:
        GockerError: what the command told of.
    """
    if pair is None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            return _command(words, environ, (ours, theirs))
    ours, theirs = pair
    # Files, not pipes: whoever lives on with them keeps nobody waiting.
    fds = [os.memfd_create(f"gocker-{name}", os.MFD_CLOEXEC) for name in ("out", "err")]
    try:
        pid = _spawn(words, environ, theirs.fileno(), fds)
        code = _wait(pid)
        out, err = (os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace") for fd in fds)
    finally:
        for fd in fds:
            os.close(fd)
    try:
        told: dict[str, Any] = json.loads(ours.recv(_MAX_MESSAGE, socket.MSG_DONTWAIT) or b"{}")
    except BlockingIOError:
        told = {}
    if told:
        error = from_wire(told)
        _note(error)
        raise error
    return Completed(code, out, err)


def _spawn(words: Sequence[str], environ: Mapping[str, str], fd: int, out: Sequence[int]) -> int:
    from gocker.cli.caller import VARIABLE

    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out[0], 1),
        (os.POSIX_SPAWN_DUP2, out[1], 2),
    ]
    os.set_inheritable(fd, True)
    command = [sys.executable, "-P", "-c", _CODE, *words]
    # The log is a program's, not a CI's: what is shown of it is the caller's to decide.
    env = {**environ, VARIABLE: str(fd)}
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        env.pop(name, None)
    try:
        return os.posix_spawn(
            sys.executable, command, env, file_actions=actions, setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
        )  # fmt: skip
    except OSError as error:
        raise HostError(f"cannot start {sys.executable!r}: {error.strerror}") from error
    finally:
        os.set_inheritable(fd, False)


def _wait(pid: int) -> int:
    """Return a command's exit code; an exception meanwhile (Ctrl-C) ends it, too."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
