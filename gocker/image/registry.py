"""A registry over HTTP: the OCI distribution protocol's requests, with authorization and retries.

urllib3 does the connections: it is maintained, has no dependencies of its own, keeps
connections, streams, and strips credentials when a redirect leaves the host. It is an extra
(``gocker[images]``) and imported here only. Source: distribution-spec 1.1; RFC 6750; Docker
Registry "Token Authentication".
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from contextlib import contextmanager

from gocker.errors import HostError
from gocker.image import document as doc
from gocker.image import registries
from gocker.image.document import wrong
from gocker.image.store import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import urllib3

    from gocker.image.document import Descriptor
    from gocker.image.reference import Name
    from gocker.image.registries import Endpoint
    from gocker.image.store import Ingest

_ACCEPT = ", ".join((*doc.MANIFESTS, *doc.INDEXES))
_DOCKER_HUB = "registry-1.docker.io"
_BUSY = (429, 500, 502, 503, 504)
_TRIES = 4
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
CONNECT_S, READ_S = 15.0, 60.0
# A registry may ask for patience, but not for all day.
_MOST_PATIENCE_S = 60.0


class RefusedError(HostError):
    """The registry answered with an error. `status`: HTTP's."""

    def __init__(self, message: str, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


def _urllib3() -> Any:
    try:
        import urllib3
    except ImportError as error:
        raise HostError(
            "images from registries need urllib3", hint="pip install 'gocker[images]'"
        ) from error
    return urllib3


class Client:
    """One host and repository: requests with authorization, tried again while that may help."""

    def __init__(
        self, endpoint: Endpoint, name: Name, environ: Mapping[str, str], *,
        authfile: str | None = None, wait_s: float = 0.3,
    ) -> None:  # fmt: skip
        self.urllib3 = _urllib3()
        self.endpoint = endpoint
        self._host = _DOCKER_HUB if endpoint.host == "docker.io" else endpoint.host
        self.repository = endpoint.prefix
        self._wait_s = wait_s
        self._credentials = registries.credentials(
            endpoint.host, endpoint.prefix or name.path, environ, authfile
        )
        self._tokens: dict[str, str] = {}
        self._basic = False
        self._lock = threading.Lock()
        self._scheme = "https"
        settings = registries.certificates(endpoint.host, environ)
        if endpoint.insecure:
            settings = {"cert_reqs": "CERT_NONE"}
            self.urllib3.disable_warnings(self.urllib3.exceptions.InsecureRequestWarning)
        if "ca_certs" in settings and not os.path.isfile(settings["ca_certs"]):
            raise HostError(f"the certificates {settings['ca_certs']!r} are not there")
        timeout = self.urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._pool: urllib3.PoolManager = self.urllib3.PoolManager(
            maxsize=8, timeout=timeout, **settings
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    # -- one request ---------------------------------------------------------------------------

    @contextmanager
    def request(
        self, method: str, path: str, *, scope: str = "pull", headers: dict[str, str] | None = None,
        body: Any = None, tries: int = _TRIES,
    ) -> Iterator[Any]:  # fmt: skip
        """Give the response to a request below ``/v2/`` or to a whole URL; its body is unread.

        Raises:
            RefusedError: an answer of 400 or more, 404 among them.
            HostError: no answer, or no trust in who answers.
        """
        response = self._answer(method, path, scope, headers or {}, body, tries)
        try:
            if response.status >= 400:
                raise self._refusal(response, method, path)
            yield response
        finally:
            response.drain_conn() if response.status >= 400 else response.close()
            response.release_conn()

    def _answer(
        self, method: str, path: str, scope: str, headers: dict[str, str], body: Any, tries: int
    ) -> Any:
        asked = False
        for attempt in range(1, tries + 1):
            own = {"User-Agent": "gocker", "Accept-Encoding": "identity", **headers}
            if self._is_ours(path):
                own |= self._authorization(scope)
            try:
                response = self._send(method, path, own, body)
            except self.urllib3.exceptions.HTTPError as error:
                if attempt == tries or not _may_pass(error):
                    raise self.unreachable(error) from error
                self.sleep(attempt)
                continue
            if response.status == 401 and not asked and self._is_ours(path):
                asked = True
                challenge = response.headers.get("WWW-Authenticate", "")
                response.drain_conn()
                self._authorize(challenge, scope)
                response = self._send(method, path, own | self._authorization(scope), body)
            if response.status not in _BUSY or attempt == tries:
                return response
            after = response.headers.get("Retry-After")
            response.drain_conn()
            response.release_conn()
            self.sleep(attempt, after)
        raise AssertionError  # the last try has returned or raised

    def _is_ours(self, path: str) -> bool:
        return path.startswith(("/", f"{self._scheme}://{self._host}/"))

    def _send(self, method: str, path: str, headers: dict[str, str], body: Any) -> Any:
        if not path.startswith("/"):
            return self._open(method, path, headers, body)
        try:
            return self._open(method, f"{self._scheme}://{self._host}{path}", headers, body)
        except (self.urllib3.exceptions.SSLError, self.urllib3.exceptions.MaxRetryError,
                self.urllib3.exceptions.NewConnectionError):  # fmt: skip
            # Plain HTTP only where somebody has asked for it.
            if not self.endpoint.insecure or self._scheme == "http":
                raise
            response = self._open(method, f"http://{self._host}{path}", headers, body)
            self._scheme = "http"
            return response

    def _open(self, method: str, url: str, headers: dict[str, str], body: Any) -> Any:
        if body is not None and hasattr(body, "seek"):
            body.seek(0)
        redirects = self.urllib3.Retry(total=5, connect=0, read=0, status=0, redirect=5, other=0)
        return self._pool.request(
            method, url, headers=headers, body=body, preload_content=False, decode_content=False,
            retries=redirects if method in ("GET", "HEAD") else False,
        )  # fmt: skip

    def sleep(self, attempt: int, after: str | None = None) -> None:
        """Wait before the next try: what the registry asks for, or twice as long each time."""
        wait = self._wait_s * 2 ** (attempt - 1)
        if after is not None and after.isdecimal():
            wait = min(float(after), _MOST_PATIENCE_S)
        time.sleep(wait)

    # -- authorization -------------------------------------------------------------------------

    def _authorization(self, scope: str) -> dict[str, str]:
        with self._lock:
            if self._basic and self._credentials is not None:
                return {"Authorization": self._credentials.basic()}
            token = self._tokens.get(scope)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _authorize(self, challenge: str, scope: str) -> None:
        """Do what a 401 asks for."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            if self._credentials is None:
                raise RefusedError(
                    f"{self._host} wants a user and a password", 401, hint=f"log in: {self._login}"
                )
            self._basic = True
        elif kind.lower() == "bearer":
            fields = dict(_CHALLENGE.findall(rest))
            token = self._token(fields, scope)
            with self._lock:
                self._tokens[scope] = token
        else:
            raise RefusedError(f"{self._host} wants an unknown authorization {kind[:40]!r}", 401)

    @property
    def _login(self) -> str:
        return f"podman login {self.endpoint.host}, or docker login {self.endpoint.host}"

    def _token(self, fields: dict[str, str], scope: str) -> str:
        realm = fields.get("realm", "")
        if not realm.startswith("https://") and not (
            self.endpoint.insecure and realm.startswith("http://")
        ):
            raise HostError(f"{self._host} sends credentials to {realm[:80]!r}, which is not https")
        wanted = f"repository:{self.repository}:{scope}"
        query = {"service": fields.get("service", ""), "scope": wanted}
        headers = {"User-Agent": "gocker"}
        known = self._credentials
        try:
            if known is not None and known.identity_token:
                form = {**query, "grant_type": "refresh_token", "client_id": "gocker",
                        "refresh_token": known.identity_token}  # fmt: skip
                response = self._pool.request_encode_body(
                    "POST", realm, fields=form, encode_multipart=False, headers=headers
                )
            else:
                if known is not None:
                    headers["Authorization"] = known.basic()
                response = self._pool.request("GET", realm, fields=query, headers=headers)
        except self.urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from error
        if response.status != 200:
            raise RefusedError(
                f"{realm} refuses the credentials for {self._host} ({response.status})",
                response.status, hint=f"log in: {self._login}",
            )  # fmt: skip
        try:
            found = json.loads(response.data)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise HostError(f"{realm} gave no token") from error
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise HostError(f"{realm} gave a token that is none")
        return token

    # -- what went wrong -----------------------------------------------------------------------

    def unreachable(self, error: Exception) -> HostError:
        """Return what a failed connection means."""
        reason = getattr(error, "reason", None) or error
        text = re.sub(r"<[^>]*>:? ?", "", str(reason))[:300]
        hint = None
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = (f"put its CA into /etc/containers/certs.d/{self.endpoint.host}/ca.crt; only "
                    "for tests: --tls-verify=false")  # fmt: skip
        elif "WRONG_VERSION_NUMBER" in text or "record layer" in text:
            hint = ("it does not speak TLS; if that is wanted: --tls-verify=false, "
                    f"{registries.INSECURE_VARIABLE}={self.endpoint.host}, or insecure = true "
                    "in registries.conf")  # fmt: skip
        return HostError(f"cannot reach the registry {self._host}: {text}", hint=hint)

    def _refusal(self, response: Any, method: str, path: str) -> RefusedError:
        try:
            data = response.read(65536)
            errors = json.loads(data)["errors"]
            text = "; ".join(f"{it['code']}: {it.get('message', '')}" for it in errors)[:300]
        except (ValueError, KeyError, TypeError, self.urllib3.exceptions.HTTPError):
            text = "no reason given"
        status = response.status
        hint = f"log in: {self._login}" if status in (401, 403) else None
        return RefusedError(
            f"{self._host} answers {status} to {method} {path[:200]}: {text}", status, hint
        )


def _may_pass(error: Exception) -> bool:
    """Whether a failed connection may succeed a moment later; bad certificates never do."""
    text = f"{error}{getattr(error, 'reason', '')}"
    return "CERTIFICATE" not in text and "WRONG_VERSION" not in text


class Repository:
    """An image's source in a registry: see `gocker.image.source.Source`."""

    parallel = 4

    def __init__(self, client: Client, name: Name) -> None:
        self._client = client
        self._name = name
        self._base = f"/v2/{client.repository}"

    def top(self) -> tuple[bytes, str]:
        """Return the manifest's or index's bytes and its media type."""
        return self._get_manifest(self._name.digest or self._name.tag or "latest")

    def _get_manifest(self, reference: str) -> tuple[bytes, str]:
        path = f"{self._base}/manifests/{reference}"
        with self._client.request("GET", path, headers={"Accept": _ACCEPT}) as response:
            data = _small(response)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return data, "" if media_type == "application/json" else media_type

    def digest(self) -> str | None:
        """Return what the name stands for now, without reading it; None if nobody says."""
        path = f"{self._base}/manifests/{self._name.digest or self._name.tag or 'latest'}"
        with self._client.request("HEAD", path, headers={"Accept": _ACCEPT}) as response:
            found: str | None = response.headers.get("Docker-Content-Digest")
        return found

    def document(self, wanted: Descriptor) -> bytes:
        """Return a manifest or configuration."""
        if wanted.media_type in doc.MANIFESTS + doc.INDEXES:
            return self._get_manifest(wanted.digest)[0]
        with self._client.request("GET", f"{self._base}/blobs/{wanted.digest}") as response:
            return _small(response)

    def fetch(self, wanted: Descriptor, ingest: Ingest) -> None:
        """Write a blob from ``ingest.offset`` on, going on after a cut where it was."""
        path = f"{self._base}/blobs/{wanted.digest}"
        idle = 0
        while ingest.offset < wanted.size:
            before = ingest.offset
            try:
                self._part(path, ingest)
            except self._client.urllib3.exceptions.HTTPError as error:
                idle = 0 if ingest.offset > before else idle + 1
                if idle >= _TRIES:
                    raise self._client.unreachable(error) from error
                self._client.sleep(idle + 1)
                continue
            if ingest.offset < wanted.size:
                idle = 0 if ingest.offset > before else idle + 1
                if idle >= _TRIES:
                    raise wrong(f"{wanted.digest} ends after {ingest.offset} bytes")

    def _part(self, path: str, ingest: Ingest) -> None:
        headers = {"Range": f"bytes={ingest.offset}-"} if ingest.offset else {}
        try:
            with self._client.request("GET", path, headers=headers) as response:
                if ingest.offset and not _continues(response, ingest.offset):
                    ingest.restart()
                for data in response.stream(CHUNK, decode_content=False):
                    ingest.write(data)
        except RefusedError as error:
            if error.status != 416 or not ingest.offset:
                raise
            ingest.restart()


def _continues(response: Any, offset: int) -> bool:
    found = response.headers.get("Content-Range", "")
    return bool(response.status == 206 and found.startswith(f"bytes {offset}-"))


def _small(response: Any) -> bytes:
    data = b""
    for chunk in response.stream(65536, decode_content=False):
        data += chunk
        if len(data) > doc.MAX_DOCUMENT:
            raise wrong(f"a document has more than {doc.MAX_DOCUMENT} bytes")
    return data
