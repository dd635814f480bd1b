"""Checks that need the whole project: references, conflicts, cycles (loader/validate.go).

Works on the canonical model. Where gocker is stricter than the reference the comment says so.
"""

from __future__ import annotations

from gocker.spec import files
from gocker.spec.problems import Near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Adds a problem: (path parts, message, hint).
    Report = Callable[[tuple[str | int, ...], str, str | Near | None], None]

# More copies than a host has process ids for; a sum of them must not make the planner suffer.
MAX_COPIES = 100_000
_RESTART = ("no", "always", "unless-stopped", "on-failure")


def check(model: dict[str, Any], disabled: dict[str, Any], report: Report) -> None:
    """Report everything that contradicts itself; `disabled` has the services without profile."""
    check_services(model, disabled, report)
    _container_names(model, report)
    for name, secret in (model.get("secrets") or {}).items():
        if not (secret.get("external") or secret.get("file") or secret.get("environment")):
            report(("secrets", name), "one of 'file', 'environment' must be set", None)
    _cycles(model, report)


def check_services(
    model: dict[str, Any], disabled: dict[str, Any], report: Report,
    known: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Report what is wrong with single services, but for those in `known`."""
    enabled = {**(model.get("services") or {}), **(model.get("jobs") or {})}
    for section in ("services", "jobs"):
        for name, service in (model.get(section) or {}).items():
            if name not in known:
                _Service(model, enabled, disabled, section, name, service, report).check()


def check_secret_files(model: dict[str, Any], report: Report) -> None:
    """Report secrets whose file is not there. The reference only warns, and the run fails."""
    for name, secret in (model.get("secrets") or {}).items():
        file = secret.get("file")
        if file and not secret.get("external") and not files.exists(file):
            report(("secrets", name, "file"), f"no such file: {file!r}", None)


class _Service:
    def __init__(
        self, model: dict[str, Any], enabled: dict[str, Any], disabled: dict[str, Any],
        section: str, name: str, service: dict[str, Any], report: Report,
    ) -> None:  # fmt: skip
        self.model = model
        self.enabled = enabled
        self.disabled = disabled
        self.section = section
        self.name = name
        self.service = service
        self.add = report

    def report(self, *tail: str | int, message: str, hint: str | Near | None = None) -> None:
        self.add((self.section, self.name, *tail), message, hint)

    def check(self) -> None:
        # Unlike the reference, a service needs no image: it then has the host's files (host:/).
        self.networks()
        self.references()
        self.dependencies()
        self.health()
        self.restart()
        self.scale()
        self.limits()
        self.mounts()
        self.watch()
        self.build()

    def networks(self) -> None:
        networks = self.service.get("networks") or {}
        if self.service.get("network_mode") and networks:
            self.report("networks", message="'network_mode' and 'networks' are exclusive")
        known = self.model.get("networks") or {}
        for name in networks:
            if name not in known:
                self.report(
                    "networks", name, message=f"undefined network {name!r}",
                    hint=Near(name, known),
                )  # fmt: skip
        mode = self.service.get("network_mode") or ""
        if mode.startswith("service:") and mode[8:] not in self.enabled:
            self.report("network_mode", message=f"undefined service {mode[8:]!r}")

    def references(self) -> None:
        for kind in ("configs", "secrets"):
            known = self.model.get(kind) or {}
            for index, item in enumerate(self.service.get(kind) or ()):
                source = item.get("source", "")
                if source not in known:
                    self.report(
                        kind, index, message=f"undefined {kind[:-1]} {source!r}",
                        hint=Near(source, known),
                    )  # fmt: skip
        for index, item in enumerate(self.service.get("volumes") or ()):
            source = item.get("source")
            known = self.model.get("volumes") or {}
            if item.get("type") == "volume" and source and source not in known:
                hint = Near(source, known, "declare it under volumes, or write './' before it")
                self.report("volumes", index, message=f"undefined volume {source!r}", hint=hint)
        for name in self.service.get("models") or ():
            if name not in (self.model.get("models") or {}):
                self.report("models", name, message=f"undefined model {name!r}")
        build = self.service.get("build") or {}
        for index, item in enumerate(build.get("secrets") or ()):
            if item.get("source", "") not in (self.model.get("secrets") or {}):
                self.report(
                    "build", "secrets", index,
                    message=f"undefined build secret {item.get('source', '')!r}",
                )  # fmt: skip

    def dependencies(self) -> None:
        known = self.enabled
        for name, how in (self.service.get("depends_on") or {}).items():
            if name in known:
                continue
            if name not in self.disabled:
                self.report(
                    "depends_on", name, message=f"undefined service {name!r}",
                    hint=Near(name, [*known, *self.disabled]),
                )  # fmt: skip
            elif how.get("required", True):
                profiles = ", ".join(self.disabled[name].get("profiles") or ())
                self.report(
                    "depends_on", name, message=f"service {name!r} is disabled",
                    hint=f"enable it with --profile {profiles}, or set required: false",
                )  # fmt: skip

    def health(self) -> None:
        test = (self.service.get("healthcheck") or {}).get("test")
        if not test:
            return
        if test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            self.report(
                "healthcheck", "test", message="must start with 'CMD', 'CMD-SHELL' or 'NONE'"
            )
        elif test[0] != "NONE" and len(test) == 1:
            # The reference accepts it; there is nothing to run.
            self.report("healthcheck", "test", message=f"no command after {test[0]!r}")

    def restart(self) -> None:
        """The reference accepts any text and the engine fails later."""
        policy = self.service.get("restart")
        if policy is None:
            return
        name, colon, count = policy.partition(":")
        counted = name == "on-failure" and count.isascii() and count.isdigit()
        if name not in _RESTART or (colon and not counted):
            self.report(
                "restart", message=f"invalid restart policy {policy!r}",
                hint=Near(name, _RESTART, "no, always, on-failure[:N] or unless-stopped"),
            )  # fmt: skip

    def scale(self) -> None:
        scale = self.service.get("scale")
        deploy = self.service.get("deploy") or {}
        replicas = deploy.get("replicas")
        if scale is not None and replicas is not None and scale != replicas:
            self.report("scale", message="'scale' and 'deploy.replicas' differ")
        for path, value in ((("scale",), scale), (("deploy", "replicas"), replicas)):
            if value is not None and value < 0:
                self.report(*path, message="must be greater than or equal to 0")
            elif value is not None and value > MAX_COPIES:
                self.report(*path, message=f"must be less than or equal to {MAX_COPIES}")
        count = scale if scale is not None else replicas
        if count is not None and count > 1 and self.service.get("container_name"):
            self.report(
                "container_name", message=f"a container name must be unique, there are {count}"
            )

    def limits(self) -> None:
        """Two ways to set one limit must agree; a way that is not used never conflicts."""
        resources = (self.service.get("deploy") or {}).get("resources") or {}
        for key, kind, other in (
            ("cpus", "limits", "cpus"), ("mem_limit", "limits", "memory"),
            ("mem_reservation", "reservations", "memory"), ("pids_limit", "limits", "pids"),
        ):  # fmt: skip
            one, two = self.service.get(key), (resources.get(kind) or {}).get(other)
            if one is not None and two is not None and one != two:
                self.report(key, message=f"{key!r} and 'deploy.resources.{kind}.{other}' differ")

    def mounts(self) -> None:
        seen: dict[str, str] = {}
        targets = [("tmpfs", i, t.partition(":")[0])
                   for i, t in enumerate(self.service.get("tmpfs") or ())]  # fmt: skip
        targets += [("volumes", i, v.get("target", ""))
                    for i, v in enumerate(self.service.get("volumes") or ())]  # fmt: skip
        for kind, index, target in targets:
            here = f"{kind}[{index}]"
            if target in seen:
                self.report(
                    kind, index, message=f"target {target!r} is already mounted by {seen[target]}"
                )
            seen.setdefault(target, here)

    def watch(self) -> None:
        for index, rule in enumerate((self.service.get("develop") or {}).get("watch") or ()):
            action = rule.get("action", "")
            if not rule.get("target") and action not in ("rebuild", "restart"):
                self.report("develop", "watch", index, message=f"{action!r} needs a 'target'")

    def build(self) -> None:
        build = self.service.get("build") or {}
        if build.get("dockerfile") and build.get("dockerfile_inline"):
            self.report("build", message="'dockerfile' and 'dockerfile_inline' are exclusive")
        platform, platforms = self.service.get("platform"), build.get("platforms")
        if platform and platforms and platform not in platforms:
            self.report("build", "platforms", message=f"must include the service's {platform!r}")
        for name, context in (build.get("additional_contexts") or {}).items():
            scheme, _, service = context.partition(":")
            if scheme != "service":
                continue
            path = ("build", "additional_contexts", name)
            if service not in self.enabled:
                self.report(
                    *path, message=f"undefined service {service!r}",
                    hint=Near(service, self.enabled),
                )  # fmt: skip
            elif "build" not in self.enabled[service]:
                self.report(*path, message=f"service {service!r} builds no image")


def _container_names(model: dict[str, Any], report: Report) -> None:
    seen: dict[str, str] = {}
    for name, service in (model.get("services") or {}).items():
        container = service.get("container_name")
        if container and container in seen:
            report(
                ("services", name, "container_name"),
                f"container name {container!r} is already used by service {seen[container]!r}",
                None,
            )
        elif container:
            seen[container] = name


def _cycles(model: dict[str, Any], report: Report) -> None:
    """Report each dependency cycle, found by a depth-first walk without recursion."""
    sections = {n: s for s in ("services", "jobs") for n in (model.get(s) or {})}
    edges = {
        name: [dep for dep in (model[section][name].get("depends_on") or ()) if dep in sections]
        for name, section in sections.items()
    }
    done: set[str] = set()
    for start in sorted(edges):
        if start in done:
            continue
        path, position = [start], {start: 0}
        iterators = [iter(edges[start])]
        while path:
            following = next(iterators[-1], None)
            if following is None:
                iterators.pop()
                last = path.pop()
                del position[last]
                done.add(last)
            elif following in position:
                cycle = [*path[position[following] :], following]
                report(
                    (sections[path[-1]], path[-1], "depends_on", following),
                    f"dependency cycle: {' -> '.join(cycle)}", None,
                )  # fmt: skip
            elif following not in done:
                position[following] = len(path)
                path.append(following)
                iterators.append(iter(edges[following]))
