"""``state``, ``list`` and ``ps``."""

from __future__ import annotations

import os

from gocker import jsontext
from gocker.errors import ContainerError, GockerError, HostError, UsageError
from gocker.runtime.oci import state
from gocker.runtime.oci.arguments import FLAG, TEXT, parse
from gocker.runtime.oci.container import Container
from gocker.runtime.oci.lifecycle import one_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker.runtime.oci.main import Globals


def _write(text: str) -> None:
    os.write(1, text.encode())


def _entry(container: Container) -> dict[str, Any]:
    """Return the state with what runc adds to it."""
    found = container.oci_state()
    record = container.record
    # runc leaves out what is empty.
    annotations = found.pop("annotations")
    found["rootfs"] = record.get("rootfs", "")
    found["created"] = record.get("created", "1970-01-01T00:00:00Z")
    if annotations:
        found["annotations"] = annotations
    found["owner"] = _name(record.get("owner", 0))
    return found


def _name(uid: int) -> str:
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def state_command(globals_: Globals, argv: list[str]) -> int:
    """``state ID``."""
    container_id = one_id(parse(argv, {}))
    with Container.open(globals_.root, container_id) as container:
        _write(jsontext.indented(_entry(container), 2) + "\n")
    return 0


def _entries(root: str) -> Iterator[dict[str, Any]]:
    for container_id in state.ids(root):
        try:
            with Container.open(root, container_id) as container:
                yield _entry(container)
        except ContainerError:
            continue  # deleted meanwhile


def list_command(globals_: Globals, argv: list[str]) -> int:
    """``list [--format table|json] [--quiet]``."""
    options = parse(argv, {"format": TEXT, "quiet": FLAG}, {"q": "quiet", "f": "format"})
    form = options.text("format") or "table"
    if form not in ("table", "json"):
        raise UsageError(f"--format is table or json, not {form!r}")
    if globals_.root_given and not os.path.isdir(globals_.root):
        raise HostError(f"there is no directory {globals_.root!r}")
    entries = list(_entries(globals_.root))
    if options.flag("quiet"):
        _write("".join(f"{entry['id']}\n" for entry in entries))
    elif form == "json":
        _write(jsontext.dumps(entries or None) + "\n")
    else:
        rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += [
            tuple(str(entry[key]) for key in ("id", "pid", "status", "bundle", "created", "owner"))
            for entry in entries
        ]
        _write(table(rows))
    return 0


def table(rows: list[Any]) -> str:
    """Return rows of texts as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "".join(text.ljust(width + 3) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


def ps_command(globals_: Globals, argv: list[str]) -> int:
    """``ps [--format table|json] ID [ps options]``."""
    options = parse(argv, {"format": TEXT}, {"f": "format"})
    form = options.text("format") or "table"
    if form not in ("table", "json"):
        raise UsageError(f"--format is table or json, not {form!r}")
    if not options.arguments:
        raise UsageError("ps needs the id of a container")
    container_id, *more = options.arguments
    with Container.open(globals_.root, container_id) as container:
        group = container.cgroup()
        pids = _in_pid_namespace(container.pid) if group is None else group.pids()
    if form == "json":
        _write(jsontext.dumps(pids) + "\n")
        return 0
    _write(_ps(pids, more or ["-ef"]))
    return 0


def _in_pid_namespace(pid: int) -> list[int]:
    """Return every process of the PID namespace of `pid`, or none if it is gone."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.samefile(f"/proc/{name}/ns/pid", f"/proc/{pid}/ns/pid"):
                found.append(int(name))
        except OSError:
            continue  # gone, or another user's
    return sorted(found)


def _ps(pids: list[int], arguments: list[str]) -> str:
    """Return the lines of ps(1) for some processes, with its heading."""
    text = _output("ps", arguments)
    heading, *lines = text.splitlines()
    words = heading.split()
    if "PID" not in words:
        raise UsageError("the columns that ps prints have no PID", hint="add pid to them")
    column = words.index("PID")
    wanted = {str(pid) for pid in pids}
    kept = [line for line in lines if line.split()[column : column + 1][0] in wanted]
    return "\n".join([heading, *kept]) + "\n"


def _output(name: str, arguments: list[str]) -> str:
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawnp(
            name, [name, *arguments], os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, write_fd, 1)],
        )  # fmt: skip
    except OSError as error:
        os.close(read_fd)
        raise HostError(f"cannot execute ps: {error.strerror}", hint="install procps") from error
    finally:
        os.close(write_fd)
    with open(read_fd, encoding="utf-8", errors="replace") as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise GockerError(f"ps {' '.join(arguments)} failed")
    return text
