"""The way into ``gocker-oci``: options before the command, the command, the errors of both."""

from __future__ import annotations

import os
import sys

from gocker.errors import (
    CannotExecute,
    CommandNotFound,
    ConfigError,
    GockerError,
    InternalError,
    UsageError,
)
from gocker.runtime.oci import log
from gocker.runtime.oci.arguments import FLAG, TEXT, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.runtime.oci.log import Log

# name: (module, function, one line of help)
COMMANDS = {
    "create": ("lifecycle", "create_command", "make a container that waits for its start"),
    "start": ("lifecycle", "start_command", "execute the program of a created container"),
    "run": ("lifecycle", "run_command", "create and start a container, wait for its end"),
    "state": ("listing", "state_command", "print a container's state as JSON"),
    "kill": ("lifecycle", "kill_command", "send a signal to a container"),
    "delete": ("lifecycle", "delete_command", "remove what a stopped container left"),
    "exec": ("execute", "exec_command", "execute a further process in a running container"),
    "list": ("listing", "list_command", "list containers"),
    "ps": ("listing", "ps_command", "list a container's processes"),
    "pause": ("lifecycle", "pause_command", "freeze a container's processes"),
    "resume": ("lifecycle", "resume_command", "let a paused container go on"),
    "update": ("resources", "update_command", "change a container's limits"),
    "events": ("resources", "events_command", "print a container's statistics"),
    "spec": ("template", "spec_command", "write a config.json to begin with"),
    "features": ("template", "features_command", "print what this runtime can do as JSON"),
    "version": ("template", "version_command", "print the version"),
}
_GLOBAL = {
    "root": TEXT, "log": TEXT, "log-format": TEXT, "debug": FLAG, "systemd-cgroup": FLAG,
    "rootless": TEXT, "cgroup-manager": TEXT, "criu": TEXT, "version": FLAG, "help": FLAG,
}  # fmt: skip
_SHORT = {"h": "help", "v": "version"}
# What runc's and crun's own exit codes for errors of ours are.
_FAILED, _EXEC_FAILED = 1, 255


class Globals:
    """Options before the command."""

    __slots__ = ("log", "root", "root_given")

    def __init__(self, root: str, log_: Log, *, root_given: bool) -> None:
        self.root = root
        self.root_given = root_given
        self.log = log_


def run(argv: list[str]) -> int:
    """Run a command; return its exit code. Errors are printed here and nowhere else."""
    # Until the options are read there is no other place to tell.
    records = log.Log(None, None, debug=False)
    name = ""
    try:
        options = parse(argv, _GLOBAL, _SHORT)
        records = log.Log(
            options.text("log"), options.text("log-format"), debug=options.flag("debug")
        )
        records.check()
        words = options.arguments
        if options.flag("version"):
            words = ["version"]
        if options.flag("help") or not words or words[0] in ("help", "-h", "--help"):
            return _help()
        name = words[0]
        if name not in COMMANDS:
            raise UsageError(
                f"No help topic for {name!r}: unknown command", hint="see gocker-oci --help"
            )
        records.debug(f"gocker-oci {' '.join(argv)}")
        if {"-h", "--help"} & set(words[1:2]):
            return _help(name)
        return _command(name, words[1:], _globals(options, records))
    except GockerError as error:
        records.error(_text(error))
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        records.error(f"{name}:{where} {(error.strerror or str(error)).lower()}")
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("GOCKER_DEBUG"):
            raise
        bug = InternalError(f"internal error: {type(error).__name__}: {error}",
                            hint="with GOCKER_DEBUG=1 it shows where")  # fmt: skip
        records.error(log.sentence(bug))
    return _EXEC_FAILED if name == "exec" else _FAILED


def _globals(options: object, records: Log) -> Globals:
    from gocker.runtime.oci import state
    from gocker.runtime.oci.arguments import Options

    assert isinstance(options, Options)  # noqa: S101  # what parse returns
    form = options.text("log-format")
    if form not in (None, "text", "json"):
        raise UsageError(f"--log-format is text or json, not {form!r}")
    manager = options.text("cgroup-manager")
    systemd = options.flag("systemd-cgroup") or manager == "systemd"
    if manager not in (None, "cgroupfs", "systemd", "disabled"):
        raise UsageError(f"--cgroup-manager is cgroupfs or systemd, not {manager!r}")
    if systemd:
        there = os.path.isdir("/run/systemd/system")
        raise UsageError(
            "--systemd-cgroup is refused: gocker makes cgroups itself" if there else
            "--systemd-cgroup is refused: systemd does not run on this host",
            hint="use the cgroupfs manager (podman --cgroup-manager cgroupfs, "
            "dockerd --exec-opt native.cgroupdriver=cgroupfs)",
        )  # fmt: skip
    given = options.text("root")
    root = given or state.default_root()
    return Globals(os.path.abspath(root), records, root_given=bool(given))


def _command(name: str, argv: list[str], globals_: Globals) -> int:
    module, function, _ = COMMANDS[name]
    path = f"gocker.runtime.oci.{module}"
    __import__(path)
    code: int = getattr(sys.modules[path], function)(globals_, argv)
    return code


def _text(error: GockerError) -> str:
    """Return an error in the words that callers know the cases by."""
    if isinstance(error, CommandNotFound):
        name = error.context.get("program", "")
        if "/" in name:
            return f'exec: "{name}": stat {name}: no such file or directory'
        return f'exec: "{name}": executable file not found in $PATH'
    if isinstance(error, ConfigError):
        return f"invalid configuration: {log.sentence(error)}"
    if isinstance(error, CannotExecute) and "program" in error.context:
        reason = _reason(error)
        return f"exec {error.context['program']}: {reason}: {log.sentence(error)}"
    return log.sentence(error)


def _reason(error: GockerError) -> str:
    """Return what the kernel said, by which callers choose between 126 and 127."""
    number = error.context.get("errno")
    return os.strerror(number).lower() if number else "permission denied"


def _help(name: str | None = None) -> int:
    if name is not None:
        print(f"usage: gocker-oci [global options] {name} [options] ID ...\n\n"  # noqa: T201  # its output
              f"{COMMANDS[name][2]}; options as runc {name} has them")  # fmt: skip
        return 0
    lines = [f"  {command:<10}{text}" for command, (_, _, text) in COMMANDS.items()]
    print("usage: gocker-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] "  # noqa: T201
          "COMMAND ...\n\nAn OCI runtime: see docs/oci.md\n\n" + "\n".join(lines))  # fmt: skip
    return 0
