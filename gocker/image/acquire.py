"""From a reference to an image in the store: pulls or imports what is missing, by its policy.

Source: Compose Specification, ``pull_policy``.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack

from gocker.errors import HostError, PlanError
from gocker.image import document as doc
from gocker.image import reference as names
from gocker.image.limits import limits
from gocker.image.progress import Progress
from gocker.image.store import Store
from gocker.image.transfer import Wanted, bring
from gocker.image.unpacked import find_ref, hold, missing, source_of
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from gocker.image.reference import Name, Reference
    from gocker.image.source import Source
    from gocker.image.unpacked import Ref
    from gocker.state.roots import Roots

_EVERY = re.compile(r"every_((?:\d{1,9}[wdhms])+)")
_UNIT_S = {"w": 7 * 86_400, "d": 86_400, "h": 3600, "m": 60, "s": 1}
POLICIES = "always, never, missing, build, daily, weekly or every_TIME, as every_12h"


@dataclass(frozen=True, slots=True)
class Options:
    """How to reach registries. `directory`: what a relative path starts from."""

    environ: Mapping[str, str] = field(default_factory=dict)
    directory: str = "."
    insecure: bool = False
    authfile: str | None = None
    platform: str | None = None


def age_s(policy: str) -> float | None:
    """Return after how many seconds a policy pulls anew: 0 is always, None never.

    Raises:
        PlanError: if it is no policy.
    """
    if policy == "always":
        return 0.0
    if policy in ("never", "missing", "if_not_present", "build", ""):
        return None
    if policy in ("daily", "weekly"):
        return 86_400.0 if policy == "daily" else 7 * 86_400.0
    match = _EVERY.fullmatch(policy)
    if match is None:
        raise PlanError(f"pull_policy {policy!r} is unknown", hint=POLICIES)
    parts = re.findall(r"(\d+)(\w)", match[1])
    return float(sum(int(number) * _UNIT_S[unit] for number, unit in parts))


def here(roots: Roots, reference: Reference, directory: str) -> Ref | None:
    """Return an image's name in the store if it is there and what it came from is unchanged."""
    if reference.kind == "docker":
        return find_ref(roots, str(reference.name))
    name = names.absolute(reference, directory)
    ref = find_ref(roots, name)
    if ref is None or ref.source != source_of(os.path.join(directory, reference.value)):
        return None
    return ref


def acquire(
    roots: Roots, text: str, options: Options, policy: str = "missing",
    progress: Progress | None = None,
) -> Ref | None:  # fmt: skip
    """Return the image of a reference, pulled or imported if its policy says so.

    None for what is no image of the store: ``host:/``, ``bins:`` and a directory.

    Raises:
        PlanError: if the reference or the policy is none.
        HostError: if it cannot be had.
    """
    reference = names.parse(text)
    if reference.kind in ("host", "bins", "id"):
        return None
    if reference.kind == "rootfs" and not is_archive(reference, options.directory):
        return None
    found = here(roots, reference, options.directory)
    most = age_s(policy)
    if found is not None and hold(roots, found.manifest) is not None:
        fresh = most is None or 0 <= time.time() - found.made_s < most
        if fresh or reference.kind != "docker":
            return found
    if policy in ("never", "build") and reference.kind == "docker":
        raise missing(text)
    return get(roots, reference, options, progress or Progress())


def is_archive(reference: Reference, directory: str) -> bool:
    """Return whether ``rootfs:`` names a file, which is unpacked, and no directory."""
    return os.path.isfile(os.path.join(directory, reference.value))


def get(roots: Roots, reference: Reference, options: Options, progress: Progress) -> Ref:
    """Pull or import an image, whatever is here.

    Raises:
        HostError: if it cannot be had.
    """
    platform = doc.parse_platform(options.platform) if options.platform else doc.host_platform()
    most = limits(options.environ)
    with Store(roots) as store, ExitStack() as stack:
        if reference.name is not None:
            name = str(reference.name)
            wanted = Wanted(name, platform, reference.name.digest or "")
            return _pull(store, reference.name, wanted, options, progress)
        name = names.absolute(reference, options.directory)
        path = os.path.join(options.directory, reference.value)
        wanted = Wanted(name, platform, source=source_of(path))
        return bring(store, _opened(store, reference, path, stack), wanted, most, progress)


def _opened(store: Store, reference: Reference, path: str, stack: ExitStack) -> Source:
    from gocker.image import files as files_of
    from gocker.image import source as sources

    shown = f"{reference.kind}:{path}"
    if reference.kind == "oci":
        if not os.path.isdir(path):
            raise HostError(f"{shown} is no directory", hint="oci-archive: is for files")
        return sources.Layout(files_of.Directory(path), shown, reference.selector)
    if reference.kind == "rootfs":
        root = sources.RootArchive(path)
        stack.callback(root.close)
        return root
    files = files_of.TarFiles(path, store.directory("partial"))
    stack.callback(files.close)
    if reference.kind == "oci-archive":
        return sources.Layout(files, shown, reference.selector)
    return sources.DockerArchive(files, shown, reference.selector)


def _pull(store: Store, name: Name, wanted: Wanted, options: Options, progress: Progress) -> Ref:
    """Pull from the mirrors and then from the registry itself."""
    from gocker.image.registries import endpoints
    from gocker.image.registry import Client, Repository

    most = limits(options.environ)
    found = endpoints(name.domain, name.path, options.environ, insecure=options.insecure)
    for number, endpoint in enumerate(found, 1):
        client = Client(endpoint, name, options.environ, authfile=options.authfile)
        try:
            return bring(store, Repository(client, name), wanted, most, progress)
        except HostError:
            if number == len(found) or progress.cancelled:
                raise
        finally:
            client.close()
    raise missing(str(name))
