"""``gocker build``: images from Dockerfiles, or those of a spec's services."""

from __future__ import annotations

import argparse
import os

from gocker.cli.image_common import add_registry_options, options_of
from gocker.cli.options import load, say
from gocker.cli.options import parser as new_parser
from gocker.cli.project import split_files
from gocker.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.image.acquire import Options as RegistryOptions
    from gocker.image.buildtypes import Options
    from gocker.image.store import Store
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots

_DOCKERFILE = "Dockerfile"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser(
        "build",
        "Build the images of a spec's services; or, with a directory or -f Dockerfile, one image.",
    )
    add = made.add_argument
    add("words", nargs="*", metavar="DIRECTORY|FILE|SERVICE")
    add("-t", "--tag", action="append", default=[], metavar="NAME", help="name of the image")
    add("--build-arg", action="append", default=[], metavar="NAME[=VALUE]")
    add("--target", default="", metavar="STAGE")
    add("--network", choices=("default", "host", "none"), default="default", help="of RUN")
    add("--no-cache", action="store_true", help="make every layer anew")
    add("--pull", action="store_true", help="pull bases even if they are here")
    add("--label", action="append", default=[], metavar="NAME=VALUE")
    add("--secret", action="append", default=[], metavar="id=NAME,src=FILE")
    add("--build-context", action="append", default=[], metavar="NAME=DIRECTORY")
    add("-q", "--quiet", action="store_true", help="only errors, and the image's digest")
    add_registry_options(made)
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Build; print the digest of each image's manifest."""
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        directories = [word for word in arguments.words if os.path.isdir(word)]
        files = [name for name in arguments.file if not name.endswith((".yaml", ".yml"))]
        if directories or files:
            _one(roots, arguments, directories, files)
        else:
            from gocker.cli.buildspec import build_services

            spec_files, services = split_files(arguments.words)
            loaded, project = load(arguments, [*spec_files, *services])
            build_services(roots, loaded, project, arguments, set(services))
    return 0


def _one(
    roots: Roots, arguments: argparse.Namespace, directories: list[str], files: list[str]
) -> None:
    if len(directories) > 1 or len(files) > 1 or len(directories) < len(arguments.words):
        raise UsageError("gocker build: one directory, and one Dockerfile", hint="see --help")
    context = directories[0] if directories else "."
    path = files[0] if files else os.path.join(context, _DOCKERFILE)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"cannot read {path!r}: {error}") from error
    digest = build(
        roots, text, path, context, options(arguments), options_of(arguments), arguments.tag,
        quiet=arguments.quiet,
    )  # fmt: skip
    print(digest)  # noqa: T201  # cli prints


def options(arguments: argparse.Namespace) -> Options:
    """Return the build's options from the command line.

    Raises:
        UsageError: if one is not NAME=VALUE.
    """
    from gocker.image.buildtypes import Options

    secrets = {}
    for text in arguments.secret:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        source = parts.get("src") or parts.get("source")
        if not parts.get("id") or not source:
            raise UsageError(f"--secret {text}", hint="id=NAME,src=FILE")
        secrets[parts["id"]] = source
    return Options(
        args=build_args(arguments.build_arg),
        target=arguments.target,
        network=arguments.network,
        no_cache=arguments.no_cache,
        pull=arguments.pull,
        labels=_pairs(arguments.label, "--label"),
        secrets=secrets,
        contexts=_pairs(arguments.build_context, "--build-context"),
    )


def build_args(words: list[str]) -> dict[str, str]:
    """Return arguments; one without a value is the environment's, if that has it."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _pairs(words: list[str], option: str) -> dict[str, str]:
    if any("=" not in word for word in words):
        raise UsageError(f"{option} takes NAME=VALUE")
    return dict(word.partition("=")[::2] for word in words)


def build(  # the parts of a build, put together in one place
    roots: Roots, text: str, shown: str, context: str, chosen: Options,
    registry: RegistryOptions, tags: list[str], *, quiet: bool = False,
) -> str:  # fmt: skip
    """Build one image and give it its names; return its manifest's digest.

    Raises:
        SpecError: what is wrong in the Dockerfile, by line.
        HostError: what failed.
    """
    from gocker.cli.buildrun import Runs
    from gocker.image.build import Builder
    from gocker.image.compose import tag
    from gocker.image.context import Files, Ignore
    from gocker.image.dockerfile import Dockerfile
    from gocker.image.limits import limits
    from gocker.image.reference import parse_name
    from gocker.image.store import Store

    names = [str(parse_name(name)) for name in tags]
    parsed = Dockerfile(text, shown)
    files = Files([os.path.abspath(context)], Ignore(_ignore_text(context, shown)))
    tell = bool if quiet else say
    with Store(roots) as store, store.lease():
        base = _Bases(store, registry, pull=chosen.pull)
        run = Runs(roots, quiet=quiet)
        builder = Builder(store, parsed, files, chosen, limits(os.environ), base.find, run, tell)
        digest, _ = builder.build()
        for name in names or [digest]:
            tag(store, name, digest)
    return digest


def _ignore_text(context: str, dockerfile: str) -> str:
    for path in (f"{dockerfile}.dockerignore", os.path.join(context, ".dockerignore")):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise HostError(f"cannot read {path!r}: {error}") from error
    return ""


class _Bases:
    """Images that a Dockerfile begins with, pulled if they are not here."""

    def __init__(self, store: Store, registry: RegistryOptions, *, pull: bool) -> None:
        self._store = store
        self._registry = registry
        self._policy = "always" if pull else "missing"

    def find(self, name: str, platform: str) -> str:
        """Return the manifest of an image."""
        from gocker.cli.progress import Shown
        from gocker.image.acquire import acquire
        from gocker.image.reference import parse
        from gocker.image.unpacked import by_id, missing
        from gocker.values import replace

        registry = replace(self._registry, platform=platform or self._registry.platform)
        with Shown(name) as progress:
            ref = acquire(self._store.roots, name, registry, self._policy, progress)
        if ref is not None:
            return ref.manifest
        reference = parse(name)
        record = by_id(self._store.roots, reference.value) if reference.kind == "id" else None
        if record is None:
            raise missing(name)
        return record.manifest
