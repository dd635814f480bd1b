"""One run around the loop: its directory, log, console, launcher and clean-up."""

from __future__ import annotations

import os
import time

import gocker
from gocker.cli import timings
from gocker.cli.opening import ask_launcher, check_limits, isolation, missing, open_run
from gocker.cli.sweeping import sweep
from gocker.errors import GockerError, HostError
from gocker.log import RunLog
from gocker.plan.model import ANONYMOUS
from gocker.report.output import Prefixer, QueueSink
from gocker.report.summary import Summary
from gocker.scheduler import signals
from gocker.scheduler.launcher import Launcher, close_all
from gocker.scheduler.links import wanted
from gocker.scheduler.loop import Loop
from gocker.scheduler.machine import Machine
from gocker.scheduler.spawn import spawn
from gocker.state import leftovers, rootless
from gocker.state.run import prune

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from selectors import BaseSelector
    from typing import Any

    from gocker.cli.detach import Report
    from gocker.cli.revive import Announcement
    from gocker.log import Console
    from gocker.plan.model import Container, Plan
    from gocker.report.mask import Mask
    from gocker.scheduler.attempt import Ended
    from gocker.scheduler.control import Control
    from gocker.scheduler.keyboard import Keyboard
    from gocker.scheduler.messages import Options, Result, Verdict
    from gocker.scheduler.network import ProjectNetwork
    from gocker.scheduler.output import Feed, Streams
    from gocker.scheduler.takeover import Taken
    from gocker.state.containers import ContainerState
    from gocker.state.roots import Roots
    from gocker.state.run import Run

# When the plan is written: after so long without any event, or so long after the first start.
_QUIET_S = 0.02
_PLAN_AFTER_S = 1.0


class Session:
    """Runs one plan: what `gocker.scheduler.surroundings.Surroundings` asks for is here."""

    def __init__(
        self, plan: Plan, roots: Roots, launcher: Launcher, console: Console, stderr: QueueSink,
        *, prefix: bool = True, timestamps: bool = False, colour: bool = False,
        stdin: int | None = None, only: str | None = None, run: Run | None = None,
        control: Control | None = None, shown: Callable[[str], bool] | None = None,
        report: Report | Announcement | None = None, taken: Taken | None = None, last: int = 0,
        lost: Sequence[ContainerState] = (),
        keyboard: Keyboard | None = None,
    ) -> None:  # fmt: skip
        self.run = run or open_run(plan, roots, launcher)
        self._plan = plan
        self._roots = roots
        self._launcher = launcher
        self._further: list[Launcher] = []
        self._console = console
        self._stderr = stderr
        self._prefix = prefix
        self._timestamps = timestamps
        self._colour = colour
        self._stdin = stdin
        self._keyboard = keyboard
        # The only unit whose output is shown and that may read standard input; None is all.
        self._only = only
        self._control = control
        # Of a run that is gone on with: what outlived its supervisor, its log's last record, and
        # what did not.
        self._taken = taken
        self._last = last
        self._lost = lost
        # Which instances' output goes to standard output.
        self._shown = shown
        # Who waits for the start of a detached project.
        self._report = report
        self._sink = stderr if stderr.fd == 1 else QueueSink(1)
        self._width = max((len(name) for name in plan.units), default=0)
        self._index = {name: number for number, name in enumerate(plan.units)}
        self._secrets = plan.mask
        self.mask = _mask(plan.mask)
        self.owner = rootless.owner(os.environ)
        # Reports that jobs wrote, below the project, of each instance's last attempt.
        self.reports: dict[str, list[str]] = {}
        self._log: RunLog
        self.summary = Summary()
        # Until when the plan has to be on disk, for `gocker exec`; None: it is, or need not be.
        self._plan_due: float | None = None
        self._plan_written = taken is not None
        # Whether something of ours may outlive us.
        self._keeps = taken is not None

    def execute(self, options: Options) -> Result:
        """Run the plan to its end; the launcher has cleaned up when this returns."""
        machine = Machine(self._plan, options)
        in_order = False
        with self.run.opened() as directory:
            self._log = RunLog("run.jsonl", self.run.id, self._plan.project, self._console,
                               dir_fd=directory, durable=True, after=self._last)  # fmt: skip
        try:
            if self._taken is None:
                self._begin(options)
            else:
                from gocker.cli import keeping

                keeping.go_on(self.record, self._taken, self._lost)
            launchers = self._all_launchers()
            result = Loop(
                self._plan, machine, launchers, self, self.run.id, self._control,
                detached=options.detached, taken=self._taken,
            ).run()  # fmt: skip
            in_order = result.exit_code != HostError.exit_code
        except BaseException:
            # A bug of ours is no reason to end what is to outlive us.
            if self._keeps:
                self._launcher.leave()
            raise
        finally:
            if self._control is not None:
                self._control.close()
            if self._keyboard is not None:
                self._keyboard.close()
            outlived = self._launcher.left
            if self._keeps and not outlived:
                self._launcher.send({"op": "let_go", "id": None})
                from gocker.cli import keeping

                keeping.forget(self._roots, self._plan.project)
            close_all([self._launcher, *self._further])
            if not in_order and not outlived:
                leftovers.remove_of_run(self._roots, self.run.id)
            try:
                self._log.close()
            finally:
                for sink in self.sinks:
                    sink.flush()
                self.run.close()
                # Not before: one that waited ends this process, and reports are files.
                signals.release()
        prune(self._roots, self._plan.project)
        return result

    def _all_launchers(self) -> list[Launcher]:
        """Return the launcher and as many more as the plan is worth; those are still loading."""
        count = wanted(len(self._plan.units), len(os.sched_getaffinity(0)))
        if self._taken is not None:
            count = 1  # it has everything already
        for number in range(1, count):
            try:
                launcher = Launcher(*spawn())
            except HostError:
                break  # no process left for a second one: the first does it all
            self._further.append(launcher)
            ask_launcher(launcher, self._roots, self.run, number)
        return [self._launcher, *self._further]

    def _begin(self, options: Options) -> None:
        timings.mark("scheduler imported")
        ready = self._launcher.answer()
        timings.mark("launcher ready")
        if self._control is not None:
            self._control.can_pause = bool({"freezer", "cgroup"} & {*ready["controllers"]})
        sweep(self._launcher, self._roots, ready["cgroups"])
        parallel = self._plan.parallel if options.parallel is None else options.parallel
        self.record("run.started", {
            "gocker.version": gocker.__version__,
            "spec.files": list(self._plan.files),
            "host.kernel": os.uname().release,
            "host.cgroup": ready["cgroup"],
            "host.cpus": len(os.sched_getaffinity(0)),
            "isolation": isolation(ready),
            "units": len(self._plan.units),
            "parallel": parallel,
        })  # fmt: skip
        for event, fields in self._plan.notes:
            self.record(event, fields)
        for what, detail in missing(ready, self._plan):
            self.record("security.missing", {"what": what, "detail": detail})
        if not options.start:
            for container in self._plan.containers.values():
                for item in container.prepare:
                    # One that gets an image's files is made when it does.
                    if item.kind == "volume" and not item.copy:
                        self._volume(item.name)
        try:
            check_limits(self._launcher, self._plan)
            if self._launcher.network is not None:
                self._network_ready(self._launcher.network)
        except GockerError as error:
            self.record("run.finished", {
                "exit_code": error.exit_code, "reason": "error", "duration_s": 0.0,
                "totals": {}, "error": error.to_wire(),
            })  # fmt: skip
            raise

    def kept(self) -> dict[str, int]:
        """Return what a launcher needs that may outlive us."""
        from gocker.cli import keeping

        self._keeps = self._plan_written = True
        self.quiet()  # before anything can outlive us: who enters it then reads the plan
        return keeping.descriptors(self._roots, self.run)

    def _network_ready(self, network: ProjectNetwork) -> None:
        answer = network.ready()
        wanted = self._plan.network
        assert wanted is not None  # noqa: S101  # the network is this plan's
        for it in wanted.networks:
            self.record("network.created", {
                "network": it.name, "key": it.key, "driver": it.driver, "subnets": list(it.subnets),
                "internal": it.internal,
            })  # fmt: skip
        for publication, (protocol, host, port, _, target) in zip(
            wanted.publications, answer["ports"], strict=True
        ):
            self.record("port.published", {
                "service": self._plan.units[publication.unit].service,
                "instance": publication.unit, "protocol": protocol, "host": host,
                "published": port, "target": target,
            })  # fmt: skip

    # -- what the loop asks for ----------------------------------------------------------------

    def record(self, event: str, fields: dict[str, Any]) -> object:
        """Append an event to the run's log and to the summary."""
        if event == "container.started":
            timings.once("first container started")
            if not self._plan_written:
                self._plan_written = True
                self._plan_due = time.monotonic() + _PLAN_AFTER_S
        record = self._log.record(event, self.mask.fields(fields) if self.mask else fields)
        self.summary.add(record)
        return record

    def clean(self, text: str) -> str:
        """Return a text without secret values."""
        return text if self.mask is None else self.mask.text(text)

    @property
    def passed_signals(self) -> tuple[int, ...]:
        """Return the signals for the one container of ``run``."""
        if self._only is None:
            return ()
        from gocker.cli.forward import NOT_OURS

        return NOT_OURS

    @property
    def passed_to(self) -> tuple[str, ...]:
        """Return that container's unit."""
        return () if self._only is None else (self._only,)

    def quiet_s(self) -> float | None:
        """Return how long to wait for a quiet moment; 0 when it has to be now."""
        if self._plan_due is None:
            return None
        return max(0.0, min(_QUIET_S, self._plan_due - time.monotonic()))

    def quiet(self) -> None:
        """Write the plan: not before it is needed, so that it costs a start nothing."""
        from gocker.state import planfile

        if self._plan_due is not None and time.monotonic() < self._plan_due:
            self._console.open()  # a quiet moment: a busy batch does without
        self._plan_due = None
        try:
            planfile.write(self.run, self._plan)
        except (OSError, HostError):
            pass  # a full disk: nobody may ever ask for it, and `gocker exec` says what is missing

    @property
    def settled_fd(self) -> int:
        """Return a descriptor that is readable when `settled` is to be called."""
        return self._log.settled_fd

    def settle(self) -> None:
        """Begin to make durable what was recorded."""
        self._log.settle()

    def settled(self) -> None:
        """Show the records that are durable."""
        self._log.settled()

    def open_log(self, instance: str, attempt: int) -> int:
        """Return a descriptor for a container's raw output."""
        return self.run.open_log(instance, attempt)

    def feed(self, instance: str) -> Feed | None:
        """Return the writer of a container's output to standard output."""
        if self._only not in (None, instance):
            return None
        if self._shown is not None and not self._shown(self._plan.units[instance].service):
            return None
        if self._keyboard is not None and self._is_terminal(instance):
            from gocker.scheduler.keyboard import Screen

            return Screen(self._sink.write)
        name = instance if self._prefix else ""
        colour = self._index.setdefault(instance, len(self._index)) if self._colour else None
        return Prefixer(self._sink, name, self._width, colour=colour,
                        timestamps=self._timestamps, clean=self._sink.isatty(),
                        mask=self.mask.data if self.mask else None)  # fmt: skip

    def _is_terminal(self, instance: str) -> bool:
        return bool(self._plan.containers[instance].config["process"].get("terminal"))

    def typing(self, instance: str, selector: BaseSelector, streams: Streams) -> None:
        """Let our keyboard write to the container it is for."""
        if self._keyboard is not None and instance == self._only:
            self._keyboard.open(selector, streams.input_fd, streams.end_stdin,
                                terminal=self._is_terminal(instance))  # fmt: skip

    def prepare(self, container: Container, container_id: str) -> dict[str, str]:
        """Make a container's directories; return those of its anonymous volumes by source."""
        timings.once("loop entered")
        anonymous = {}
        for number, item in enumerate(container.prepare):
            if item.kind == "bind":
                if not os.path.lexists(item.path):
                    os.makedirs(item.path, 0o755)
            elif item.kind == "volume":
                if self._volume(item.name) and item.copy:
                    _copy_up(container, item.copy, item.path)
            else:
                path = leftovers.container_path(self._roots, f"{container_id}-V{number}")
                os.mkdir(path, 0o755)
                if item.copy:
                    _copy_up(container, item.copy, path)
                anonymous[ANONYMOUS + item.path] = path
        return anonymous

    def _volume(self, name: str) -> bool:
        project = self._plan.project
        from gocker.state import volumes

        volume, made = volumes.create(self._roots, project, name.removeprefix(f"{project}_"))
        if made:
            self.record("volume.created", {"volume": name, "path": volume.path})
        return made

    @property
    def sinks(self) -> tuple[QueueSink, ...]:
        """Return the writers to standard output and standard error."""
        return tuple(dict.fromkeys((self._sink, self._stderr)))

    def began(self, loop: Loop) -> None:
        """Tell whoever waits for the start, when it is decided."""
        if self._report is not None:
            assert self._control is not None  # noqa: S101  # who is reported to can ask
            self._report.begin(loop, self, self._control.operations)

    def detach(self) -> None:
        """Go on without the terminal: nobody reads what is written there."""
        self._log.catch_up()
        self._console.mute()
        for sink in self.sinks:
            sink.flush()

    def adopted(self, plan: Plan) -> None:
        """Go on with another plan."""
        self._plan = plan
        self._plan_due = time.monotonic()
        self._secrets = tuple(sorted({*self._secrets, *plan.mask}))
        self.mask = _mask(self._secrets)

    def collect(
        self, ended: Ended, verdict: Verdict, record: Callable[[str, dict[str, Any]], None]
    ) -> None:
        """Copy a container's artifacts and reports; keep its layer if the spec says so."""
        from gocker.cli.harvest import keep_layer, take
        from gocker.state import artifacts

        shelf = artifacts.Shelf(
            self._plan.directory, self.run.id, ended.instance, ended.attempt, self.owner
        )
        reports = take(ended, verdict, record, shelf)
        if reports is not None:
            self.reports[ended.instance] = reports
        failed = verdict.verdict not in ("ok", "cancelled")
        if self._plan.keep == "always" or (failed and self._plan.keep == "on_failure"):
            keep_layer(ended, record, self.run)
            if not os.path.exists(os.path.join(self.run.path, "plan.json")):
                self.quiet()  # whoever makes an image of it needs the plan

    def stdin(self, instance: str) -> int:
        """Return a descriptor for standard input: nothing to read, unless told otherwise."""
        if self._stdin is not None and instance == self._only:
            return os.dup(self._stdin)
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _mask(values: tuple[str, ...]) -> Mask | None:
    """Return what hides secret values, or None: most plans have none."""
    if not values:
        return None
    from gocker.report.mask import Mask

    return Mask(values)


def _copy_up(container: Container, path: str, target: str) -> None:
    from gocker.image.unpacking import copy_up

    copy_up(container.lower, path, target)
