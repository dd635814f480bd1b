"""What is configured about registries: mirrors, insecure ones, certificates, credentials.

Read from the files that docker, podman and skopeo use, so that nothing has to be set up again:
containers-registries.conf(5), containers-certs.d(5), containers-auth.json(5), Docker's
``config.json`` and credential helpers (docker-credential-helpers' protocol).
"""

from __future__ import annotations

import base64
import binascii
import json
import os

from gocker.errors import HostError
from gocker.state import rootless
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

INSECURE_VARIABLE = "GOCKER_INSECURE_REGISTRIES"
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a repository can be asked for. `prefix`: of the path on that host, for mirrors."""

    host: str
    prefix: str = ""
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's password, or a token that a token server takes in its place."""

    username: str
    password: str
    identity_token: str = ""

    def basic(self) -> str:
        """Return the value of a header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST)
    except FileNotFoundError:
        return None
    except (NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise HostError(f"cannot read {path!r}: {error.strerror}") from error


def endpoints(
    domain: str, path: str, environ: Mapping[str, str], *, insecure: bool = False
) -> list[Endpoint]:
    """Return where to ask for a repository, mirrors first.

    Args:
        domain: of the image's name.
        path: of the image's name.
        environ: for the places of files, and GOCKER_INSECURE_REGISTRIES, names with commas.
        insecure: asked for on the command line.

    Raises:
        HostError: if a file is no TOML, or the registry is blocked.
    """
    named = environ.get(INSECURE_VARIABLE, "").split(",")
    insecure = insecure or domain in (name.strip() for name in named)
    entry = _registry(domain, path, environ)
    if entry.get("blocked") is True:
        raise HostError(f"the registry {domain!r} is blocked by registries.conf")
    prefix = str(entry.get("prefix") or entry.get("location") or domain)
    own = _endpoint(str(entry.get("location") or prefix), entry, insecure=insecure)
    rest = f"{domain}/{path}".removeprefix(prefix).strip("/")
    own = Endpoint(own.host, "/".join(filter(None, (own.prefix, rest))), own.insecure)
    found = []
    for mirror in entry.get("mirror") or ():
        if isinstance(mirror, dict) and isinstance(mirror.get("location"), str):
            made = _endpoint(mirror["location"], mirror, insecure=False)
            joined = "/".join(filter(None, (made.prefix, rest)))
            found.append(Endpoint(made.host, joined, made.insecure))
    return [*found, own]


def _endpoint(location: str, entry: Json, *, insecure: bool) -> Endpoint:
    host, _, prefix = location.partition("/")
    return Endpoint(host, prefix.strip("/"), insecure or entry.get("insecure") is True)


def _registry(domain: str, path: str, environ: Mapping[str, str]) -> Json:
    """Return the entry of registries.conf with the longest prefix of the name."""
    name = f"{domain}/{path}"
    best: Json = {}
    length = -1
    for file in _configurations(environ):
        data = _read(file)
        if data is None:
            continue
        import tomllib

        try:
            document = tomllib.loads(data.decode())
        except ValueError as error:
            raise HostError(f"{file}: {error}") from error
        for entry in document.get("registry") or ():
            if not isinstance(entry, dict):
                continue
            prefix = entry.get("prefix") or entry.get("location")
            if not isinstance(prefix, str) or len(prefix) <= length:
                continue
            if name == prefix or name.startswith(f"{prefix}/") or domain == prefix:
                best, length = entry, len(prefix)
        break  # the first file there is, as podman does
    return best


def _configurations(environ: Mapping[str, str]) -> list[str]:
    named = environ.get("CONTAINERS_REGISTRIES_CONF")
    if named:
        return [named]
    own = os.path.join(_home(environ), ".config/containers/registries.conf")
    return [own, "/etc/containers/registries.conf"]


def certificates(host: str, environ: Mapping[str, str]) -> Json:
    """Return arguments for urllib3: an own CA, and a client's certificate."""
    found: Json = {}
    for top in (
        os.path.join(_home(environ), ".config/containers/certs.d"),
        "/etc/containers/certs.d", "/etc/docker/certs.d",
    ):  # fmt: skip
        directory = os.path.join(top, host)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            path = os.path.join(directory, name)
            if name.endswith(".crt"):
                found.setdefault("ca_certs", path)
            elif name.endswith(".cert"):
                found.setdefault("cert_file", path)
                found.setdefault("key_file", path.removesuffix(".cert") + ".key")
        break
    if "ca_certs" not in found and environ.get("SSL_CERT_FILE"):
        found["ca_certs"] = environ["SSL_CERT_FILE"]
    return found


def credentials(
    domain: str, path: str, environ: Mapping[str, str], authfile: str | None = None
) -> Credentials | None:
    """Return the credentials for a repository, None if there are none.

    Raises:
        HostError: if a file is damaged, or a helper fails.
    """
    for file in [authfile] if authfile else _auth_files(environ):
        data = _read(file)
        if data is None:
            continue
        try:
            document = json.loads(data)
        except ValueError as error:
            raise HostError(f"{file}: no JSON") from error
        if isinstance(document, dict):
            found = _of_file(document, domain, path, environ, file)
            if found is not None:
                return found
    return None


def _auth_files(environ: Mapping[str, str]) -> list[str]:
    named = environ.get("REGISTRY_AUTH_FILE")
    if named:
        return [named]
    home = _home(environ)
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{rootless.uid()}"
    docker = environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    return [
        os.path.join(runtime, "containers/auth.json"), os.path.join(runtime, "auth.json"),
        os.path.join(home, ".config/containers/auth.json"), os.path.join(docker, "config.json"),
    ]  # fmt: skip


def _keys(domain: str, path: str) -> list[str]:
    """Return the keys under which credentials may be, the most special first."""
    parts = path.split("/")
    found = [f"{domain}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
    found += [domain, f"https://{domain}", f"http://{domain}"]
    return [*found, _DOCKER_HUB_KEY] if domain == "docker.io" else found


def _of_file(
    document: Json, domain: str, path: str, environ: Mapping[str, str], file: str
) -> Credentials | None:
    helpers = document.get("credHelpers")
    auths = document.get("auths")
    for key in _keys(domain, path):
        if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
            return _ask_helper(helpers[key], key, environ)
        entry = auths.get(key) if isinstance(auths, dict) else None
        if isinstance(entry, dict) and (entry.get("auth") or entry.get("identitytoken")):
            return _decoded(entry, file)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        return _ask_helper(store, _DOCKER_HUB_KEY if domain == "docker.io" else domain, environ)
    return None


def _decoded(entry: Json, file: str) -> Credentials:
    try:
        user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (binascii.Error, ValueError, TypeError) as error:
        raise HostError(f"{file}: an entry's auth is damaged", hint="log in again") from error
    return Credentials(user, password.rstrip("\0"), str(entry.get("identitytoken") or ""))


def _ask_helper(name: str, server: str, environ: Mapping[str, str]) -> Credentials | None:
    program = f"docker-credential-{name}"
    if "/" in name:
        raise HostError(f"the credential helper {name!r} is no name")
    status, output = _run(program, ["get"], f"{server}\n".encode(), environ)
    if status:
        if b"not found" in output:
            return None
        text = output.decode("utf-8", "replace").strip()[:200]
        raise HostError(f"{program} failed: {text or status}")
    try:
        found = json.loads(output)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"{program} gave no credentials") from error
    if user == "<token>":
        return Credentials("", "", str(secret))
    return Credentials(str(user), str(secret))


def _run(
    program: str, arguments: list[str], data: bytes, environ: Mapping[str, str]
) -> tuple[int, bytes]:
    """Run a program with `data` as input; return its exit status and output."""
    input_read, input_write = os.pipe()
    output_read, output_write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, input_read, 0), (os.POSIX_SPAWN_DUP2, output_write, 1)]
    try:
        pid = os.posix_spawnp(program, [program, *arguments], dict(environ), file_actions=actions)
    except OSError as error:
        os.close(input_write)
        os.close(output_read)
        raise HostError(f"cannot run {program}: {error.strerror}") from error
    finally:
        os.close(input_read)
        os.close(output_write)
    try:
        with open(input_write, "wb") as stream:
            stream.write(data)
    except BrokenPipeError:
        pass  # its output says why
    with open(output_read, "rb") as stream:
        output = stream.read(_MOST)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), output
