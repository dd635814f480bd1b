from __future__ import annotations

import json
from pathlib import Path

import pytest

from gocker.errors import HostError, PlanError
from gocker.image import document as doc
from gocker.image import registries
from gocker.image.acquire import age_s
from gocker.image.reference import absolute, parse, parse_name

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("user/app", "docker.io/user/app:latest"),
        ("quay.example/a/b:tag", "quay.example/a/b:tag"),
        ("localhost/x", "localhost/x:latest"),
        ("host:5000/x", "host:5000/x:latest"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y"),
        (f"app:1@{DIGEST}", f"docker.io/library/app@{DIGEST}"),
        ("index.docker.io/library/x", "docker.io/library/x:latest"),
    ],
)
def test_names_are_completed_as_people_mean_them(text: str, whole: str) -> None:
    assert str(parse_name(text)) == whole
    assert str(parse_name(whole)) == whole
    assert str(parse_name(parse_name(text).familiar)) == whole


@pytest.mark.parametrize(
    "text",
    ["../../etc", "a/../../b", "-rm", "x" * 300, "ex\u0430mple/a", "a\nb", "a b", "A/B", "a:..",
     "a:/x", "a//b", "/a", "a/", "http://a/b", "a" * 64, "a@sha256:1", "a@md5:" + "a" * 64,
     "sha256:../../x", "", ":", "@", "a:" + "t" * 129],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "kind", "value", "selector"),
    [
        ("oci:/a/b", "oci", "/a/b", ""),
        ("oci:dir:tag", "oci", "dir", "tag"),
        ("docker-archive:x.tar:a/b:1", "docker-archive", "x.tar", "a/b:1"),
        ("oci-archive:x", "oci-archive", "x", ""),
        (DIGEST, "id", DIGEST, ""),
        (f"@{DIGEST}", "id", DIGEST, ""),
        ("rootfs:x.tar", "rootfs", "x.tar", ""),
    ],
)
def test_transports_are_skopeos(text: str, kind: str, value: str, selector: str) -> None:
    found = parse(text)
    assert (found.kind, found.value, found.selector) == (kind, value, selector)


def test_a_file_is_known_by_its_whole_path(tmp_path: Path) -> None:
    assert absolute(parse("oci:x:tag"), str(tmp_path)) == f"oci:{tmp_path}/x:tag"


@pytest.mark.parametrize(
    ("policy", "age"),
    [("always", 0), ("daily", 86_400), ("weekly", 604_800), ("every_1d12h", 129_600),
     ("every_90s", 90), ("missing", None), ("never", None), ("build", None)],
)  # fmt: skip
def test_policies_are_ages(policy: str, age: float | None) -> None:
    assert age_s(policy) == age


@pytest.mark.parametrize("policy", ["sometimes", "every_", "every_x", "every_1y"])
def test_another_policy_is_refused(policy: str) -> None:
    with pytest.raises(PlanError):
        age_s(policy)


# -- documents ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"[]", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"[" * 100_000, b"x" * (5 << 20)]
)  # fmt: skip
def test_only_plain_json_objects_are_documents(data: bytes) -> None:
    with pytest.raises(HostError):
        doc.parse_json(data, "manifest")


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "", None, 1,
     "sha256:" + "a" * 64 + "\n"],
)  # fmt: skip
def test_only_digests_become_paths(digest: object) -> None:
    with pytest.raises(HostError):
        doc.checked_digest(digest)


def index(*platforms: dict[str, str] | None) -> doc.Json:
    entries = [
        {"mediaType": doc.OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 1,
         **({"platform": platform} if platform else {})}
        for number, platform in enumerate(platforms)
    ]  # fmt: skip
    return {"schemaVersion": 2, "manifests": entries}


def test_the_best_platform_of_an_index_is_chosen() -> None:
    made = index(
        {"os": "unknown", "architecture": "unknown"}, {"os": "linux", "architecture": "arm64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
    )  # fmt: skip
    assert doc.choose(made, doc.Platform("linux", "arm64", "v8")).digest.endswith("2")
    assert doc.choose(made, doc.Platform("linux", "arm64")).digest.endswith("1")
    assert doc.choose(made, doc.Platform("linux", "arm", "v7")).digest.endswith("3")
    with pytest.raises(HostError) as caught:
        doc.choose(made, doc.Platform("linux", "arm", "v6"))
    assert "linux/arm/v7" in (caught.value.hint or "")


# -- what is configured ------------------------------------------------------------------------


def test_the_longest_prefix_of_registries_conf_counts(tmp_path: Path) -> None:
    file = tmp_path / "registries.conf"
    file.write_text(
        '[[registry]]\nlocation = "reg.example"\ninsecure = true\n'
        '[[registry]]\nprefix = "reg.example/team"\nlocation = "other.example/t"\n'
        '[[registry.mirror]]\nlocation = "mirror.example"\n'
        '[[registry]]\nlocation = "bad.example"\nblocked = true\n'
    )
    environ = {"CONTAINERS_REGISTRIES_CONF": str(file)}
    (own,) = registries.endpoints("reg.example", "x", environ)
    assert (own.host, own.prefix, own.insecure) == ("reg.example", "x", True)
    mirror, real = registries.endpoints("reg.example", "team/app", environ)
    assert (mirror.host, mirror.prefix, mirror.insecure) == ("mirror.example", "app", False)
    assert (real.host, real.prefix, real.insecure) == ("other.example", "t/app", False)
    with pytest.raises(HostError, match="blocked"):
        registries.endpoints("bad.example", "x", environ)
    (named,) = registries.endpoints("h:1", "x", {registries.INSECURE_VARIABLE: "a, h:1"})
    assert named.insecure


def test_credentials_are_the_most_special_ones(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {
        "reg.example": {"auth": "YTpi"}, "reg.example/team": {"auth": "Yzpk"},
        "https://index.docker.io/v1/": {"identitytoken": "t", "auth": ""},
    }}))  # fmt: skip

    def find(domain: str, path: str) -> registries.Credentials | None:
        return registries.credentials(domain, path, {}, str(file))

    assert find("reg.example", "x/y") == registries.Credentials("a", "b")
    assert find("reg.example", "team/y") == registries.Credentials("c", "d")
    assert find("docker.io", "library/x") == registries.Credentials("", "", "t")
    assert find("none.example", "x") is None
    file.write_text("{")
    with pytest.raises(HostError):
        find("reg.example", "x")
