"""Mounts, generated files, secrets and configs of a service."""

from __future__ import annotations

import os
from functools import lru_cache

from gocker.errors import PlanError
from gocker.plan import posture
from gocker.plan.model import ANONYMOUS, Prepare
from gocker.spec.files import FileProblem, read
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gocker import oci
    from gocker.image.resolve import RootFs
    from gocker.network.model import Attachment
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service
    from gocker.spec.model.service import FileGrant
    from gocker.spec.model.volume import Mount

# A start request is one message on a socket; see gocker.wire.MAX_MESSAGE.
MAX_GRANTS = 100_000
_HOST_LINES = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


# The same object for equal arguments: the executor sends it once.
_default_mounts = lru_cache(posture.default_mounts)


def mounts(
    service: Service,
    project: Project,
    volumes_root: str,
    image: RootFs,
    *,
    idmap: bool = False,
    tty_group: bool = True,
) -> tuple[list[oci.Mount], list[Prepare]]:
    """Return the mounts in their order, and the directories that must exist before.

    `idmap`: whether binds and volumes are shown with the ids of the user namespace. `tty_group`:
    see `posture.default_mounts`.
    """
    default = _default_mounts(service.shm_size or posture.SHM_SIZE, tty_group=tty_group)
    if not (service.tmpfs or service.volumes or service.volumes_from or image.volumes):
        return default, []
    found = list(default)
    prepare: list[Prepare] = []
    found += [_tmpfs(entry) for entry in service.tmpfs]
    for mount in _volumes(service, project):
        entry, needs = _volume(mount, project, volumes_root)
        if idmap and entry["type"] == "bind":
            entry["options"].append("ridmap" if "rbind" in entry["options"] else "idmap")
        found.append(entry)
        if needs is not None:
            prepare.append(_with_content(needs, mount, image))
    taken = {entry["destination"].rstrip("/") for entry in found}
    for path in image.volumes:
        if path not in taken:
            options = ["rbind", "rprivate", "rw", *(["ridmap"] if idmap else [])]
            found.append(_bound(path, f"{ANONYMOUS}{path}", options))
            prepare.append(Prepare("anonymous", path, copy=path))
    # A parent's mount comes before its children's, whatever the order in the spec; the default
    # mounts stay first. Sorting by depth is stable.
    first = len(default)
    return found[:first] + sorted(found[first:], key=_depth), prepare


def _volumes(service: Service, project: Project) -> Sequence[Mount]:
    if not service.volumes_from:
        return service.volumes
    from gocker.plan import volumes

    return volumes.all_of(service, project)


def _with_content(needs: Prepare, mount: Mount, image: RootFs) -> Prepare:
    """Have a new volume begin with what the image has there, but not with the host's files."""
    nocopy = mount.volume is not None and (mount.volume.nocopy or mount.volume.subpath)
    if needs.kind == "bind" or nocopy or not image.digest:
        return needs
    return replace(needs, copy=mount.target)


def _bound(target: str, source: str, options: list[str]) -> oci.Mount:
    return {
        "destination": target, "type": "bind", "source": source,
        "options": [*options, "nosuid", "nodev"],
    }  # fmt: skip


def _depth(entry: oci.Mount) -> int:
    return entry["destination"].rstrip("/").count("/")


def _tmpfs(entry: str) -> oci.Mount:
    path, _, options = entry.partition(":")
    # The kernel's default mode, said: runc would take the mode of the directory below.
    mode = [] if "mode=" in options else ["mode=1777"]
    given = [option for option in options.split(",") if option]
    wanted = ["nosuid", "nodev", "noexec", *mode, *given]
    return {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": wanted}


def _volume(mount: Mount, project: Project, volumes_root: str) -> tuple[oci.Mount, Prepare | None]:
    if mount.type == "tmpfs":
        return _tmpfs_volume(mount), None
    declared = project.volumes.get(mount.source or "") if mount.type == "volume" else None
    if declared is not None and declared.driver_opts is not None:
        from gocker.plan import volumes

        return volumes.by_options(mount, mount.source or "", declared.driver_opts), None
    mode = ["ro", "rro"] if mount.read_only else []
    bind = mount.bind
    recursive = "rbind"
    propagation = "rprivate"
    if bind is not None:
        propagation = bind.propagation or propagation
        if bind.recursive == "disabled":
            recursive = "bind"
        elif bind.recursive == "writable" and mount.read_only:
            mode = ["ro"]
    prepare = None
    if mount.type == "bind":
        source = mount.source or ""
        if bind is None or bind.create_host_path:
            prepare = Prepare("bind", source)
    else:
        source, prepare = _named(mount, project, volumes_root)
    below = ["rnosuid", "rnodev"] if recursive == "rbind" else []
    options = [recursive, propagation, "nosuid", "nodev", *below, *mode]
    entry: oci.Mount = {
        "destination": mount.target, "type": "bind", "source": source, "options": options,
    }  # fmt: skip
    subpath = _subpath(mount)
    if subpath:
        entry["subpath"] = subpath
    return entry, prepare


def _tmpfs_volume(mount: Mount) -> oci.Mount:
    options = ["nosuid", "nodev", "noexec"]
    if mount.tmpfs is not None and mount.tmpfs.size:
        options.append(f"size={mount.tmpfs.size}")
    mode = mount.tmpfs.mode if mount.tmpfs is not None else None
    options.append(f"mode={0o1777 if mode is None else mode:o}")
    if mount.read_only:
        options.append("ro")
    return {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _named(mount: Mount, project: Project, volumes_root: str) -> tuple[str, Prepare]:
    """Return the directory of a volume; that of an anonymous one is the executor's to choose."""
    if mount.source is None:
        return f"{ANONYMOUS}{mount.target}", Prepare("anonymous", mount.target)
    volume = project.volumes.get(mount.source)
    name = (volume.name if volume else None) or f"{project.name}_{mount.source}"
    path = f"{volumes_root}/{name}"
    if volume is not None and volume.external and not os.path.isdir(path):
        raise PlanError(
            f"volume {name!r} is external and does not exist",
            hint="remove `external`, or create it with a spec that owns it",
        )
    return path, Prepare("volume", path, name)


def _subpath(mount: Mount) -> str:
    """Return the directory in the volume; the runtime finds it without leaving the volume."""
    subpath = mount.volume.subpath if mount.volume is not None else None
    if subpath and (".." in subpath.split("/") or subpath.startswith("/")):
        raise PlanError(f"volume {mount.source!r}: subpath {subpath!r} leaves the volume")
    return subpath or ""


def generated(
    service: Service, hostname: str, host_resolv_conf: str, attachment: Attachment | None = None,
    servers: list[str] | None = None,
) -> tuple[oci.File, ...]:  # fmt: skip
    """Return /etc/hosts, /etc/hostname and /etc/resolv.conf.

    Args:
        service: whose files these are.
        hostname: its host name.
        host_resolv_conf: the host's.
        attachment: its networks.
        servers: the resolvers of its networks.
    """
    if attachment is not None and attachment.endpoints:
        from gocker.network.hosts import own_lines

        hosts = [*_HOST_LINES, *own_lines(hostname, attachment)]
    else:
        hosts = [*_HOST_LINES, f"127.0.1.1\t{hostname}"]
    for name, given in service.extra_hosts.items():
        addresses = given
        if "host-gateway" in given:
            from gocker.network.hosts import host_gateway

            addresses = tuple(host_gateway(given, attachment))
        hosts += [f"{_one_line(address)}\t{_one_line(name)}" for address in addresses]
    return (
        {"path": "/etc/hosts", "content": "\n".join(hosts) + "\n", "mode": 0o644},
        {"path": "/etc/hostname", "content": f"{hostname}\n", "mode": 0o644},
        {"path": "/etc/resolv.conf",
         "content": _resolv_conf(service, host_resolv_conf, servers or []), "mode": 0o644},
    )  # fmt: skip


def _resolv_conf(service: Service, host: str, servers: list[str]) -> str:
    """Return resolv.conf(5): the spec's own lines, or the host's where its network is shared.

    A project's resolver knows of the spec's servers and asks them itself.
    """
    lines = [f"nameserver {_one_line(address)}" for address in servers or service.dns]
    if service.dns_search:
        lines.append("search " + " ".join(_one_line(name) for name in service.dns_search))
    if service.dns_opt:
        lines.append("options " + " ".join(_one_line(option) for option in service.dns_opt))
    if not lines and service.network_mode == "host":
        return host
    return "".join(f"{line}\n" for line in lines)


def _one_line(text: str) -> str:
    """Refuse what could add a line or a word to a generated file (security.md D6)."""
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise PlanError(f"{text!r} has white space or control characters")
    return text


def grants(service: Service, project: Project, environ: Mapping[str, str]) -> tuple[oci.File, ...]:
    """Return the service's secrets and configs with their content.

    Raises:
        PlanError: naming the secret, never its value.
    """
    found = []
    for grant in service.secrets:
        secret = project.secrets[grant.source]
        content = _content("secret", grant.source, secret.file, secret.environment, None, environ)
        target = grant.target or grant.source
        path = target if target.startswith("/") else f"/run/secrets/{target}"
        found.append(_grant(grant, path, content))
    for grant in service.configs:
        config = project.configs[grant.source]
        content = _content("config", grant.source, config.file, config.environment,
                           config.content, environ)  # fmt: skip
        target = grant.target or grant.source
        found.append(_grant(grant, target if target.startswith("/") else f"/{target}", content))
    total = sum(len(item["content"]) for item in found)
    if total > MAX_GRANTS:
        raise PlanError(
            f"secrets and configs of one service have {total} bytes; the most is {MAX_GRANTS}",
            hint="use a read-only volume for large files",
        )
    return tuple(found)


def _grant(grant: FileGrant, path: str, content: str) -> oci.File:
    mode = 0o444 if grant.mode is None else grant.mode
    return {
        "path": path, "content": content, "mode": mode,
        "uid": int(grant.uid or 0), "gid": int(grant.gid or 0),
    }  # fmt: skip


def _content(  # one source is set: the model has seen to it
    kind: str, name: str, file: str | None, variable: str | None, content: str | None,
    environ: Mapping[str, str],
) -> str:  # fmt: skip
    if content is not None:
        return content
    if variable is not None:
        if variable not in environ:
            raise PlanError(f"{kind} {name!r}: the variable {variable!r} is not set")
        return environ[variable]
    try:
        return os.fsdecode(read(file or "", MAX_GRANTS))
    except FileProblem as error:
        raise PlanError(f"{kind} {name!r}: cannot read {file!r}: {error}") from error
