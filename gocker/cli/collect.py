"""What dead runs left, of all projects: found in the kernel and on disk, and removed.

Each area adds a function to `_AREAS`; it yields what it found, and removes it unless told only
to look.
"""

from __future__ import annotations

import os

from gocker.cli.opening import prepare_launcher
from gocker.cli.sweeping import sweep
from gocker.errors import HostError
from gocker.state import aside, control
from gocker.state.directory import list_names, temporaries
from gocker.state.run import project_lock, remove_unfinished, runs, unfinished
from gocker.tree import remove_tree
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots


@dataclass(frozen=True, slots=True)
class Item:
    """A leftover. `kept`: where it is now, or why it stays; None if it is removed."""

    kind: str
    name: str
    kept: str | None = None


def collect(launcher: Launcher, roots: Roots, *, dry_run: bool) -> list[Item]:
    """Remove the leftovers and return them; with `dry_run` only return them."""
    return [item for area in _AREAS for item in area(launcher, roots, dry_run)]


def _kernel(launcher: Launcher, roots: Roots, dry_run: bool) -> Iterator[Item]:
    """Cgroups with the processes in them, and containers' directories."""
    cgroups = prepare_launcher(launcher, roots, None)["cgroups"]
    for name in sweep(launcher, roots, cgroups, dry_run=dry_run):
        yield Item("directory" if name.startswith("/") else "cgroup", name)


def _unfinished(_: Launcher, roots: Roots, dry_run: bool) -> Iterator[Item]:
    """Directories of runs whose creation was killed."""
    fd = roots.open_data("runs")
    try:
        names = unfinished(fd) if dry_run else remove_unfinished(roots)
    finally:
        os.close(fd)
    for name in names:
        yield Item("unfinished run", name)


def _damaged(_: Launcher, roots: Roots, dry_run: bool) -> Iterator[Item]:
    """Dead runs whose record is damaged: they are kept aside."""
    for run in runs(roots):
        if run.newer:
            yield Item("run", run.id, run.damaged)
        elif run.damaged and not run.alive():
            if not dry_run:
                run.remove()
            yield Item("damaged run", run.id, os.path.join(roots.data, aside.NAME, run.id))


def _temporary(_: Launcher, roots: Roots, dry_run: bool) -> Iterator[Item]:
    """Files that a killed writer never renamed."""
    for names in (("volumes", ".owner"), ("cache", "plans")):
        fd = roots.open_data(*names)
        try:
            for name in temporaries(fd, list_names(fd)):
                if not dry_run:
                    os.unlink(name, dir_fd=fd)
                yield Item("temporary file", "/".join((*names, name)))
        finally:
            os.close(fd)


def _images(_: Launcher, roots: Roots, dry_run: bool) -> Iterator[Item]:
    """What killed pulls, builds and collections left in the store of images."""
    if not os.path.isdir(os.path.join(roots.data, "images", "partial")):
        return
    from gocker.image.store import Store

    with Store(roots) as store, store.alone() as alone:
        partial = store.directory("partial")
        for name in list_names(partial) if alone else ():
            if not dry_run:
                remove_tree(partial, name)
            yield Item("unfinished part of an image", name)


def _sockets(_: Launcher, roots: Roots, dry_run: bool) -> Iterator[Item]:
    """Socket files of projects in which nobody listens any more."""
    projects = roots.open_live("projects")
    try:
        names = [name for name in list_names(projects) if not name.endswith(".lock")]
    finally:
        os.close(projects)
    for project in names:
        try:
            lock = project_lock(roots, project)
        except HostError:
            continue  # somebody has it, or it is no project
        with lock:
            # Not asked by connecting: a launcher that holds containers would hand them over.
            if any(run.alive() for run in runs(roots, project)):
                continue
            directory = control.open_directory(roots, project)
            try:
                for name in {control.CONTROL, control.KEPT}.intersection(list_names(directory)):
                    if not dry_run:
                        control.unlink(directory, name)
                    yield Item("socket", f"{project}/{name}")
            finally:
                os.close(directory)


_AREAS = (_kernel, _unfinished, _damaged, _temporary, _images, _sockets)
