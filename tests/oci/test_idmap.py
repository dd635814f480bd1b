"""config.md "Linux mount options": mappings of a mount's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.oci import Runtime

pytestmark = pytest.mark.root


@pytest.mark.parametrize("option", [[], ["idmap"]])
def test_a_mounts_own_mapping_counts_with_and_without_the_option(
    runtime: Runtime, tmp_path: Path, option: list[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 1000, 1001)
    ids = [{"containerID": 1000, "hostID": 5000, "size": 2}]
    runtime.config["mounts"].append(
        {"destination": "/mapped", "type": "bind", "source": str(source),
         "options": ["bind", *option], "uidMappings": ids, "gidMappings": ids}
    )  # fmt: skip
    assert runtime.run("/bin/stat", "-c", "%u:%g", "/mapped/file").stdout == "5000:5001\n"
