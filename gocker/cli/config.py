"""``gocker config``: the spec as gocker understands it."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import load_options, make_plan, say, validate
from gocker.cli.options import parser as new_parser
from gocker.errors import HostError, SpecError, UsageError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.plan.model import Container
    from gocker.scheduler.launcher import Launcher
    from gocker.spec.load import Loaded, LoadOptions
    from gocker.spec.model import Project


_LISTS = ("services", "volumes", "networks", "images", "profiles", "variables", "environment")
# Options of docker compose's that have no meaning here, with the reason.
_REFUSED = {
    "resolve-image-digests": "an image is written with its digest, or is resolved when it is used",
    "lock-image-digests": "an image is written with its digest, or is resolved when it is used",
    "models": "gocker runs no models",
}


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("config", "Print the spec as gocker understands it.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE")
    add("--format", choices=("yaml", "json"), default="yaml")
    add("-q", "--quiet", action="store_true", help="only validate")
    add("-o", "--output", metavar="FILE", help="write to a file")
    what = made.add_mutually_exclusive_group()
    for name in _LISTS:
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name)
    what.add_argument("--hash", metavar="SERVICE", help="a hash per service; * is all")
    what.add_argument("--explain", action="store_true", help="where each value came from")
    what.add_argument("--security", action="store_true", help="what confines each service")
    what.add_argument("--oci", metavar="SERVICE", help="the OCI config.json of a container")
    add("--bundle", metavar="DIR", help="with --oci: write a whole bundle into DIR")
    for name in ("interpolate", "normalize", "path-resolution", "consistency", "env-resolution"):
        add(f"--no-{name}", action="store_true")
    add("--no-values", action="store_true", help="*** for values of variables and configs")
    for name in _REFUSED:
        add(f"--{name}", dest="refused", action="store_const", const=name,
            help=argparse.SUPPRESS)  # fmt: skip
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print what was asked for."""
    if arguments.refused is not None:
        raise UsageError(f"--{arguments.refused}: {_REFUSED[arguments.refused]}")
    options = load_options(arguments, arguments.words)
    options.interpolate = not arguments.no_interpolate
    options.normalize = not arguments.no_normalize
    options.resolve_paths = not arguments.no_path_resolution
    options.consistency = not arguments.no_consistency
    options.resolve_env = not arguments.no_env_resolution
    wants_variables = arguments.what == "variables"
    try:
        text = _variables(options) if wants_variables else _text(arguments, options)
    except SpecError as error:
        from gocker.spec.further import all_problems

        raise all_problems(options, error, strict=arguments.strict) from None
    if arguments.output is not None:
        _write(arguments.output, text, 0o644)
    else:
        sys.stdout.write(text)
    return 0


def _text(arguments: argparse.Namespace, options: LoadOptions) -> str:
    from gocker.spec import render
    from gocker.spec.load import load as load_spec

    loaded = load_spec(options)
    whole = options.interpolate and options.normalize
    if arguments.oci is not None:
        if not whole:
            raise UsageError("--oci needs the whole spec: leave the --no-... options out")
        return _oci(arguments, loaded, validate(arguments, loaded))
    if arguments.security:
        if not whole:
            raise UsageError("--security needs the whole spec: leave the --no-... options out")
        return _security(arguments, loaded, validate(arguments, loaded))
    if whole:
        _say_what_is_refused(arguments, loaded)
    if arguments.quiet:
        return ""
    if arguments.explain:
        return _explained(loaded)
    if arguments.hash is not None:
        return _hashes(loaded, arguments.hash)
    if arguments.what is not None:
        return "".join(f"{line}\n" for line in _list(loaded, arguments.what))
    if arguments.no_values:
        _hide_values(loaded.model)
    to_text = render.json_text if arguments.format == "json" else render.yaml_text
    return to_text(loaded.model, interpolated=options.interpolate)


def _hide_values(model: dict[str, Any]) -> None:
    """Put ``***`` in place of what may be secret: values of variables, contents of configs."""
    for kind in ("services", "jobs"):
        for service in (model.get(kind) or {}).values():
            variables = service.get("environment")
            if variables:
                service["environment"] = dict.fromkeys(variables, "***")
    for config in (model.get("configs") or {}).values():
        if "content" in config:
            config["content"] = "***"


def _say_what_is_refused(arguments: argparse.Namespace, loaded: Loaded) -> None:
    """Warn of what `up` would refuse: the model is the specification's, and is printed whole.

    Raises:
        SpecError: the same, where the command is asked to validate (-q, --strict).
    """
    try:
        validate(arguments, loaded)
    except SpecError as error:
        if arguments.quiet or arguments.strict:
            raise
        for problem in error.problems:
            say(f"gocker: warning: {safe(str(problem))}")


def _list(loaded: Loaded, what: str) -> list[str]:
    from gocker.spec import render

    simple = {"services": render.services, "images": render.images, "profiles": render.profiles,
              "environment": render.environment}  # fmt: skip
    return simple[what](loaded) if what in simple else render.names(loaded, what)


def _hashes(loaded: Loaded, wanted: str) -> str:
    from gocker.spec import render

    found = render.hashes(loaded)
    names = found if wanted == "*" else wanted.split(",")
    missing = [name for name in names if name not in found]
    if missing:
        from gocker.cli.naming import no_such_service

        raise no_such_service(missing, found, "--hash: ")
    return "".join(f"{name} {found[name]}\n" for name in names)


def _explained(loaded: Loaded) -> str:
    import json

    from gocker.spec.explain import explain

    lines = [
        f"{item.path} = {json.dumps(item.value, ensure_ascii=False)}"
        f"  # {item.place.file}:{item.place.line}:{item.place.column}, {item.source}"
        for item in explain(loaded)
    ]
    return "\n".join(lines) + "\n"


def _variables(options: LoadOptions) -> str:
    from gocker.report.table import align
    from gocker.spec.explain import used_variables

    rows = [["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]]
    rows += [
        [item.name, str(item.required).lower(), item.default or "", item.alternate or ""]
        for item in used_variables(options)
    ]
    return "".join(f"{line.rstrip()}\n" for line in align(rows, left=4))


def _oci(arguments: argparse.Namespace, loaded: Loaded, project: Project) -> str:
    from gocker.plan import bundle
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        plan = make_plan(loaded, project, roots)
    if arguments.oci not in plan.containers:
        from gocker.cli.naming import no_such_service

        raise no_such_service([arguments.oci], plan.containers, "--oci: ")
    container = plan.containers[arguments.oci]
    directory = os.path.abspath(arguments.bundle or os.curdir)
    text = bundle.as_json(bundle.config(container, arguments.oci, directory))
    if arguments.bundle is None:
        return text
    _write_bundle(container, directory, text)
    return bundle.mount_command(container, directory) + "\n"


def _security(arguments: argparse.Namespace, loaded: Loaded, project: Project) -> str:
    from gocker.report import security
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        plan = make_plan(loaded, project, roots)
    return security.rows_text(plan, arguments.format)


def _write_bundle(container: Container, directory: str, config: str) -> None:
    """Write config.json, the generated files and the empty directories that it speaks of."""
    from gocker.plan import bundle

    try:
        for name in ("rootfs", "upper", "work", "files"):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        _write(os.path.join(directory, "config.json"), config, 0o600)
        for number, file in enumerate(bundle.files(container)):
            path = os.path.join(directory, "files", str(number))
            _write(path, file["content"], file["mode"])
            os.chown(path, file.get("uid", 0), file.get("gid", 0))
    except OSError as error:
        raise HostError(f"cannot write the bundle {directory!r}: {error.strerror}") from error


def _write(path: str, content: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    os.chmod(path, mode)
