"""The images of a spec's services that have ``build``."""

from __future__ import annotations

import os

from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.image.buildtypes import Options
    from gocker.spec.load import Loaded
    from gocker.spec.model import Project
    from gocker.spec.model.build import Build
    from gocker.spec.model.service import Container
    from gocker.state.roots import Roots


def build_services(
    roots: Roots, loaded: Loaded, project: Project, arguments: argparse.Namespace, wanted: set[str]
) -> None:
    """Build the images of all services that have ``build``, or of those `wanted`.

    Raises:
        HostError: what failed, or that a service is not built.
    """
    from gocker.plan.container import built_name, image

    services = {**project.services, **project.jobs}
    for name in wanted - {name for name, it in services.items() if it.build is not None}:
        raise HostError(f"service {name!r} has no build")
    for name, service in services.items():
        if service.build is not None and (not wanted or name in wanted):
            reference = image(service, built_name(project, name))
            print(build_service(roots, loaded, service, reference, arguments))  # noqa: T201  # cli prints


def build_service(
    roots: Roots, loaded: Loaded, service: Container, reference: str,
    arguments: argparse.Namespace | None = None,
) -> str:  # fmt: skip
    """Build the image of one service; return its manifest's digest.

    Args:
        roots: where the store is.
        loaded: the spec, for its directory and environment.
        service: has ``build``.
        reference: its image's name.
        arguments: of ``gocker build``, which go before the spec.

    Raises:
        SpecError: what is wrong in the Dockerfile, by line.
        HostError: what failed.
    """
    from gocker.cli.build import build
    from gocker.cli.image_common import options_of
    from gocker.image.acquire import Options as Registry

    wanted = service.build
    assert wanted is not None  # noqa: S101  # the caller has looked
    context = os.path.join(loaded.working_dir, wanted.context)
    if not os.path.isdir(context):
        raise HostError(
            f"build context {wanted.context!r} is no directory", hint="contexts are local only"
        )
    text, shown = _dockerfile(wanted, context)
    registry = Registry(loaded.environment, loaded.working_dir, platform=service.platform)
    if arguments is not None:
        registry = options_of(arguments, loaded.working_dir)
    quiet = bool(getattr(arguments, "quiet", False))
    return build(
        roots, text, shown, context, _options(wanted, loaded, arguments), registry,
        [reference, *wanted.tags], quiet=quiet,
    )  # fmt: skip


def _dockerfile(wanted: Build, context: str) -> tuple[str, str]:
    if wanted.dockerfile_inline is not None:
        return wanted.dockerfile_inline, "dockerfile_inline"
    path = os.path.join(context, wanted.dockerfile or "Dockerfile")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(), path
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"cannot read {path!r}: {error}") from error


def _options(wanted: Build, loaded: Loaded, arguments: argparse.Namespace | None) -> Options:
    from gocker.cli.build import options
    from gocker.image.buildtypes import Options

    args = {
        name: loaded.environment[name] if value is None else value
        for name, value in wanted.args.items()
        if value is not None or name in loaded.environment
    }
    contexts = {
        name: os.path.join(loaded.working_dir, path)
        for name, path in wanted.additional_contexts.items()
    }
    for name, path in contexts.items():
        if not os.path.isdir(path):
            raise HostError(f"the additional context {name!r} is no directory: {path!r}")
    given = options(arguments) if arguments is not None else Options()
    return Options(
        args={**args, **given.args},
        target=given.target or wanted.target or "",
        network=given.network if given.network != "default" else wanted.network or "default",
        no_cache=given.no_cache or wanted.no_cache,
        pull=given.pull or wanted.pull,
        labels={**wanted.labels, **given.labels},
        secrets=given.secrets,
        contexts={**contexts, **given.contexts},
    )
