"""``gocker pull``: the images of a spec's services, as in compose; or images by their names."""

from __future__ import annotations

import argparse
import os

from gocker.cli.image_common import add_registry_options, options_of
from gocker.cli.options import load, say
from gocker.cli.options import parser as new_parser
from gocker.cli.project import split_files
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser(
        "pull", "Pull the images of a spec's services; a word with : or / is an image itself."
    )
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE|IMAGE")
    add("-q", "--quiet", action="store_true", help="no progress")
    add("--ignore-pull-failures", action="store_true", help="go on with the next image")
    add("--policy", choices=("missing", "always"), default="always")
    add_registry_options(made)
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Pull all of them; return the exit code of the first failure."""
    from gocker.cli.progress import Shown
    from gocker.image.acquire import acquire
    from gocker.state.roots import Roots

    references, directory = _wanted(arguments)
    options = options_of(arguments, directory)
    code = 0
    with Roots.open(os.environ) as roots:
        for reference in references:
            try:
                with Shown(reference, quiet=arguments.quiet) as progress:
                    ref = acquire(roots, reference, options, arguments.policy, progress)
            except HostError as error:
                if not arguments.ignore_pull_failures:
                    raise
                say(f"gocker: {error}")
                code = error.exit_code
                continue
            if ref is not None:
                print(ref.manifest)  # noqa: T201  # cli prints
    return code


def _wanted(arguments: argparse.Namespace) -> tuple[list[str], str]:
    """Return the images, and what a relative path in them starts from."""
    files, words = split_files(arguments.words)
    images = [word for word in words if ":" in word or "/" in word]
    services = [word for word in words if word not in images]
    if images and not services and not files and not arguments.file:
        return images, "."
    from gocker.plan.container import image

    loaded, project = load(arguments, [*files, *services])
    found = {
        image(item): None
        for item in (*project.services.values(), *project.jobs.values())
        if item.build is None
    }
    return [*found, *images], loaded.working_dir
