"""``exec``: a further process in a running container."""

from __future__ import annotations

import _socket as socket
import os

from gocker.errors import ContainerError, UsageError, from_wire
from gocker.linux import capability
from gocker.linux.seccomp import NEW_LISTENER
from gocker.runtime import attributes, imports, listener, seccomp
from gocker.runtime.exec import Execution
from gocker.runtime.oci import bundle, cgroups, console, foreground, schema, state
from gocker.runtime.oci.arguments import FLAG, LIST, NUMBER, TEXT, parse, refuse_pidfd_socket
from gocker.runtime.oci.container import Container
from gocker.runtime.oci.create import reset_affinity, write_pid_file
from gocker.runtime.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.runtime.oci.arguments import Options
    from gocker.runtime.oci.main import Globals

_KINDS = {
    "process": TEXT, "tty": FLAG, "detach": FLAG, "pid-file": TEXT, "console-socket": TEXT,
    "env": LIST, "cwd": TEXT, "user": TEXT, "additional-gids": LIST, "cap": LIST,
    "apparmor": TEXT, "process-label": TEXT, "no-new-privs": FLAG, "preserve-fds": NUMBER,
    "cgroup": LIST, "ignore-paused": FLAG, "no-subreaper": FLAG, "pidfd-socket": TEXT,
}  # fmt: skip
_SHORT = {"p": "process", "t": "tty", "d": "detach", "e": "env", "u": "user", "c": "cap",
          "g": "additional-gids"}  # fmt: skip
_CAPABILITY_SETS = ("bounding", "effective", "permitted")


def exec_command(globals_: Globals, argv: list[str]) -> int:
    """``exec [options] ID [--process FILE | PROGRAM [argument ...]]``."""
    options = parse(argv, _KINDS, _SHORT)
    if not options.arguments:
        raise UsageError("exec needs the id of a container")
    _refuse(options)
    with Container.open(globals_.root, options.arguments[0]) as container:
        status = container.status()
        allowed = [state.RUNNING, state.CREATED]
        if options.flag("ignore-paused"):
            allowed.append(state.PAUSED)
        if status not in allowed:
            raise ContainerError(
                f"cannot exec in a container that is {status}: container not running"
                if status != state.PAUSED else f"cannot exec in a paused container: {container.id}",
                status=status,
            )  # fmt: skip
        config = container.config()
        process = _process(options, config["process"])
        return _execute(container, config, process, options)


def _refuse(options: Options) -> None:
    refuse_pidfd_socket(options)
    for name in ("apparmor", "process-label"):
        if options.text(name):
            raise UsageError(f"--{name} is not supported: a process gets the container's label")
    if options.list("cgroup"):
        raise UsageError(
            "--cgroup is refused: a process is executed in the cgroups of its container"
        )


def _process(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    """Return what to execute: a file's process, or the container's with what the options say."""
    path = options.text("process")
    arguments = options.arguments[1:]
    if path is not None:
        process: dict[str, Any] = schema.checked(bundle.load(path), schema.PROCESS, "process")
    else:
        process = {**base, "args": arguments}
        # They are of the container's first process alone.
        for name in ("terminal", "consoleSize"):
            process.pop(name, None)
        if not arguments:
            raise UsageError("exec needs a program, or --process")
    if options.flag("tty"):
        process["terminal"] = True
    process["env"] = [*process.get("env", ()), *options.list("env")]
    if options.text("cwd"):
        process["cwd"] = options.text("cwd")
    if options.flag("no-new-privs"):
        process["noNewPrivileges"] = True
    process["user"] = _user(options, process.get("user", {}))
    if options.list("cap"):
        process["capabilities"] = _capabilities(options, process.get("capabilities", {}))
    bundle.check_process(process)
    return process


def _user(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    user = {key: value for key, value in base.items() if key != "username"}
    text = options.text("user")
    if text:
        uid, _, gid = text.partition(":")
        if not uid.isdecimal() or (gid and not gid.isdecimal()):
            raise UsageError(f"--user is UID or UID:GID, not {text!r}")
        user["uid"] = int(uid)
        user["gid"] = int(gid) if gid else base.get("gid", 0)
    try:
        more = [int(word) for item in options.list("additional-gids") for word in item.split(",")]
    except ValueError:
        raise UsageError("--additional-gids needs numbers") from None
    if more:
        user["additionalGids"] = [*user.get("additionalGids", ()), *more]
    checked: dict[str, Any] = schema.checked(user, schema.PROCESS["user"], "process.user")
    return checked


def _capabilities(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    more = [name for item in options.list("cap") for name in item.split(",")]
    for name in more:
        if name not in capability.NUMBERS:
            raise UsageError(f"--cap: unknown capability {name!r}")
    made = dict(base)
    for kind in _CAPABILITY_SETS:
        made[kind] = sorted({*base.get(kind, ()), *more})
    if base.get("ambient"):
        made["inheritable"] = sorted({*base.get("inheritable", ()), *more})
        made["ambient"] = sorted({*base["ambient"], *more})
    return made


def _execute(
    container: Container, config: dict[str, Any], process: dict[str, Any], options: Options
) -> int:
    reset_affinity()
    initial = process.get("execCPUAffinity", {}).get("initial", "")
    attributes.set_affinity(initial, "process.execCPUAffinity.initial")
    program = None
    if "seccomp" in config["linux"]:
        program = seccomp.program(config["linux"]["seccomp"])
    detached = options.flag("detach")
    ours, theirs = _console(options, terminal=process.get("terminal", False), detached=detached)
    more: dict[str, Any] = {}
    if theirs >= 0:
        more["console_fd"] = theirs
    preserve_fds = options.number("preserve-fds") or 0
    if preserve_fds:
        more["first_fd"] = 3 + preserve_fds
    pidfd = container.pidfd()
    try:
        group = container.cgroup()
        if group is None:
            group = cgroups.manager(container.record["cgroup"]).group(container.id, ())
        # Without its group it would not refuse a paused one.
        own = None if options.flag("ignore-paused") else group
        target = Target(container.id, container.record["pid"], pidfd, group, own, program)
        if theirs >= 0:
            import termios  # noqa: F401  # for `foreground`, which can import no more
        # Its child enters the image's file system.
        imports.forget_imports()
        if program is not None and program[1] & NEW_LISTENER:
            more["hand_on"] = _hander_on(config["linux"]["seccomp"], container)
        execution = Execution(process, target, [0, 1, 2], detach=detached, **more)  # type: ignore[arg-type]  # checked against a larger schema
        error = execution.error()
        if error is not None:
            execution.wait()
            raise from_wire(error)
    finally:
        os.close(pidfd)
        if theirs >= 0:
            os.close(theirs)
    pid_file = options.text("pid-file")
    if pid_file:
        write_pid_file(os.path.abspath(pid_file), execution.pid)
    if detached:
        return 0
    return foreground.serve(execution.pidfd, ours)


def _hander_on(profile: Any, container: Container) -> Callable[[bytes, int, int], None]:
    now = container.oci_state()
    return lambda said, pidfd, pid: listener.hand_on(said, pidfd, pid, profile, now)


def _console(options: Options, *, terminal: bool, detached: bool) -> tuple[int, int]:
    """Return our end and the process's end of the connection for its terminal, or -1."""
    path = options.text("console-socket")
    if path:
        if not terminal:
            raise UsageError("--console-socket is given and there is no terminal: add --tty")
        return -1, console.connect(path)
    if not terminal:
        return -1, -1
    if detached:
        raise UsageError("a detached process with a terminal needs --console-socket")
    here, there = socket.socketpair()
    return here.detach(), there.detach()
