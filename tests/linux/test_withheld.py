"""Kernels without one system call: a fallback that keeps the guarantee, or a clear refusal."""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM

import pytest

from tests import hosts
from tests.support.command import Gocker
from tests.support.withheld import withhold

pytestmark = pytest.mark.root


@pytest.mark.parametrize("number", [ENOSYS, EPERM], ids=["ENOSYS", "EPERM"])
@pytest.mark.parametrize("name", hosts.OUTCOMES)
def test_a_call_that_fails(gocker: Gocker, name: str, number: int) -> None:
    install = withhold([name], number)

    def enter() -> None:
        gocker._enter()
        install()

    spec = {"services": {"job": {"command": ["echo", "hello"]}}}
    result = gocker.up(spec, enter=enter)
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    if hosts.OUTCOMES[name] == hosts.REFUSED:
        assert result.code == 3, result
        assert name in result.err
        assert os.strerror(number) in result.err
        assert "seccomp" in result.err
        assert result.events("container.started") == []
        return
    assert result.code == 0, result
    assert result.log() == "hello\n"
    missing = [it["what"] for it in result.events("security.missing")]
    assert ("landlock" in missing) == name.startswith("landlock")
