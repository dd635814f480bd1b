"""A run's directory: ``<data>/runs/<run id>/`` with run.json, run.jsonl, logs/ and lock.

The lock is held as long as the run lives. A run whose files are damaged is still a run: it is
listed, says why, and can be removed.
"""

from __future__ import annotations

import os
import sys
import time
from _signal import SIGKILL  # type: ignore[import-not-found]  # no enums: they take 3 ms

import gocker
from gocker.errors import HostError
from gocker.state.directory import (
    DIRECTORY,
    Descriptor,
    list_names,
    open_private,
    read_small,
    write_atomic,
)
from gocker.state.holder import Holder
from gocker.state.locks import Lock, acquire, is_held
from gocker.state.names import checked, is_run_id, log_name, new_run_id, run_id_after
from gocker.state.record import NOT_READABLE, seal, unseal
from gocker.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from gocker.state.roots import Roots


KEEP = 20  # finished runs per project
_LOCK_TIMEOUT_S = 10.0
_POLL_S = 0.02
_YEAR_10000 = 253_402_300_800  # no clock says so: a damaged number
_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
# The directory of a creation that was killed in the middle.
_UNFINISHED = ".new-"


class Run:
    """One run as its directory tells it. `damaged` is the reason, or None.

    Attributes of a damaged run are what its log tells, and empty otherwise; `created` is seconds
    since 1970. `newer`: a later gocker wrote it; nothing of it is changed or removed.
    """

    def __init__(
        self, roots: Roots, run_id: str, facts: dict[str, Any] | None = None,
        damaged: str | None = None, newer: bool = False,
    ) -> None:  # fmt: skip
        self.id = run_id
        self.path = os.path.join(roots.data, "runs", run_id)
        self._roots = roots
        self._lock: Lock | None = None
        facts = facts or {}
        self.newer = newer
        self.holder = Holder.from_json(facts.get("holder")) if damaged is None else None
        if damaged is None and self.holder is None:
            damaged = f"run.json {NOT_READABLE}"
        self.damaged = damaged
        self.project: str = facts.get("project", "")
        self.files: tuple[str, ...] = tuple(facts.get("files", ()))
        self.command: tuple[str, ...] = tuple(facts.get("command", ()))
        self.created: float = facts.get("created", 0.0)
        self.version: str = facts.get("gocker.version", "")
        self.cgroup_parent: str = facts.get("cgroup.parent", "")

    @classmethod
    def create(
        cls, roots: Roots, project: str, files: tuple[str, ...], cgroup_parent: str = ""
    ) -> Run:
        """Make a run that this process holds until `close` or its end.

        Processes that inherited `lock_fd` hold it on.

        Raises:
            HostError: if it cannot be written.
        """
        created = time.time()
        facts = {
            "project": checked(project, "project"),
            "files": list(files),
            "command": sys.argv,
            "created": created,
            "gocker.version": gocker.__version__,
            "cgroup.parent": cgroup_parent,
            "holder": Holder.current().as_json(),
        }
        with _runs(roots) as runs_fd, _changing(runs_fd):
            run_id = new_run_id(created)
            newest = max(filter(is_run_id, list_names(runs_fd)), default="")
            if run_id <= newest:
                # The clock was set back. Identifiers tell which run is the last one all the same.
                run_id = run_id_after(newest)
            run = cls(roots, run_id, facts)
            # Under another name until the lock is held: nobody takes it for a dead run.
            hidden = f"{_UNFINISHED}{run_id}"
            os.close(open_private(hidden, dir_fd=runs_fd))
            try:
                with _opened(hidden, runs_fd) as fd:
                    os.close(open_private("logs", dir_fd=fd))
                    run._lock = acquire("lock", dir_fd=fd, what=f"run {run_id}")
                    write_atomic(fd, "run.json", seal(facts | {"id": run_id}))
                os.rename(hidden, run_id, src_dir_fd=runs_fd, dst_dir_fd=runs_fd)
            except BaseException:
                run.close()  # the directory goes with the next `prune`
                raise
        return run

    @classmethod
    def load(cls, roots: Roots, run_id: str) -> Run:
        """Return a run by its identifier.

        Raises:
            HostError: if there is none.
        """
        with _runs(roots) as runs_fd:
            if not is_run_id(run_id) or not _exists(run_id, runs_fd):
                raise HostError(f"no run {run_id!r}", hint="gocker ps --all lists them")
            return cls(roots, run_id, *_facts(run_id, runs_fd))

    def take_over(self, lock_fd: int) -> None:
        """Be the process that holds the run, by a descriptor of its lock, which this owns now.

        Raises:
            HostError: if that cannot be written down.
        """
        self._lock = Lock(lock_fd)
        self.holder = Holder.current()
        with self.opened() as fd:
            facts, reason = unseal(read_small(fd, "run.json"))
            if facts is None or reason is not None:
                raise HostError(f"run {self.id}: run.json {reason or NOT_READABLE}")
            write_atomic(fd, "run.json", seal(facts | {"holder": self.holder.as_json()}))

    @property
    def lock_fd(self) -> int:
        """The lock's descriptor, to be inherited by the launcher: alive until both are gone."""
        if self._lock is None:
            raise HostError(f"run {self.id} is not held by this process")
        return self._lock.fd

    def close(self) -> None:
        """Let go of the lock; the run is finished once nobody else holds it."""
        if self._lock is not None:
            self._lock.close()

    def opened(self) -> Descriptor:
        """Open the run's directory; a ``with`` block gives its descriptor and closes it."""
        with _runs(self._roots) as runs_fd:
            return _opened(self.id, runs_fd)

    def alive(self) -> bool:
        """Return whether a process holds the run: the front, or the launcher after it.

        Raises:
            HostError: if it cannot be found out (no descriptor left).
        """
        try:
            with self.opened() as fd:
                return is_held("lock", dir_fd=fd)
        except HostError as err:
            if isinstance(err.__cause__, FileNotFoundError | NotADirectoryError):
                return False
            raise

    @property
    def state(self) -> Literal["running", "finished", "damaged"]:
        """What the run is now; a damaged one that somebody holds is running."""
        if self.alive():
            return "running"
        return "damaged" if self.damaged else "finished"

    def stop(self, signal: int) -> Literal["signalled", "gone"]:
        """Signal the process that started the run, and only that one.

        "gone" if it ended, or its pid is another process's by now, or another boot's: a launcher
        left behind has then read end of file and is cleaning up, so `wait` is all there is to do.
        SIGKILL goes to such a launcher, too, and where run.json is damaged, the processes that
        have the lock open are asked for: they are the run, whatever the disk says.
        """
        if self.holder is not None and self.alive() and self.holder.signal(signal):
            return "signalled"
        if (self.damaged or signal == SIGKILL) and self.alive():
            from gocker.state.lockholders import signal_holders

            with self.opened() as fd:
                if signal_holders("lock", signal, dir_fd=fd):
                    return "signalled"
        return "gone"

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until nobody holds the run; False if that takes longer than `timeout_s`.

        The front's end is an event of its pidfd. For the launcher's clean-up after it the
        lock is asked every 20 ms: its release is no event.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self.holder is not None and self.alive():
            self.holder.wait(timeout_s)
        while self.alive():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def programs(self) -> str:
        """Return where compiled seccomp programs are kept: `Roots.programs`."""
        return self._roots.programs()

    def log_path(self, instance: str, attempt: int = 1) -> str:
        """Return the path of a container's log, for messages."""
        return os.path.join(self.path, "logs", log_name(instance, attempt))

    def open_log(self, instance: str, attempt: int = 1) -> int:
        """Return a descriptor to append a container's output to; the caller owns it.

        Raises:
            HostError: if it cannot be opened, or is a link.
        """
        with self.opened() as fd, _opened("logs", fd) as logs_fd:
            try:
                log_fd = os.open(log_name(instance, attempt), _LOG, 0o600, dir_fd=logs_fd)
            except OSError as err:
                path = self.log_path(instance, attempt)
                raise HostError(f"cannot open {path!r}: {err.strerror}") from err
        os.fchmod(log_fd, 0o600)
        return log_fd

    def keep(self, directory: str, instance: str, attempt: int = 1) -> str:
        """Move what a container wrote to its root into the run; return its path there.

        Raises:
            HostError: if it cannot be moved.
        """
        name = log_name(instance, attempt).removesuffix(".log")
        path = os.path.join(self.path, "layers", name)
        with self.opened() as fd:
            layers_fd = open_private("layers", dir_fd=fd)
            try:
                os.rename(directory, name, dst_dir_fd=layers_fd)
            except OSError as err:
                raise HostError(f"cannot keep {directory!r} as {path!r}: {err.strerror}") from err
            finally:
                os.close(layers_fd)
        return path

    def remove(self) -> None:
        """Remove the directory of a run that has ended; a missing one is fine.

        A damaged one is kept aside.

        Raises:
            HostError: if the run is alive, a newer gocker's, or a mount is in its directory.
        """
        if self.newer:
            raise HostError(f"run {self.id}: {self.damaged}", hint="remove it by the newer gocker")
        with _runs(self._roots) as runs_fd, _changing(runs_fd):
            if self.alive():
                raise HostError(f"run {self.id} is still running", hint="gocker down stops it")
            if self.damaged and _exists(self.id, runs_fd):
                from gocker.state import aside

                aside.put(self._roots, self.id, runs_fd)
            else:
                remove_tree(runs_fd, self.id)


def runs(roots: Roots, project: str | None = None) -> list[Run]:
    """Return the runs of a project, or all, oldest first.

    Damaged ones whose log does not tell their project are in "all" only.
    """
    with _runs(roots) as runs_fd:
        names = [name for name in list_names(runs_fd) if is_run_id(name)]
        found = [Run(roots, name, *_facts(name, runs_fd)) for name in names]
    return [run for run in found if project is None or run.project == project]


def prune(roots: Roots, project: str, keep: int = KEEP) -> list[str]:
    """Remove a project's oldest finished runs beyond `keep`, and what a killed one left half done.

    Returns:
        the identifiers removed.
    """
    remove_unfinished(roots)
    finished = [run for run in runs(roots, project) if not run.newer and not run.alive()]
    old = finished[: max(0, len(finished) - keep)]
    for run in old:
        run.remove()
    return [run.id for run in old]


def remove_unfinished(roots: Roots) -> list[str]:
    """Remove what killed creations of runs left; return the names."""
    with _runs(roots) as runs_fd, _changing(runs_fd):
        found = unfinished(runs_fd)
        for name in found:
            remove_tree(runs_fd, name)
    return found


def unfinished(runs_fd: int) -> list[str]:
    """Return the names of directories that a killed creation left, if nobody creates now."""
    return [
        name for name in list_names(runs_fd)
        if name.startswith(_UNFINISHED) and is_run_id(name.removeprefix(_UNFINISHED))
    ]  # fmt: skip


def project_lock(roots: Roots, project: str, timeout_s: float = 0.0) -> Lock:
    """Hold a project, so that two commands that change it do not collide.

    Raises:
        InUseError: naming the holder's pid and command, after `timeout_s`.
    """
    fd = roots.open_live("projects")
    try:
        name = f"{checked(project, 'project')}.lock"
        return acquire(name, dir_fd=fd, what=f"project {project!r}", timeout_s=timeout_s)
    finally:
        os.close(fd)


def _runs(roots: Roots) -> Descriptor:
    return Descriptor(roots.open_data("runs"))


def _changing(runs_fd: int) -> Lock:
    """Create and remove one at a time; the holder needs milliseconds."""
    return acquire(".lock", dir_fd=runs_fd, what="the list of runs", timeout_s=_LOCK_TIMEOUT_S)


def _opened(name: str, dir_fd: int) -> Descriptor:
    try:
        return Descriptor(os.open(name, DIRECTORY, dir_fd=dir_fd))
    except OSError as err:
        raise HostError(f"cannot open run {name!r}: {err.strerror}") from err


def _exists(name: str, dir_fd: int) -> bool:
    return os.access(name, os.F_OK, dir_fd=dir_fd, follow_symlinks=False)


def _facts(run_id: str, runs_fd: int) -> tuple[dict[str, Any] | None, str | None, bool]:
    """Return (facts, damage, whether a newer gocker wrote it) of a run.

    Facts of a damaged run come from its log, as far as they are there: never its holder.
    """
    try:
        with _opened(run_id, runs_fd) as fd:
            facts, reason = unseal(read_small(fd, "run.json"))
            if facts is not None and reason is not None:
                named = isinstance(facts.get("project"), str)
                return facts if named else None, f"run.json {reason}", True
            if facts is not None and _is_whole(facts):
                return facts, None, False
            from gocker.state.facts import from_log

            return from_log(run_id, fd), f"run.json {reason or NOT_READABLE}", False
    except HostError as err:
        if isinstance(err.__cause__, FileNotFoundError | NotADirectoryError):
            return None, f"run.json {NOT_READABLE}", False
        raise


def _is_whole(facts: dict[str, Any]) -> bool:
    """Return whether every value has its type."""
    match facts:
        case {
            "project": str(),
            "files": [*files],
            "command": [*command],
            "created": float(created),
            "gocker.version": str(),
            "cgroup.parent": str(),
        }:
            return all(isinstance(item, str) for item in [*files, *command]) and (
                0 <= created < _YEAR_10000
            )
    return False
