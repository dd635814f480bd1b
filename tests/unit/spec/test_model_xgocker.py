"""The batch extensions: short forms, bounds, and unknown keys."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import SpecError
from gocker.spec.model import Project


def load(extension: Any, top: Any = None) -> Project:
    model = {"name": "p", "services": {"job": {"x-gocker": extension}}, "x-gocker": top}
    return Project.from_canonical(model, lambda _: None)


def parsed(extension: Any) -> Any:
    return load(extension).services["job"].x_gocker


def problem(extension: Any, top: Any = None) -> tuple[str, str, str | None]:
    with pytest.raises(SpecError) as caught:
        load(extension, top)
    (only,) = caught.value.problems
    return only.path, only.message, only.hint


def test_nothing_is_set_by_default() -> None:
    it = parsed({})
    assert it.timeout is it.retry is it.allow_failure is it.matrix is it.limits is None
    assert it.when == "on_success"


def test_retry_may_be_a_number() -> None:
    assert parsed({"retry": 2}).retry.max == 2
    assert parsed({"retry": 2}).retry.when == ()


def test_retry_in_full() -> None:
    when = ["oom", "timeout", "exit:75", "exit:1-9"]
    retry = parsed({"retry": {"max": 3, "when": when, "delay": "5s", "backoff": 2}}).retry
    assert (retry.max, retry.when, retry.delay, retry.backoff) == (3, tuple(when), 5.0, 2.0)


def test_retry_refuses_a_cause_that_is_no_failure() -> None:
    path, message, _ = problem({"retry": {"max": 1, "when": ["ok"]}})
    assert path == "services.job.x-gocker.retry.when[0]"
    assert message.startswith("'ok' is not exit, oom, ")


def test_allow_failure_may_be_true_or_exit_codes() -> None:
    assert parsed({"allow_failure": True}).allow_failure.any is True
    allowed = parsed({"allow_failure": {"exit_codes": 77}}).allow_failure
    assert (allowed.any, allowed.exit_codes) == (False, (77,))


def test_exit_codes_have_eight_bits() -> None:
    assert problem({"success_codes": [256]})[:2] == (
        "services.job.x-gocker.success_codes[0]", "must be at most 255, is 256"
    )  # fmt: skip


def test_limits_may_be_a_word() -> None:
    assert parsed({"limits": "best-effort"}).limits.enforce == "best-effort"


def test_limits_in_full() -> None:
    limits = parsed({"limits": {"fail_on": ["pids", "throttled>50%"]}}).limits
    assert (limits.enforce, limits.fail_on) == ("strict", ("pids", "throttled>50%"))


def test_artifacts_may_be_a_list() -> None:
    artifacts = parsed({"artifacts": ["/out/**"]}).artifacts
    assert (artifacts.paths, artifacts.when) == (("/out/**",), "always")


def test_artifacts_in_full() -> None:
    artifacts = parsed({"artifacts": {"paths": ["/o"], "when": "on_failure", "max_size": "1m"}})
    assert artifacts.artifacts.max_size == 1 << 20


def test_reports_name_junit_files() -> None:
    assert parsed({"reports": {"junit": "/out/j.xml"}}).reports.junit == ("/out/j.xml",)


def test_ready_is_a_line_or_a_port() -> None:
    assert parsed({"ready": {"log": "^up$"}}).ready.log == "^up$"
    assert problem({"ready": {}})[1] == "needs either log or port"
    assert problem({"ready": {"log": "("}})[0] == "services.job.x-gocker.ready.log"


@pytest.mark.parametrize("timeout", [0, "0s", 90, "ten"])
def test_a_timeout_is_a_duration_above_zero(timeout: Any) -> None:
    assert problem({"timeout": timeout})[0] == "services.job.x-gocker.timeout"


def test_unknown_keys_have_a_suggestion() -> None:
    assert problem({"allow_failures": True}) == (
        "services.job.x-gocker.allow_failures", "unknown key", "did you mean 'allow_failure'?"
    )  # fmt: skip
    assert problem({"retry": {"mx": 1}})[0] == "services.job.x-gocker.retry.mx"


def test_the_top_level() -> None:
    top = load({}, {"timeout": "30m", "parallel": 4, "fail_fast": True, "keep": "on_failure",
                    "admission": "reserve", "mask": ["TOKEN"]}).x_gocker  # fmt: skip
    assert top is not None
    assert (top.timeout, top.parallel, top.fail_fast) == (1800.0, 4, True)
    assert (top.keep, top.admission, top.mask) == ("on_failure", "reserve", ("TOKEN",))


def test_the_top_level_is_checked_too() -> None:
    assert problem({}, {"parallel": 0})[:2] == (
        "x-gocker.parallel", "must be at least 1, is 0"
    )  # fmt: skip
    assert problem({}, {"timout": "1s"})[2] == "did you mean 'timeout'?"


def test_an_extension_field_inside_the_extension_is_unknown() -> None:
    assert problem({"x-note": 1})[1] == "unknown key"


def test_podmans_rootfs_is_read_too() -> None:
    services = {"job": {"x-podman.rootfs": "/srv/root", "x-gocker": {"retry": 1}}}
    it = Project.from_canonical({"name": "p", "services": services}, lambda _: None)
    extension = it.services["job"].x_gocker
    assert extension is not None
    assert (extension.rootfs, extension.retry is not None) == ("/srv/root", True)


def test_wrong_values_of_a_matrix_are_told_once() -> None:
    assert problem({"matrix": {"PY": [3.1]}})[0] == "services.job.x-gocker.matrix.PY[0]"
    assert problem({"matrix": {"PY": []}})[:2] == (
        "services.job.x-gocker.matrix.PY", "must not be empty"
    )  # fmt: skip
