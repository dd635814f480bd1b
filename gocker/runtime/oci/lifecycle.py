"""``create``, ``start``, ``run``, ``kill``, ``delete``, ``pause`` and ``resume``."""

from __future__ import annotations

import _signal as signals  # type: ignore[import-not-found]  # no stub: a C module
import _socket as socket
import os
import select

from gocker import jsontext
from gocker.errors import (
    ContainerError,
    GockerError,
    HostError,
    UsageError,
    from_wire,
)
from gocker.runtime import listener
from gocker.runtime.oci import bundle, cgroups, console, hooks, listen, state
from gocker.runtime.oci.arguments import FLAG, NUMBER, TEXT, parse, refuse_pidfd_socket
from gocker.runtime.oci.container import Container, not_running, send_signal
from gocker.runtime.oci.create import Request, create, undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.oci.arguments import Options
    from gocker.runtime.oci.main import Globals

_SIGTERM, _SIGKILL, _SIGCONT = 15, 9, 18
KILL_TIMEOUT_S = 10.0
_CREATE = {
    "bundle": TEXT, "config": TEXT, "console-socket": TEXT, "pid-file": TEXT, "no-pivot": FLAG,
    "no-new-keyring": FLAG, "preserve-fds": NUMBER, "pidfd-socket": TEXT,
    "no-subreaper": FLAG,
}  # fmt: skip
_CREATE_SHORT = {"b": "bundle", "f": "config"}
_RUN = {**_CREATE, "detach": FLAG, "keep": FLAG}


def one_id(options: Options) -> str:
    """Return the only positional argument."""
    if len(options.arguments) != 1:
        raise UsageError("the command needs the id of one container and nothing else")
    return options.arguments[0]


def _request(globals_: Globals, options: Options) -> Request:
    request = Request(globals_.root, one_id(options), globals_.log)
    if options.flag("no-pivot"):
        raise UsageError(
            "--no-pivot is refused: without pivot_root(2) the host's root stays within reach",
            hint="put the bundle on a file system other than the initial ramfs",
        )
    refuse_pidfd_socket(options)
    request.bundle = os.path.abspath(options.text("bundle") or ".")
    if not os.path.isdir(request.bundle):
        raise ContainerError(f"bundle {request.bundle!r}: no such directory")
    request.config_name = options.text("config") or "config.json"
    pid_file = options.text("pid-file")
    request.pid_file = os.path.abspath(pid_file) if pid_file else None
    request.preserve_fds = options.number("preserve-fds") or 0
    if request.preserve_fds < 0:
        raise UsageError("--preserve-fds is not negative")
    request.new_keyring = not options.flag("no-new-keyring")
    return request


def _connect_console(options: Options, config: dict[str, Any], *, detached: bool) -> int:
    path = options.text("console-socket")
    terminal = config["process"].get("terminal", False)
    if path and not terminal:
        raise UsageError("--console-socket is given and process.terminal is not true")
    if path and not detached:
        raise UsageError("--console-socket needs --detach")
    if not path and terminal and detached:
        raise UsageError(
            "cannot allocate a terminal without a console socket to hand it to",
            hint="give --console-socket, or set process.terminal to false",
        )
    return console.connect(path) if path else -1


def create_command(globals_: Globals, argv: list[str]) -> int:
    """``create [options] ID``."""
    options = parse(argv, _CREATE, _CREATE_SHORT)
    request = _request(globals_, options)
    config = bundle.read(request.bundle, request.config_name)
    listen.hand_on(request, config)
    request.console_fd = _connect_console(options, config, detached=True)
    create(request, config)
    return 0


def start_command(globals_: Globals, argv: list[str]) -> int:
    """``start ID``."""
    container_id = one_id(parse(argv, {}))
    with Container.open(globals_.root, container_id, lock=True) as container:
        _start(globals_, container, container.config())
    return 0


def _start(globals_: Globals, container: Container, config: dict[str, Any]) -> None:
    """Let the first process execute its program; call the hooks that follow.

    Raises:
        ContainerError: it is not created, or its program cannot be executed.
    """
    status = container.status()
    if status != state.CREATED:
        raise ContainerError(
            f"cannot start a container in the {status} state: {container.id}", status=status
        )
    if config["process"] == bundle.NO_PROCESS:
        raise ContainerError(f"cannot start container {container.id}: process is not set")
    pidfd = container.pidfd()
    try:
        _let_execute(container, config, pidfd)
        _poststart(container, config)
    except ContainerError as error:
        if error.context.get("phase") in ("poststart", "startContainer", "seccomp"):
            send_signal(pidfd, _SIGKILL)
            undo(container, config["hooks"].get("poststop", ()), globals_.log)
        raise
    finally:
        os.close(pidfd)


def _poststart(container: Container, config: dict[str, Any]) -> None:
    entries = config["hooks"].get("poststart", ())
    if entries:
        now = container.oci_state(state.RUNNING)
        hooks.run_all("poststart", entries, now, now["bundle"])


def _let_execute(container: Container, config: dict[str, Any], pidfd: int) -> None:
    """Tell the first process to go on; read why it could not, if so."""
    flags, directory_fd = os.O_NONBLOCK | os.O_CLOEXEC, container.directory.fd
    result = os.open(state.RESULT, os.O_RDONLY | flags, dir_fd=directory_fd)
    try:
        # ENXIO: it died meanwhile, and nobody reads.
        go = os.open(state.FIFO, os.O_WRONLY | flags, dir_fd=directory_fd)
        try:
            os.write(go, b"0")
            said = _read_to_end(result, pidfd)
            if said.startswith(listener.WORD):
                profile, now = config["linux"]["seccomp"], container.oci_state(state.CREATED)
                listener.hand_on(said, pidfd, now["pid"], profile, now)
                os.write(go, b"0")
                said = _read_to_end(result, pidfd)
        finally:
            os.close(go)
    finally:
        os.close(result)
    if said:
        raise from_wire(jsontext.loads(said))
    for name in (state.FIFO, state.RESULT):
        os.unlink(name, dir_fd=directory_fd)


def _read_to_end(fifo: int, pidfd: int) -> bytes:
    """Return what comes through a FIFO until its writer closes it, dies, or has a listener."""
    poll = select.poll()
    poll.register(fifo, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    data = b""
    while True:
        events = dict(poll.poll())
        chunk = b""
        try:
            chunk = os.read(fifo, 65536)
        except BlockingIOError:
            continue
        data += chunk
        if data.startswith(listener.WORD):
            return data
        if not chunk and events.get(fifo, 0) & (select.POLLHUP | select.POLLIN):
            return data
        if not chunk and pidfd in events:
            if not data:
                raise ContainerError("the container's first process was killed before its start")
            return data


def run_command(globals_: Globals, argv: list[str]) -> int:
    """``run [options] ID``: create, start, and wait for its end unless ``--detach``."""
    from gocker.runtime.oci import foreground

    options = parse(argv, _RUN, {**_CREATE_SHORT, "d": "detach"})
    request = _request(globals_, options)
    config = bundle.read(request.bundle, request.config_name)
    listen.hand_on(request, config)
    detached = options.flag("detach")
    request.at_once = True
    ours = -1
    if config["process"].get("terminal") and not detached and not options.text("console-socket"):
        here, there = socket.socketpair()
        ours, request.console_fd = here.detach(), there.detach()
    else:
        request.console_fd = _connect_console(options, config, detached=detached)
    made = create(request, config)
    # Before the program writes its first line.
    master = foreground.receive(ours) if ours >= 0 else -1
    try:
        if made.executed:
            _poststart(made.container, config)
        else:
            _start(globals_, made.container, config)
    except BaseException as error:
        if made.container.directory.exists():
            send_signal(made.pidfd, _SIGKILL)
            failed = isinstance(error, GockerError) and error.context.get("phase") == "poststart"
            undo(made.container, config["hooks"].get("poststop", ()) if failed else (),
                 globals_.log)  # fmt: skip
        raise
    if detached:
        return 0
    if request.console_fd >= 0:
        os.close(request.console_fd)
    return foreground.wait(globals_, made, master, keep=options.flag("keep"))


def kill_command(globals_: Globals, argv: list[str]) -> int:
    """``kill [--all] ID [SIGNAL]``."""
    options = parse(argv, {"all": FLAG, "regex": FLAG}, {"a": "all", "r": "regex"})
    words = options.arguments
    if not 1 <= len(words) <= 2:
        raise UsageError("kill needs the id of a container, and at most a signal")
    number = signal_number(words[1] if len(words) == 2 else "SIGTERM")
    with Container.open(globals_.root, words[0]) as container:
        if options.flag("all") or (number == _SIGKILL and not _has_pid_namespace(container)):
            _kill_all(container, number)
        elif not container.pid or not _signal(container, number):
            raise not_running(container.id)
    return 0


def _has_pid_namespace(container: Container) -> bool:
    """Return whether all processes end with the first one."""
    entries = container.config()["linux"]["namespaces"]
    return any(entry["type"] == "pid" and "path" not in entry for entry in entries)


def _signal(container: Container, number: int) -> bool:
    pidfd = container.pidfd()
    try:
        sent = send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    # Of a v1 cgroup that is frozen nobody dies before it is thawed.
    if sent and number == _SIGKILL and container.frozen():
        group = container.cgroup()
        if group is not None:
            group.freeze(False)
    return sent


def _kill_all(container: Container, number: int) -> None:
    """Signal every process of the container's cgroups, whether or not the first one lives."""
    group = container.cgroup()
    if group is not None:
        group.signal_all(number)
    elif not container.pid or not _signal(container, number):
        raise not_running(container.id)


def signal_number(text: str) -> int:
    """Return the number of a signal: ``9``, ``KILL``, ``SIGKILL``, ``RTMIN+1``.

    Raises:
        UsageError: there is no such signal.
    """
    if text.isascii() and text.isdecimal() and int(text) <= 64:
        return int(text)
    numbers = {
        name: number for name, number in vars(signals).items()
        if name.startswith("SIG") and not name.startswith("SIG_")
    }  # fmt: skip
    name = text.upper().removeprefix("SIG")
    for prefix, first, sign in (("RTMIN+", 34, 1), ("RTMAX-", 64, -1)):
        rest = name.removeprefix(prefix)
        if rest != name and rest.isascii() and rest.isdecimal() and int(rest) <= 30:
            return first + sign * int(rest)
    if f"SIG{name}" in numbers:
        return int(numbers[f"SIG{name}"])
    raise UsageError(f"unknown signal {text!r}")


def delete_command(globals_: Globals, argv: list[str]) -> int:
    """``delete [--force] ID``."""
    options = parse(argv, {"force": FLAG, "regex": FLAG}, {"f": "force"})
    force = options.flag("force")
    for container_id in _selected(globals_, options):
        try:
            with Container.open(globals_.root, container_id, lock=True) as container:
                delete(globals_, container, force=force)
        except ContainerError as error:
            if not (force and error.context.get("missing")):
                raise
    return 0


def _selected(globals_: Globals, options: Options) -> list[str]:
    """Return the id that was given, or with ``--regex`` the ids that it matches."""
    pattern = one_id(options)
    if not options.flag("regex"):
        return [pattern]
    import re

    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}") from None
    return [name for name in state.ids(globals_.root) if expression.search(name)]


def delete(globals_: Globals, container: Container, *, force: bool) -> None:
    """Remove a stopped container; with `force` any, whatever state a dead runtime left it in.

    Raises:
        ContainerError: it is not stopped.
    """
    status = container.status()
    # Nobody makes it, since we have its lock: what is `creating` was given up.
    if status not in (state.STOPPED, state.CREATING) and not force:
        raise ContainerError(
            f"cannot delete container {container.id} that is not stopped: {status}",
            hint=f"gocker-oci delete --force {container.id}",
        )
    if container.pid:
        _end(container)
    try:
        entries = container.config().get("hooks", {}).get("poststop", ())
    except GockerError:
        entries = ()  # killed before it was written
    undo(container, entries, globals_.log)


def _end(container: Container) -> None:
    """Kill the first process and wait for its end."""
    pidfd = container.pidfd()
    try:
        _signal(container, _SIGKILL)
        cgroups.thaw(container.record["pid"])
        if not select.select([pidfd], [], [], KILL_TIMEOUT_S)[0]:
            raise ContainerError(f"container {container.id}: its first process cannot be killed")
    finally:
        os.close(pidfd)


def pause_command(globals_: Globals, argv: list[str]) -> int:
    """``pause ID``."""
    return _freeze(globals_, argv, frozen=True)


def resume_command(globals_: Globals, argv: list[str]) -> int:
    """``resume ID``."""
    return _freeze(globals_, argv, frozen=False)


def _freeze(globals_: Globals, argv: list[str], *, frozen: bool) -> int:
    container_id = one_id(parse(argv, {}))
    with Container.open(globals_.root, container_id, lock=True) as container:
        status = container.status()
        allowed = (state.RUNNING, state.CREATED) if frozen else (state.PAUSED,)
        if status not in allowed:
            doing = "pause" if frozen else "resume"
            raise ContainerError(f"cannot {doing} container {container.id}: it is {status}")
        group = container.cgroup()
        if group is None:
            raise HostError(f"container {container.id} has no cgroup to freeze")
        group.freeze(frozen)
    return 0
