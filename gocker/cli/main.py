"""The command line's way in: starts the launcher first, then imports what the command needs."""

from __future__ import annotations

import gc
import os
import sys

from gocker.cli import isolation, timings
from gocker.errors import GockerError, unforeseen
from gocker.scheduler import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from gocker.scheduler.launcher import Launcher

# name: (module below gocker.cli, whether it runs containers, one line of help)
COMMANDS = {
    "up": ("up", True, "run a spec's services and jobs until they are done"),
    "run": ("run", True, "run one service with another command"),
    "exec": ("exec", True, "run a program in a running container"),
    "cp": ("cp", True, "copy files between a container and the host"),
    "stats": ("stats", True, "tell what running containers use"),
    "top": ("top", False, "list the processes of running containers"),
    "demo": ("demo", True, "run the demonstration spec"),
    "init": ("init", False, "write a commented spec to begin with"),
    "down": ("down", True, "stop a project's containers and remove what they left"),
    "create": ("create", True, "make ready what a spec needs, start nothing"),
    "start": ("start", True, "start services that were stopped"),
    "stop": ("stop", False, "stop services"),
    "restart": ("restart", True, "restart services"),
    "kill": ("kill", False, "send a signal to services"),
    "pause": ("pause", False, "freeze services"),
    "unpause": ("unpause", False, "let paused services go on"),
    "scale": ("scale", True, "change how many replicas run"),
    "rm": ("rm", False, "remove what stopped services left"),
    "wait": ("wait", False, "wait until services are over"),
    "attach": ("attach", False, "show a running container's output as it comes"),
    "events": ("events", False, "show what happens in a project"),
    "ls": ("ls", False, "list projects"),
    "gc": ("gc", True, "remove what dead runs of all projects left"),
    "ps": ("ps", False, "list containers"),
    "inspect": ("inspect", False, "print what is on record about containers"),
    "runs": ("runs", False, "list past runs and how they ended"),
    "report": ("report", False, "show or write a report of a past run"),
    "compare": ("compare", False, "tell what became slower or hungrier between two runs"),
    "logs": ("logs", False, "show containers' output"),
    "build": ("build", False, "build images from Dockerfiles"),
    "pull": ("pull", False, "pull the images of a spec, or images by name"),
    "image": ("image", False, "list, pull, push, remove, save and load images"),
    "images": ("image_ls", False, "list images"),
    "commit": ("commit", False, "make an image of what a container has"),
    "export": ("export", False, "write a container's files as a tar archive"),
    "diff": ("diff", False, "list what a container has changed"),
    "config": ("config", False, "print the spec as gocker understands it"),
    "explain": ("explain", True, "tell what the posture refused, and which key allows it"),
    "audit": ("audit", False, "check a spec against CIS Docker and Kubernetes restricted"),
    "validate": ("validate", False, "tell everything that is wrong with a spec"),
    "network": ("network", False, "list, inspect and change a project's networks"),
    "net": ("net", False, "tell what a container's network is like"),
    "port": ("port", False, "tell where a container's port is published"),
    "graph": ("graph", False, "draw what waits for what"),
    "schema": ("schema", False, "print the JSON Schema of specs, for editors"),
    "doctor": ("doctor", True, "tell what this host can do and what is missing"),
    "oci": ("oci", False, "the OCI runtime's command line, also installed as gocker-oci"),
    "completion": ("completion", False, "print a script that completes words in a shell"),
    "version": ("version", False, "print the version"),
}
# Options before the command that take a value of their own.
_WITH_VALUE = {"-f", "--file", "-p", "--project-name", "--project-directory", "--profile",
               "--env-file", "--parallel", "--color", "--ansi", "--progress"}  # fmt: skip

# Commands whose last arguments are another program's, with options of its own.
_WITH_COMMAND = frozenset(("exec", "run"))


# Commands that only enter a container which runs already.
_ENTERING = frozenset(("exec",))

# Commands that go on in the background without being asked to.
_BACKGROUND = frozenset(("create", "restart", "scale", "start"))


def main() -> NoReturn:
    """Run the command and exit with its code."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_standard_streams()
    code = run(sys.argv[1:])
    if sys._xoptions:
        from gocker.state import rootless

        rootless.leave()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Open those that the caller closed, or a socket of ours would be somebody's output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # for good
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for good
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115  # for good


def run(argv: list[str]) -> int:
    """Run a command; return its exit code. Errors are printed here and nowhere else."""
    name = _command(argv)
    if name not in COMMANDS:
        return _no_command(name, argv)
    if argv[0] == "oci":
        from gocker.cli.oci import become

        become(argv[1:])
    if argv[:2] == ["completion", "--words"]:
        from gocker.cli.completion import complete

        return complete(argv[2:])  # they are words of other commands
    if "GOCKER_CALLER_FD" in os.environ:
        from gocker.cli import caller

        caller.take()
    timings.mark("python started")
    if os.geteuid() != 0:
        code = _enter(name, argv)
        if code is not None:
            return code
    if name in _BACKGROUND or _may_detach(argv):
        return _detaching(name, argv)
    return _execute(name, argv)


def _enter(name: str, argv: list[str]) -> int | None:
    """Go on as root of a user namespace where the command needs one; return an error's code."""
    from gocker.cli import rootless

    try:
        rootless.enter(name, argv)
    except GockerError as error:
        _print_error(error)
        return error.exit_code
    return None


def _may_detach(argv: list[str]) -> bool:
    """Return whether an option may ask for the background; -d may be among other letters."""
    return any(
        "d" in word if word[1:2] != "-" else word.startswith(("--detach", "--wait", "--no-start"))
        for word in argv if word[:1] == "-"
    )  # fmt: skip


def _detaching(name: str, argv: list[str]) -> int:
    """Run a command that may want to go on in the background: before its launcher starts."""
    from importlib import import_module

    command = import_module(f"gocker.cli.{COMMANDS[name][0]}")
    wants = getattr(command, "wants_detach", None)
    if wants is None or {"-h", "--help"} & set(argv):
        return _execute(name, argv)
    try:
        timeout_s = wants(command.parser().parse_args(_reordered(argv)))
    except GockerError as error:
        _print_error(error)
        return error.exit_code
    if timeout_s is None:
        return _execute(name, argv)
    from gocker.cli.detach import fork

    return fork(lambda: _execute(name, argv), timeout_s or None)


def _execute(name: str, argv: list[str]) -> int:
    module, needs_launcher, _ = COMMANDS[name]
    launcher: Launcher | None = None
    try:
        isolation.isolate()
        if "GOCKER_FAILPOINTS" in os.environ:
            from gocker import failpoints

            failpoints.arm(failpoints.parse(os.environ[failpoints.VARIABLE]), back=False)
        own = set() if name in _WITH_COMMAND else {"-h", "--help", "--dry-run"}
        if needs_launcher and not own & set(argv):
            signals.hold()
            try:
                launcher = new_entrance() if name in _ENTERING else new_launcher()
            finally:
                signals.release()
        return _call(module, argv, launcher)
    except GockerError as error:
        _print_error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our standard output is gone: nobody to tell (peers.md, conventions).
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("GOCKER_DEBUG"):
            raise
        known = unforeseen(error)
        _print_error(known)
        return known.exit_code
    finally:
        if launcher is not None:
            launcher.close()


def new_launcher() -> Launcher:
    """Start a launcher; the caller closes it."""
    from gocker.scheduler.spawn import spawn

    return _launcher(spawn())  # it imports while we do


def new_entrance() -> Launcher:
    """Fork what enters one running container; the caller closes it."""
    from gocker.scheduler.spawn import fork_entrance

    return _launcher(fork_entrance())


def _launcher(spawned: tuple[int, socket]) -> Launcher:
    # Imports make no garbage in cycles, and looking for some would take a tenth of their
    # time. The loop looks again.
    gc.disable()
    timings.mark("launcher spawned")

    from gocker.scheduler.launcher import Launcher

    return Launcher(*spawned)


def _call(module: str, argv: list[str], launcher: Launcher | None) -> int:
    from importlib import import_module

    command = import_module(f"gocker.cli.{module}")
    timings.mark("command imported")
    words = _reordered(argv)
    quickly = getattr(command, "quickly", None)
    arguments = None if quickly is None else quickly(words)
    if arguments is None:
        arguments = command.parser().parse_args(words)
    timings.mark("options parsed")
    code: int = command.execute(arguments, launcher)
    return code


def _command(argv: list[str]) -> str | None:
    """Return the first word that is no option."""
    words = iter(argv)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _reordered(argv: list[str]) -> list[str]:
    """Return the arguments without the command; options may stand before it, as in compose."""
    name = _command(argv)
    position = argv.index(name) if name is not None else len(argv)
    return argv[:position] + argv[position + 1 :]


def _no_command(name: str | None, argv: list[str]) -> int:
    if name is None and {"--version", "-v"} & set(argv):
        return run(["version"])
    lines = ["usage: gocker COMMAND [OPTIONS]", ""]
    lines += [f"  {command:<10} {text}" for command, (_, _, text) in COMMANDS.items()]
    text = "\n".join([*lines, "", "gocker COMMAND --help tells more"])
    if name is None and {"-h", "--help"} & set(argv):
        print(text)  # noqa: T201  # cli prints
        return 0
    if name is not None:
        from gocker.spec.problems import suggest

        meant = suggest(name, COMMANDS)
        text = f"gocker: unknown command {name!r}{f' ({meant})' if meant else ''}\n\n{text}"
    print(text, file=sys.stderr)  # noqa: T201  # cli prints
    return 2


def _print_error(error: GockerError) -> None:
    from gocker.report.human import safe

    if "gocker.cli.caller" in sys.modules:
        from gocker.cli import caller

        caller.tell(error)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from gocker.cli.ci import annotate

        annotate(error)
    for line in str(error).splitlines():
        print(f"gocker: {safe(line)}", file=sys.stderr)  # noqa: T201  # cli prints
    cause = error.__cause__
    if isinstance(cause, GockerError):
        print(f"  because: {safe(cause.message)}", file=sys.stderr)  # noqa: T201  # cli prints
    if error.hint:
        print(f"  hint: {safe(error.hint)}", file=sys.stderr)  # noqa: T201  # cli prints
