"""Runs the commands of RUN as batches of one job: the same machinery as ``gocker up``."""

from __future__ import annotations

import os
from functools import partial

from gocker.errors import HostError
from gocker.image.written import Written, of_run
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.image.buildtypes import Run
    from gocker.plan.model import Plan
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots
    from gocker.state.run import Run as StateRun

_JOB = "run"
# What docker's builder has beside gocker's default, and packages need to be installed.
_CAPABILITIES = ("SETFCAP", "MKNOD", "SYS_CHROOT", "AUDIT_WRITE", "NET_RAW")


class Runs:
    """All runs of one build; each is a project's of its own, with a launcher of its own."""

    def __init__(self, roots: Roots, *, quiet: bool = False) -> None:
        self._roots = roots
        self._quiet = quiet
        self._project = f"gocker-build-{os.getpid()}"

    def __call__(self, run: Run) -> Written:
        """Run a command; return what it has written.

        Raises:
            HostError: if it failed, with its exit code.
        """
        plan = self._plan(run)
        code, state = self._execute(plan)
        try:
            if code != 0:
                raise HostError(f"the command ended with exit code {code}")
            written = of_run(self._roots, state, _JOB, plan.containers[_JOB])
            return replace(written, done=partial(_forget, state))
        except BaseException:
            _forget(state)
            raise

    def _plan(self, run: Run) -> Plan:
        from gocker.cli.facts import facts
        from gocker.cli.host import host_of
        from gocker.image.resolve import resolve
        from gocker.plan.build import build
        from gocker.spec.model import load
        from gocker.spec.model.roles import roles

        service: dict[str, Any] = {
            "image": run.manifest,
            "entrypoint": [],
            "command": list(run.argv),
            "environment": dict(run.environment),
            "working_dir": run.working_dir,
            "cap_add": list(_CAPABILITIES),
            "security_opt": ["no-new-privileges:false"],
            "volumes": list(run.mounts),
        }
        if run.user:
            service["user"] = run.user
        if run.network != "default":
            service["network_mode"] = run.network
        project = load({"name": self._project, "services": {_JOB: service}}, lambda _: None)
        roots = self._roots
        host = host_of(facts(roots), {}, lambda reference: resolve(reference, roots, "/"))
        return replace(build(project, roles(project), host), keep="always")

    def _execute(self, plan: Plan) -> tuple[int, StateRun]:
        from gocker.cli.session import Session
        from gocker.log import Console
        from gocker.report.output import QueueSink
        from gocker.scheduler.messages import Options

        stderr = QueueSink(2)
        only = "" if self._quiet else None
        session = Session(
            plan, self._roots, _launcher(), Console(stderr, "none"), stderr, prefix=False, only=only
        )
        result = session.execute(Options(exit_code_from=_JOB))
        return result.exit_code, session.run


def _launcher() -> Launcher:
    from gocker.scheduler import signals
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.spawn import spawn

    signals.hold()
    try:
        return Launcher(*spawn())
    finally:
        signals.release()


def _forget(state: StateRun) -> None:
    """Remove a run that has ended, with what it has written."""
    state.remove()
