"""What `gocker run` changes of a service for its one container."""

from __future__ import annotations

import pytest

from tests.support.command import Gocker, Result

pytestmark = pytest.mark.root


def run(gocker: Gocker, *words: str, **service: object) -> Result:
    spec = {"services": {"job": {"command": ["true"], **service}}, "volumes": {"data": {}}}
    path = gocker.write(spec)
    return gocker.command("-f", str(path), "run", *words)


def test_volumes_are_added_and_replace_those_at_their_target(gocker: Gocker) -> None:
    for name in ("here", "other"):
        (gocker.root / name).mkdir()
        (gocker.root / name / "file").write_text(f"{name}\n")
    script = "cat /a/file /b/file; touch /b/x 2>&- || echo read only; echo new > /c/kept; ls /d"
    result = run(
        gocker, "-v", "./here:/a", "-v", f"{gocker.root}/other:/b:ro", "-v", "data:/c",
        "-v", "/d", "job", "sh", "-c", script, volumes=["./other:/a"],
    )  # fmt: skip
    assert (result.code, result.out) == (0, "here\nother\nread only\n"), result
    again = run(gocker, "-v", "data:/c", "job", "cat", "/c/kept")
    assert again.out == "new\n"
    gocker.down("-v")


def test_capabilities_labels_user_and_name(gocker: Gocker) -> None:
    result = run(
        gocker, "--cap-add", "NET_RAW", "--cap-drop", "CHOWN", "-l", "a.b=c", "--name", "once",
        "-e", "A=1", "-w", "/tmp", "job", "sh", "-c",
        "grep CapBnd /proc/self/status; echo $A; pwd", cap_drop=["NET_RAW"], environment={"A": "2"},
    )  # fmt: skip
    assert result.out.split() == ["CapBnd:", "00000000000025fa", "1", "/tmp"]
    assert result.code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-v", "a:b:c:d", "job"], "too many colons"),
        (["--publish", "x:y", "job"], "--publish"),
        (["--cap-add", "NOTHING", "job"], "unknown capability"),
        (["nothing"], "no such service"),
        (["-t", "-T", "job"], "contradict"),
    ],
)
def test_what_cannot_be_is_refused(gocker: Gocker, words: list[str], message: str) -> None:
    result = run(gocker, *words)
    assert (result.code, message in result.err) == (2, True), result
