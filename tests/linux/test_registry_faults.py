"""A registry that cuts, refuses and lies: a correct image, or a clear error and nothing left."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import badregistry, images
from tests.support.badregistry import Answer, Fault, Request, Server
from tests.support.command import Gocker, Result
from tests.support.images import archive, member

pytestmark = pytest.mark.root
INSECURE = "--tls-verify=false"


@pytest.fixture
def gocker(gocker: Gocker) -> Iterator[Gocker]:
    with images.host_network(gocker) as made:
        yield made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    layout = images.Layout(tmp_path / "oci")
    noise = archive([member("noise", os.urandom(3_000_000))])
    entry = layout.image([images.busybox_layer(), noise], {})
    with badregistry.serve(layout, entry["digest"]) as made:
        yield made


def pull(gocker: Gocker, server: Server, **how: Any) -> Result:
    return gocker.command("image", "pull", INSECURE, f"{server.host}/t/box:1", **how)


def stored(gocker: Gocker) -> list[str]:
    """Return what the store has, but for what can be used by the next try."""
    top = gocker.data / "images"
    return sorted(
        str(path.relative_to(top))
        for name in ("refs", "blobs/sha256", "unpacked", "layers")
        for path in (top / name).glob("*")
    )


def cut(times: int, after: int) -> Fault:
    def fault(request: Request, answer: Answer) -> Answer | None:
        if request.count > times:
            return answer
        request.send(answer, cut_after=after)
        return None

    return fault


def busy(times: int, status: int) -> Fault:
    def fault(request: Request, answer: Answer) -> Answer | None:
        if request.count > times:
            return answer
        return status, {"Retry-After": "0"}, b"busy"

    return fault


def test_cut_connections_go_on_where_they_were(gocker: Gocker, server: Server) -> None:
    server.faults["blob"] = cut(times=4, after=400_000)
    pulled = pull(gocker, server)
    assert pulled.code == 0, pulled
    assert any(text.startswith("bytes=") for text in server.ranges)
    assert gocker.command("image", "verify").code == 0


def test_a_registry_that_ignores_ranges_is_read_from_the_start(
    gocker: Gocker, server: Server
) -> None:
    def fault(request: Request, answer: Answer) -> Answer | None:
        status, headers, body = answer
        if request.count <= 3:
            request.send(answer, cut_after=100_000)
            return None
        if status == 206:
            digest = request.path.rpartition("/")[2]
            headers, body = {}, (request.server.blobs / digest[7:]).read_bytes()
        return 200, headers, body

    server.faults["blob"] = fault
    assert pull(gocker, server).code == 0
    assert gocker.command("image", "verify").code == 0


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("kind", ["manifest", "blob"])
def test_a_busy_registry_is_asked_again(
    status: int, kind: str, gocker: Gocker, server: Server
) -> None:
    server.faults[kind] = busy(times=2, status=status)
    pulled = pull(gocker, server)
    assert pulled.code == 0, pulled
    assert server.seen[kind] > 2


def test_a_registry_that_stays_busy_is_given_up(gocker: Gocker, server: Server) -> None:
    server.faults["manifest"] = busy(times=1000, status=429)
    refused = pull(gocker, server)
    assert refused.code == 3
    assert "429" in refused.err
    assert stored(gocker) == []


def lie(change: Any) -> Fault:
    def fault(_: Request, answer: Answer) -> Answer:
        status, headers, body = answer
        return status, headers, change(body)

    return fault


LIES = {
    "another byte": lambda body: body[:-9] + bytes([body[-9] ^ 1]) + body[-8:],
    "too short": lambda body: body[:-1],
    "too long": lambda body: body + b"x",
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("name", LIES)
def test_lies_about_a_blob_leave_no_image(name: str, gocker: Gocker, server: Server) -> None:
    server.faults["blob"] = lie(LIES[name])
    refused = pull(gocker, server)
    assert refused.code == 3, refused
    assert "sha256:" in refused.err
    assert [it for it in stored(gocker) if not it.startswith("blobs/")] == []
    # The manifest alone; no blob under a digest that is not its own.
    assert gocker.command("image", "verify").code == 0
    del server.faults["blob"]
    assert pull(gocker, server).code == 0, "the next try is not spoilt by the last one"
    assert gocker.command("image", "verify").code == 0


def test_another_manifest_than_the_digest_asked_for(gocker: Gocker, server: Server) -> None:
    server.faults["manifest"] = lie(lambda body: body + b" ")
    name = f"{server.host}/t/box@{server.digest}"
    refused = gocker.command("image", "pull", INSECURE, name)
    assert refused.code == 3
    assert server.digest in refused.err
    assert stored(gocker) == []


def test_a_registry_that_is_not_there(gocker: Gocker) -> None:
    name = f"127.0.0.1:{images.free_port()}/t/box:1"
    refused = gocker.command("image", "pull", INSECURE, name)
    assert refused.code == 3
    assert "cannot reach the registry" in refused.err


def test_plain_http_is_taken_only_where_it_was_asked_for(gocker: Gocker, server: Server) -> None:
    refused = gocker.command("image", "pull", f"{server.host}/t/box:1")
    assert refused.code == 3
    assert "--tls-verify=false" in refused.err
    assert server.seen.total() == 0


def test_a_mirror_comes_first_and_the_registry_after_it(
    gocker: Gocker, server: Server, tmp_path: Path
) -> None:
    configuration = tmp_path / "registries.conf"
    configuration.write_text(
        '[[registry]]\nprefix = "registry.example"\nlocation = "registry.example"\n'
        f'[[registry.mirror]]\nlocation = "{server.host}/copies"\ninsecure = true\n'
    )
    environ = {"CONTAINERS_REGISTRIES_CONF": str(configuration)}
    pulled = gocker.command("image", "pull", "registry.example/t/box:1", environ=environ)
    assert pulled.code == 0, pulled
    assert gocker.command("image", "inspect", "registry.example/t/box:1").code == 0


# -- authorization and TLS ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Return a registry with TLS, an own CA and basic authorization, and its directory."""
    top = tmp_path_factory.mktemp("secure")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=top, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test CA", "-days",
            "2")  # fmt: skip
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "key", "-out", "csr", "-subj", "/CN=127.0.0.1")  # fmt: skip
    (top / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-out", "crt",
            "-days", "2", "-extfile", "ext")  # fmt: skip
    password = subprocess.run(
        ["htpasswd", "-Bbn", "user", "secret"], capture_output=True, text=True, check=True
    )
    (top / "htpasswd").write_text(password.stdout)
    layout = images.Layout(top / "oci")
    layout.image([images.busybox_layer()], {}, "box")
    with images.registry(
        top, http={"tls": {"certificate": str(top / "crt"), "key": str(top / "key")}},
        auth={"htpasswd": {"realm": "test", "path": str(top / "htpasswd")}},
    ) as host:  # fmt: skip
        images.skopeo("copy", "--dest-tls-verify=false", "--dest-creds=user:secret",
                      f"oci:{layout.path}:box", f"docker://{host}/t/box:1")  # fmt: skip
        yield host, top


def test_a_ca_and_credentials_from_dockers_files(gocker: Gocker, secure: tuple[str, Path]) -> None:
    host, top = secure
    home = gocker.root / "home"
    certificates = home / ".config/containers/certs.d" / host
    certificates.mkdir(parents=True)
    environ = {"HOME": str(home)}
    name = f"{host}/t/box:1"

    unknown = gocker.command("image", "pull", name, environ=environ)
    assert unknown.code == 3
    assert "certs.d" in unknown.err

    (certificates / "ca.crt").write_bytes((top / "ca.crt").read_bytes())
    nobody = gocker.command("image", "pull", name, environ=environ)
    assert nobody.code == 3
    assert "log in" in nobody.err

    (home / ".docker").mkdir()
    auths = {host: {"auth": base64.b64encode(b"user:secret").decode()}}
    (home / ".docker/config.json").write_text(json.dumps({"auths": auths}))
    assert gocker.command("image", "pull", name, environ=environ).code == 0
    pushed = gocker.command("image", "push", name, f"{host}/copy/box:2", environ=environ)
    assert pushed.code == 0, pushed

    auths[host]["auth"] = base64.b64encode(b"user:wrong").decode()
    (home / ".docker/config.json").write_text(json.dumps({"auths": auths}))
    wrong = gocker.command("image", "pull", name, environ=environ)
    assert wrong.code == 3
    assert "401" in wrong.err
    assert "wrong" not in wrong.err, "a password is nobody's"


def test_a_credential_helper_is_asked(gocker: Gocker, secure: tuple[str, Path]) -> None:
    host, top = secure
    programs = gocker.root / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread server\necho "$1 $server" >> "$0.log"\n'
        'echo \'{"ServerURL":"x","Username":"user","Secret":"secret"}\'\n'
    )
    helper.chmod(0o755)
    authfile = gocker.root / "auth.json"
    authfile.write_text(json.dumps({"credHelpers": {host: "test"}}))
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "SSL_CERT_FILE": str(top / "ca.crt")}
    pulled = gocker.command(
        "image", "pull", "--authfile", str(authfile), f"{host}/t/box:1", environ=environ
    )
    assert pulled.code == 0, pulled
    assert Path(f"{helper}.log").read_text() == f"get {host}\n"
