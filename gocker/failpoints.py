"""Steps that tests can make fail: ``GOCKER_FAILPOINTS=name=fault[:count],...``.

A step is a function that is there anyway. `arm` puts a wrapper around those that the variable
names; without the variable this module is not even imported, so that an unused failpoint costs
nothing. ``python -m gocker.failpoints`` lists the names.

Faults: ``kill`` (SIGKILL of the process), ``raise`` (an exception nobody foresaw), an errno in
lower case (``enospc``), and ``hang`` or ``hang=SECONDS``, after which the step goes on. `count` is
how many times the step fails, from its first time on; without it, every time.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import time
from difflib import get_close_matches

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


VARIABLE = "GOCKER_FAILPOINTS"
ERRNOS = ("enospc", "eio", "emfile", "enomem", "eagain")
FAULTS = ("kill", "raise", *ERRNOS, "hang")
HANG_S = 10.0
BACK = ("linux", "cgroup", "runtime")

# First processes of containers make these by `gocker.linux.calls`, without Python.
CALLS = ("write", "unshare", "umask", "prlimit64", "prctl", "setgroups", "setresgid", "setresuid",
         "capset", "close_range", "chdir", "seccomp", "execve")  # fmt: skip

# name: functions below gocker, more than one where drivers differ. One that makes others of this
# list fail, too, is here for what it does between them.
STEPS: dict[str, tuple[str, ...]] = {
    # The front, up to the first container.
    "launcher.spawn": ("scheduler.spawn:spawn",),
    "roots.open": ("state.roots:Roots.open",),
    "roots.data": ("state.roots:Roots.open_data",),
    "roots.live": ("state.roots:Roots.open_live",),
    "directory.open": ("state.directory:open_private",),
    "directory.list": ("state.directory:list_names",),
    "directory.read": ("state.directory:read_small",),
    "directory.write": ("state.directory:write_atomic",),
    "lock.acquire": ("state.locks:acquire",),
    "lock.ask": ("state.locks:is_held",),
    "run.create": ("state.run:Run.create",),
    "run.holder": ("state.holder:Holder.current",),
    "run.list": ("state.run:runs",),
    "run.ask": ("cli.opening:ask_launcher",),
    "run.sweep": ("cli.sweeping:sweep",),
    "run.stale": ("state.leftovers:stale_containers",),
    "run.check": ("cli.opening:check_limits",),
    "run.begin": ("cli.session:Session._begin",),
    "record.open": ("log:RunLog.__init__",),
    "record.append": ("log:RunLog._append",),
    # Images.
    "image.ingest": ("image.store:Ingest.commit",),
    "image.write": ("image.store:Store.write",),
    "image.publish": ("image.layers:Unpacker._publish",),
    "image.sync": ("image.layers:Unpacker._sync",),
    "image.collect": ("image.collect:collect",),
    "image.copyup": ("image.unpacking:copy_up",),
    # The loop.
    "loop.start": ("scheduler.loop:Loop._request_start",),
    "loop.step": ("scheduler.loop:Loop._step",),
    "loop.message": ("scheduler.loop:Loop._on_message",),
    "loop.started": ("scheduler.loop:Loop.started",),
    "loop.ended": ("scheduler.loop:Loop.ended",),
    "loop.complete": ("scheduler.loop:Loop._complete",),
    "loop.stop": ("scheduler.loop:Loop._signal",),
    "loop.probe": ("scheduler.loop:Loop._probe",),
    "loop.verdict": ("scheduler.loop:Loop._verdict",),
    "loop.files": ("scheduler.chronicle:Chronicle._take_files",),
    "control.listen": ("state.control:listen",),
    "control.accept": ("scheduler.control:Control._accept",),
    "control.request": ("scheduler.operations:Operations.handle",),
    "loop.keep": ("scheduler.takeover:keep",),
    "loop.resume": ("scheduler.takeover:resume",),
    "loop.finish": ("scheduler.loop:Loop._finish",),
    "link.start": ("scheduler.links:Link.start",),
    "link.turn": ("scheduler.links:Link._turn",),
    "output.pipe": ("scheduler.output:Streams.pipe",),
    "output.read": ("scheduler.output:Streams._read",),
    "output.log": ("state.run:Run.open_log",),
    "output.end": ("scheduler.output:Streams._end",),
    "container.prepare": ("cli.session:Session.prepare",),
    "volume.create": ("state.volumes:create",),
    "artifact.copy": ("state.artifacts:copy",),
    "artifact.file": ("state.artifacts:_copy_one",),
    "run.keep": ("state.run:Run.keep",),
    "launcher.close": ("scheduler.launcher:close_all",),
    "plan.write": ("state.planfile:write",),
    "run.prune": ("state.run:prune",),
    "run.remove": ("state.run:Run.remove",),
    # Both.
    "tree.remove": ("tree:remove_tree",),
    # The launcher.
    "launcher.init": ("runtime.launcher:Launcher._init",),
    "launcher.define": ("runtime.launcher:Launcher._define",),
    "launcher.check": ("runtime.launcher:Launcher._check",),
    "launcher.sweep": ("runtime.launcher:Launcher._sweep",),
    "launcher.start": ("runtime.launcher:Launcher._start",),
    "launcher.report": ("runtime.launcher:Launcher._report_start",),
    "launcher.hold": ("runtime.holding:Holding.hold",),
    "launcher.orphaned": ("runtime.holding:Holding.orphaned",),
    "launcher.handover": ("runtime.holding:Holding.hand_over",),
    "launcher.signal": ("runtime.launcher:Launcher._signal",),
    "exec.find": ("runtime.target:Target.find",),
    "exec.cgroups": ("cgroup.existing:of_process",),
    "exec.start": ("runtime.executions:Executions.exec",),
    "exec.clone": ("runtime.exec:_clone",),
    "exec.leave": ("runtime.exec:_leave_client",),
    "exec.enter": ("runtime.exec:_join",),
    "exec.orphan": ("runtime.exec:_become_orphan",),
    "exec.terminal": ("runtime.terminal:open_in",),
    "copy.start": ("runtime.copies:Copies.copy",),
    "copy.out": ("runtime.copyout:Archiver.add",),
    "copy.in": ("runtime.copyin:Extractor.add",),
    "exec.join": ("runtime.executions:Executions.join",),
    "exec.exited": ("runtime.executions:Executions._exited",),
    "launcher.exited": ("runtime.launcher:Launcher._exited",),
    "launcher.release": ("runtime.launcher:Launcher._release",),
    "launcher.collect": ("runtime.launcher:Launcher._collect",),
    "launcher.emit": ("runtime.launcher:Launcher._emit",),
    "prepare.spawner": ("runtime.prepare:spawners",),
    "prepare.scratch": ("runtime.prepare:scratch",),
    "seccomp.compile": ("runtime.seccomp:program",),
    "cgroup.open": ("cgroup.manager:open_manager",),
    "cgroup.names": ("cgroup.base:Manager.names",),
    "cgroup.create": ("cgroup.base:Manager.create",),
    "cgroup.mkdir": ("cgroup.base:Manager.mkdir",),
    "cgroup.limit": ("cgroup.group:Cgroup.limit",),
    "cgroup.write": ("cgroup.limits:write_read",),
    "cgroup.devices": ("cgroup.group:Cgroup._limit_devices",),
    "cgroup.fds": ("cgroup.v1_group:Cgroup.fds", "cgroup.v2_group:Cgroup.fds"),
    "cgroup.stats": ("cgroup.v1_group:Cgroup.stats", "cgroup.v2_group:Cgroup.stats"),
    "cgroup.remove": ("cgroup.group:Cgroup.remove",),
    "cgroup.sweep": ("cgroup.base:Manager.sweep",),
    "cgroup.close": ("cgroup.base:Manager.close",),
    "layer.take": ("runtime.layers:Layers.take",),
    "layer.make": ("runtime.layers:Layer.__init__",),
    "layer.hide": ("runtime.layers:_make_hiding",),
    "layer.mount": ("runtime.layers:_mount",),
    "layer.stamp": ("runtime.layers:Layer._read_stamp",),
    "layer.clone": ("runtime.layers:Layer.clone",),
    "layer.give_back": ("runtime.layers:Layers.give_back",),
    "layer.remove": ("runtime.layers:Layer.remove",),
    "layer.close": ("runtime.layers:Layers.close",),
    "container.start": ("runtime.start:Starter.start",),
    "container.make": ("runtime.container:Container.__init__",),
    "container.spawn": ("linux.vfork:Spawner.spawn",),
    "container.fork": ("linux.process:clone3",),
    "container.status": ("runtime.container:Container.read_status",),
    "container.signal": ("runtime.container:Container.send_signal",),
    "container.wait": ("runtime.container:Container.wait",),
    "userns.make": ("runtime.userns:make",),
    # The project's network.
    "network.ask": ("scheduler.network:ProjectNetwork.__init__",),
    "network.ready": ("scheduler.network:ProjectNetwork.ready",),
    "network.take": ("scheduler.network:ProjectNetwork._take",),
    "network.ended": ("scheduler.network:ProjectNetwork.ended",),
    "network.close": ("scheduler.network:ProjectNetwork.close",),
    "network.fork": ("runtime.netfork:fork",),
    "network.up": ("runtime.network:Network.up",),
    "network.link": ("runtime.uplink:Uplink.lead_out",),
    "network.publish": ("runtime.uplink:Uplink.publish",),
    "network.resolver": ("runtime.network:_be_resolver",),
    "network.attach": ("runtime.endpoints:Endpoints.attach",),
    "network.detach": ("runtime.endpoints:Endpoints.detach",),
    "network.down": ("runtime.uplink:Uplink.close",),
    # A container's first process.
    "init.die_with_launcher": ("runtime.init:die_with_launcher",),
    "init.sources": ("runtime.init:_sources",),
    "init.enter_cgroups": ("runtime.init:_join",),
    "init.session": ("runtime.init:_session",),
    "init.namespaces": ("runtime.init:_namespaces",),
    "init.hostname": ("runtime.init:_hostname",),
    "init.loopback": ("runtime.init:_loopback",),
    "init.root": ("runtime.init:_root",),
    "init.mounts": ("runtime.init:_mounts",),
    "init.files": ("runtime.init:_files",),
    "init.devices": ("runtime.init:_devices",),
    "init.terminal": ("runtime.init:_terminal",),
    "init.sysctl": ("runtime.init:_sysctl",),
    "init.oom_score_adj": ("runtime.init:_oom_score_adj",),
    "init.protected_paths": ("runtime.init:_protected_paths",),
    "init.pivot_root": ("runtime.init:_pivot_root",),
    "init.join": ("runtime.init:join",),
    "init.reaper": ("runtime.reaper:fork_program",),
    "init.report": ("runtime.init:report",),
    "init.process": ("runtime.program:finish",),
    "rootfs.mount": ("runtime.mounts:_mount",),
    "rootfs.attach": ("runtime.mounts:_attach",),
    "rootfs.cgroup": ("runtime.mounts:_mount_cgroup",),
    "rootfs.file": ("runtime.rootfs:_write_file",),
    "rootfs.device": ("runtime.devices:_make_node",),
    "rootfs.mask": ("runtime.rootfs:_mask",),
    "rootfs.readonly": ("runtime.rootfs:_make_readonly",),
    "program.identity": ("runtime.program:_identity",),
    "program.lookup": ("runtime.program:_program",),
    **{f"call.{name}": () for name in CALLS},
}


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fault:
    """What befalls a step, `count` times at most."""

    __slots__ = ("count", "kind", "name", "seconds")

    # Replaced in the launcher, whose children cannot send SIGKILL to themselves.
    kill: Callable[[], None] = staticmethod(_kill)

    def __init__(self, name: str, kind: str, seconds: float, count: int | None) -> None:
        self.name = name
        self.kind = kind
        self.seconds = seconds
        self.count = count

    @property
    def errno(self) -> int:
        """The error number; 0 for another kind of fault."""
        number: int = getattr(errno, self.kind.upper(), 0)
        return number

    def due(self) -> bool:
        """Return whether it happens this time."""
        if self.count is None:
            return True
        self.count -= 1
        return self.count >= 0

    def hit(self) -> None:
        """Let it happen."""
        if not self.due():
            return
        if self.kind == "kill":
            type(self).kill()
        elif self.kind == "hang":
            time.sleep(self.seconds)
        elif self.kind == "raise":
            raise RuntimeError(f"failpoint {self.name}")
        else:
            raise OSError(self.errno, os.strerror(self.errno))


def parse(text: str) -> list[Fault]:
    """Return the faults of ``name=fault[:count],...``.

    Raises:
        UsageError: naming what is not known.
    """
    return [_parse_one(item.strip()) for item in text.split(",") if item.strip()]


def _parse_one(item: str) -> Fault:
    name, _, rest = item.partition("=")
    fault, _, count = rest.partition(":")
    kind, _, seconds = fault.partition("=")
    hint = f"python -m gocker.failpoints lists the names; faults are {', '.join(FAULTS)}"
    if name not in STEPS:
        close = get_close_matches(name, STEPS, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"{VARIABLE}: no failpoint {name!r}{meant}", hint=hint)
    if kind not in FAULTS:
        raise UsageError(f"{VARIABLE}: {name}: no fault {fault!r}", hint=hint)
    try:
        return Fault(name, kind, float(seconds or HANG_S), int(count) if count else None)
    except ValueError:
        raise UsageError(f"{VARIABLE}: {item!r} is not name=fault[:count]", hint=hint) from None


def arm(faults: Iterable[Fault], *, back: bool) -> None:
    """Wrap the steps of this process: the launcher's with `back`, else the front's."""
    for fault in faults:
        for target in STEPS[fault.name]:
            module = target.partition(":")[0]
            part = module.partition(".")[0]
            if part == "tree" or (part in BACK) == back:
                _wrap(f"gocker.{module}", target.partition(":")[2], fault)


def _wrap(module: str, path: str, fault: Fault) -> None:
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = vars(owner)[name]
    if isinstance(original, classmethod):
        setattr(owner, name, classmethod(_faulty(original.__func__, fault)))
        return
    faulty = _faulty(original, fault)
    setattr(owner, name, faulty)
    if not outer:
        _replace_everywhere(original, faulty)


def _faulty(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    def faulty(*args: Any, **keywords: Any) -> Any:
        fault.hit()
        return function(*args, **keywords)

    # A message that tells where an error came from tells the step, as if it had been inside.
    code = function.__code__
    faulty.__code__ = faulty.__code__.replace(
        co_name=code.co_name, co_qualname=code.co_qualname, co_filename=code.co_filename
    )
    faulty.__name__ = function.__name__
    return faulty


def _replace_everywhere(original: object, faulty: object) -> None:
    """Replace a function where it was imported by name, and in tuples of steps."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("gocker."):
            continue
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, faulty)
            elif isinstance(value, tuple) and any(item is original for item in value):
                setattr(module, key, tuple(faulty if i is original else i for i in value))


if __name__ == "__main__":
    print("\n".join(STEPS))  # noqa: T201  # a command of its own
