"""The plan of an unchanged spec, kept from the last ``gocker up`` of it.

An entry is found by a key made of what is known before a file is read: the options, the working
directory, the whole environment, the facts about this host, and the versions of gocker and of
Python. It counts only if every question that the load asked of the file system still has its
answer, contents by SHA-256, and if every image still resolves to the same. So there is no
list of "what matters" that could forget something.

Never kept: a plan with secrets or configs (their content is in it), with values to mask, with
devices or external volumes (the plan looks at them), or of standard input. Entries are JSON in
a private directory; a damaged one is none. GOCKER_NO_CACHE=1 and --no-cache do without.
"""

from __future__ import annotations

import json
import os
import sys

import gocker
from gocker.cli.facts import facts
from gocker.digest import hexdigest
from gocker.errors import GockerError
from gocker.image.resolve import resolve
from gocker.plan import codec
from gocker.spec import files
from gocker.state.directory import list_names, read_small, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from gocker.image.resolve import RootFs
    from gocker.plan.model import Plan
    from gocker.spec.model import Project
    from gocker.spec.model.service import Container
    from gocker.state.roots import Roots

MOST_ENTRIES = 64
MAX_BYTES = 1 << 20
# Where the code is that makes a plan; its files' times and sizes stand for its version, too.
_CODE = ("", "cli", "image", "plan", "spec", "spec/model")


class PlanCache:
    """The entry of one command: `find` it, or `record` a load and `store` its plan."""

    def __init__(
        self, arguments: argparse.Namespace, files_named: list[str], roots: Roots,
        *, detached: bool = False,
    ) -> None:  # fmt: skip
        self._roots = roots
        key = [*_key(arguments, files_named, roots), detached]
        self._name = hexdigest(_json(key).encode())
        self._answers: dict[tuple[str, str], str] = {}

    def find(self) -> tuple[Plan, list[str]] | None:
        """Return the plan and the warnings of its load, if nothing has changed."""
        fd = self._roots.open_data("cache", "plans")
        try:
            data = read_small(fd, self._name)
        finally:
            os.close(fd)
        head, _, body = (data or b"").partition(b"\n")
        if head.partition(b" ")[0] != hexdigest(body).encode():
            return None
        try:
            entry = json.loads(body)
            if not self._holds(entry):
                return None
            return codec.decode(entry), entry["warnings"]
        except (GockerError, ValueError, KeyError, TypeError, IndexError, RecursionError):
            return None  # the way without a cache says what is wrong, if anything is

    def _holds(self, entry: dict[str, Any]) -> bool:
        if any(files.ask(question, path) != answer for question, path, answer in entry["answers"]):
            return False
        directory = entry["directory"]
        return all(
            _facts(resolve(reference, self._roots, directory)) == image
            for reference, image in entry["images"]
        )

    def record(self) -> None:
        """Record what the load asks of the file system from now on."""
        self._answers = files.record()

    def store(
        self, plan: Plan, project: Project, warnings: list[str], images: dict[str, RootFs]
    ) -> None:
        """Keep the plan, if it may be kept."""
        if ("read", "-") in self._answers or not _is_repeatable(plan, project):
            return
        try:
            encoded = codec.encode(plan)
        except TypeError:
            return  # something new in a plan, which the codec does not know
        entry = {
            "answers": [[*asked, answer] for asked, answer in self._answers.items()],
            "images": [[reference, _facts(image)] for reference, image in images.items()],
            "directory": plan.directory,
            "warnings": warnings,
            **encoded,
        }
        body = _json(entry)
        if len(body) > MAX_BYTES - 1000 or codec.decode(json.loads(body)) != plan:
            return
        data = body.encode()
        fd = self._roots.open_data("cache", "plans")
        try:
            head = f"{hexdigest(data)} {plan.project}\n"
            write_atomic(fd, self._name, head.encode() + data)
            _prune(fd)
        except GockerError:
            pass  # a full disk: the next start is as slow as this one
        finally:
            os.close(fd)


def forget(roots: Roots, project: str) -> None:
    """Remove the entries of a project: what its specs took from the environment is in them."""
    fd = roots.open_data("cache", "plans")
    try:
        for name in list_names(fd):
            head = (read_small(fd, name) or b"").partition(b"\n")[0]
            if head.partition(b" ")[2] == project.encode():
                os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)


def _is_repeatable(plan: Plan, project: Project) -> bool:
    """Return whether all that the plan is made of is in the key and the answers."""
    if plan.mask or project.secrets or project.configs:
        return False
    if any(volume.external for volume in project.volumes.values()):
        return False
    if any(_asks_anew(service) for service in (*project.services.values(), *project.jobs.values())):
        return False
    for container in plan.containers.values():
        linux = container.config["linux"]
        if container.grants or "devices" in linux or "blockIO" in linux["resources"]:
            return False
    return True


def _asks_anew(service: Container) -> bool:
    """Return whether each start pulls or builds the service's image."""
    return service.pull_policy not in (None, "missing", "if_not_present", "never")


def _key(arguments: argparse.Namespace, files_named: list[str], roots: Roots) -> list[Any]:
    return [
        gocker.__version__, sys.version, _code(), os.uname(), os.geteuid(), os.getegid(),
        arguments.file, arguments.words, files_named, arguments.project_name,
        arguments.project_directory, arguments.profile, arguments.env_file, arguments.strict,
        arguments.trusted_root,
        os.getcwd(), sorted(os.environ.items()), facts(roots), roots.live,
    ]  # fmt: skip


def _code() -> list[Any]:
    """Return what changes whenever gocker or a library is installed or edited."""
    root = os.path.dirname(os.path.abspath(gocker.__file__))
    found: list[Any] = [
        (path, os.stat(path).st_mtime_ns)
        for path in sys.path
        if os.path.basename(path) in ("site-packages", "dist-packages") and os.path.isdir(path)
    ]
    for part in _CODE:
        with os.scandir(os.path.join(root, part)) as directory:
            for item in directory:
                if item.name.endswith(".py"):
                    status = item.stat()
                    found.append((part, item.name, status.st_size, status.st_mtime_ns))
    return sorted(found)


def _facts(image: RootFs) -> list[Any]:
    """Return all of an image as JSON gives it back."""
    values = [getattr(image, name) for name in image.__match_args__]
    return [
        list(item) if isinstance(item, tuple) else item if isinstance(item, str) else dict(item)
        for item in values
    ]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), check_circular=False)


def _prune(fd: int) -> None:
    """Remove the oldest entries beyond the most there may be."""
    names = list_names(fd)
    if len(names) > MOST_ENTRIES:
        ages = sorted((os.stat(name, dir_fd=fd).st_mtime_ns, name) for name in names)
        for _, name in ages[: len(names) - MOST_ENTRIES]:
            os.unlink(name, dir_fd=fd)
