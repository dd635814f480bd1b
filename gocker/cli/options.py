"""Options that several commands share, and what they make: the spec loaded and planned."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from gocker.cli.project import split_files
from gocker.errors import PlanError, SpecError, UsageError
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gocker.image.resolve import RootFs
    from gocker.plan.model import Plan
    from gocker.spec.expand import Instance
    from gocker.spec.load import Loaded, LoadOptions
    from gocker.spec.model import Project
    from gocker.spec.model.roles import Role
    from gocker.spec.model.service import Container
    from gocker.state.roots import Roots


# What `parser` adds that says which spec.
SPEC_OPTIONS = (
    "file", "project_name", "project_directory", "profile", "env_file", "strict", "color",
)  # fmt: skip

# argparse asks gettext for each of its words, 0.2 ms a word, and would mix the user's language
# with our English.
vars(argparse)["_"] = str


class Parser(argparse.ArgumentParser):
    """A parser whose errors are gocker's: exit code 2, with the command's name."""

    def __init__(self, name: str, text: str) -> None:
        # add_argument() makes a formatter for each option, to check its metavar, and one without
        # a width imports shutil and its compressors to ask for the terminal's.
        super().__init__(
            prog=f"gocker {name}", description=text, allow_abbrev=False,
            formatter_class=partial(argparse.HelpFormatter, width=80),
        )  # fmt: skip

    def format_help(self) -> str:
        """Return the help, as wide as the terminal."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def parse_args(  # type: ignore[override]  # one of its overloads is enough
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse; words may stand between options, too: ``up spec.yaml -d web``."""
        found, rest = self.parse_known_args(args, namespace)
        if rest and hasattr(found, "words") and not any(word[:1] == "-" for word in rest):
            found.words = [*found.words, *rest]
        elif rest:
            self._unknown(rest)
        return found

    def _unknown(self, rest: list[str]) -> None:
        """Refuse what is left, with the option that was probably meant."""
        from gocker.spec.problems import suggest

        wrong = next((word for word in rest if word[:1] == "-"), "").partition("=")[0]
        meant = suggest(wrong, self._option_string_actions) if wrong[:2] == "--" else None
        message = f"{self.prog}: unrecognized arguments: {' '.join(rest)}"
        raise UsageError(message, hint=meant or f"see {self.prog} --help")

    def error(self, message: str) -> None:  # type: ignore[override]  # it raises, as the base exits
        """Raise the error instead of printing the usage."""
        raise UsageError(f"{self.prog}: {message}", hint=f"see {self.prog} --help")


class _AllowPrivileged(argparse.Action):
    """Says it where `gocker.cli.facts` looks, which also makes it a part of every cache's key."""

    def __call__(self, *_: object, **__: object) -> None:
        os.environ["GOCKER_ALLOW_PRIVILEGED"] = "1"


def parser(name: str, text: str, *, short_file: bool = True) -> Parser:
    """Return a parser for the command `name`, with the options all spec commands have.

    Without `short_file`, ``-f`` is free for the command's own.
    """
    made = Parser(name, text)
    add = made.add_argument
    add(
        *(("-f",) if short_file else ()),
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="spec file; - is stdin",
    )
    add("-p", "--project-name", metavar="NAME")
    add("--project-directory", metavar="DIR")
    add("--profile", action="append", default=None, metavar="NAME", help="enable a profile")
    add("--env-file", action="append", default=[], metavar="FILE")
    add("--strict", action="store_true", help="keys without effect are errors")
    add(
        "--allow-privileged",
        action=_AllowPrivileged,
        nargs=0,
        help="let services be privileged: true, which takes the host's protection away",
    )
    add("--trusted-root", metavar="DIR", help="read no file outside of DIR that a spec names")
    add("--color", "--ansi", choices=("auto", "always", "never"), default="auto")
    return made


def add_limits(made: Parser) -> None:
    """Add the option that `limited` reads."""
    made.add_argument(
        "--limits", choices=("strict", "best-effort"),
        help="whether to start where a limit cannot be set; wins over x-gocker.limits",
    )  # fmt: skip


def limited(arguments: argparse.Namespace, plan: Plan) -> Plan:
    """Return the plan with ``--limits`` applied to every service."""
    if arguments.limits is None:
        return plan
    from gocker.plan.build import with_limits

    return with_limits(plan, arguments.limits)


def add_run_options(made: Parser) -> None:
    """Add the options of commands that run containers."""
    add = made.add_argument
    add_limits(made)
    add("--log-format", choices=("text", "json", "none"), default="text",
        help="events on standard error")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="only warnings and errors")
    add("--timestamps", action="store_true", help="time before each line of output")
    add("--no-log-prefix", action="store_true")
    add("--no-color", action="store_true")
    add("-t", "--timeout", type=float, metavar="SECONDS", help="stop timeout")


def load_options(arguments: argparse.Namespace, words: list[str]) -> LoadOptions:
    """Return what to load, from the options and the words of a command."""
    from gocker.spec.load import LoadOptions

    files, services = split_files(words)
    if arguments.trusted_root is not None:
        from gocker.spec.files import trust

        trust(arguments.trusted_root)
    return LoadOptions(
        files=[*arguments.file, *files],
        project_name=arguments.project_name,
        project_directory=arguments.project_directory,
        env_files=arguments.env_file,
        profiles=arguments.profile,
        services=services,
    )


def load(
    arguments: argparse.Namespace, words: list[str],
    change: Callable[[Loaded], None] | None = None,
) -> tuple[Loaded, Project]:  # fmt: skip
    """Return the spec that the options and the words name.

    Args:
        arguments: of the command.
        words: spec files and services.
        change: changes the canonical model as the command line wants.

    Raises:
        SpecError: with all problems.
    """
    from gocker.spec.load import load as load_spec

    options = load_options(arguments, words)
    try:
        loaded = load_spec(options)
        if change is not None:
            change(loaded)
        return loaded, validate(arguments, loaded)
    except SpecError as error:
        from gocker.spec.further import all_problems

        raise all_problems(options, error, strict=arguments.strict) from None


def validate(arguments: argparse.Namespace, loaded: Loaded) -> Project:
    """Return the project of a loaded spec.

    Raises:
        SpecError: with all problems.
    """
    from gocker.spec.model import load as load_model

    return load_model(loaded.model, loaded.place, strict=arguments.strict)


def make_plan(
    loaded: Loaded, project: Project, roots: Roots, job: str | None = None,
    images: dict[str, RootFs] | None = None, *, detached: bool = False,
) -> Plan:  # fmt: skip
    """Return the plan of a loaded spec on this host.

    Args:
        loaded: the spec, for its places.
        project: the spec.
        roots: where images and volumes are.
        job: a service that is one here, whatever it is in the spec.
        images: takes what the plan's image references stand for.
        detached: services live on in the background.
    """
    from gocker.cli.host import host
    from gocker.plan.build import build

    _bring_images(project, loaded, roots)
    inferred, matrices = _instances(loaded, project, job, detached=detached)
    try:
        found = host(roots, loaded, {} if images is None else images)
        plan = build(project, inferred, found, loaded.files, matrices, loaded.working_dir)
        plan = replace(plan, services=loaded.services, places=_places(project, loaded))
        return plan if plan.network is None else _placed(plan, loaded)
    except PlanError as error:
        if "path" not in error.context:
            raise
        message = f"{loaded.place(error.context['path'])}: {error.context['path']}: {error.message}"
        raise PlanError(message, hint=error.hint) from error


def _places(project: Project, loaded: Loaded) -> dict[str, tuple[str, int]]:
    """Return the file and line of each service."""
    named = [("services", name) for name in project.services]
    named += [("jobs", name) for name in project.jobs]
    places = {path[1]: loaded.place(path) for path in named}
    return {name: (place.file, place.line) for name, place in places.items()}


def _placed(plan: Plan, loaded: Loaded) -> Plan:
    """Return the plan with the places of its ports: only a start tells which are taken."""
    from gocker.values import replace

    assert plan.network is not None  # noqa: S101  # the caller has looked
    ports = tuple(
        replace(it, path=f"{loaded.place(it.path)}: {it.path}") for it in plan.network.publications
    )
    return replace(plan, network=replace(plan.network, publications=ports))


def _bring_images(project: Project, loaded: Loaded, roots: Roots) -> None:
    """Have the images that the plan takes from the store; most plans take none."""
    from gocker.plan.container import built_name, image

    services = {**project.services, **project.jobs}
    images = {name: image(it, built_name(project, name)) for name, it in services.items()}
    if not all(reference.startswith(("host:", "bins:")) for reference in images.values()):
        from gocker.cli.images import bring

        bring(services, images, loaded, roots)


def make_outline(loaded: Loaded, project: Project) -> Plan:
    """Return the plan of a loaded spec without its containers; nothing is made for it.

    Raises:
        SpecError: what is wrong with a combination of a matrix.
        PlanError: what is wrong with the graph.
    """
    from gocker.plan.build import outline

    return outline(project, *_instances(loaded, project))


def _instances(
    loaded: Loaded, project: Project, job: str | None = None, *, detached: bool = False
) -> tuple[dict[str, Role], dict[str, list[Instance]] | None]:
    """Return the roles, and the combinations of services with a matrix."""
    from gocker.spec.model.roles import roles

    inferred = roles(project, detached=detached)
    if job is not None:
        inferred[job] = "job"
    if not any(_has_matrix(it) for it in (*project.services.values(), *project.jobs.values())):
        return inferred, None
    from gocker.spec.expand import expand

    return inferred, expand(loaded, project, inferred)


def _has_matrix(service: Container) -> bool:
    return service.x_gocker is not None and service.x_gocker.matrix is not None


def defusing(ci: str = "auto") -> Callable[[str], str] | None:
    """Return what keeps output from being commands to the CI whose log it goes to; None for none.

    Args:
        ci: as ``up --ci``.
    """
    if ci == "none" or not {"GITHUB_ACTIONS", "GITLAB_CI"} & os.environ.keys():
        return None
    from gocker.cli.ci import is_log
    from gocker.report.ci import harmless

    return harmless if is_log(1) else None


def colour(arguments: argparse.Namespace, fd: int) -> bool:
    """Return whether to use colour on a descriptor."""
    from gocker.log import use_colour

    option = "never" if getattr(arguments, "no_color", False) else arguments.color
    return use_colour(option, os.environ, os.isatty(fd))


def say(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr)  # noqa: T201  # cli prints
