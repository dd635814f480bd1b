from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import PlanError
from gocker.plan import bundle
from gocker.plan.model import Container


def made(linux: dict[str, Any], **fields: Any) -> Container:
    config: Any = {
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "linux": linux,
        "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/v", "source": "/volume", "subpath": "a/b"}],
    }  # fmt: skip
    return Container(config=config, lower=("/lower",), **fields)


def test_a_subpath_is_said_in_oci_s_words() -> None:
    mounts = bundle.config(made({}), "name", "/bundle")["mounts"]
    assert mounts[0]["source"] == "/volume/a/b"
    assert "subpath" not in mounts[0]


@pytest.mark.parametrize(
    ("linux", "fields", "word"),
    [
        ({"uidMappings": []}, {}, "userns auto"),
        ({}, {"joins": (("pid", "other"),)}, "shares namespaces"),
    ],
)
def test_what_a_bundle_cannot_say(linux: dict[str, Any], fields: dict[str, Any], word: str) -> None:
    with pytest.raises(PlanError, match=word):
        bundle.config(made(linux, **fields), "name", "/bundle")
