"""Random graphs with random outcomes: the rules of `Watch` hold and every run ends."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gocker.plan.model import Dependency, Healthcheck, MatrixGroup, Plan, Restart, Retry, Unit
from gocker.scheduler.messages import Interrupted, LauncherLost, Result
from tests.unit.scheduler.simulator import Run, Simulator

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
HEALTH = Healthcheck(("true",), interval_s=1, timeout_s=1, retries=2, start_period_s=1.5)
RETRIES = (Retry(), Retry(1), Retry(2, ("oom",), 0.5, 2.0), Retry(2, ("exit:1-5", "timeout")))
ENDINGS = ({"code": 0}, {"code": 0}, {"code": 3}, {"code": None, "signal": 9})
EVIDENCE: tuple[dict[str, Any], ...] = (
    {}, {}, {"memory.oom_kills": 1}, {"memory.oom_kills": None, "pids.denied": 3},
)  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    units: dict[str, Unit] = {}
    for index in range(draw(st.integers(1, 9))):
        name = f"u{index}"
        role = draw(st.sampled_from(("job", "job", "support")))
        edges = []
        for other in (
            draw(st.lists(st.sampled_from(sorted(units)), unique=True, max_size=3))
            if (units)
            else ()
        ):
            possible = CONDITIONS if units[other].health else (CONDITIONS[0], CONDITIONS[2])
            # Nobody may wait for the end of a service that has no end.
            if units[other].role == "support":
                possible = tuple(c for c in possible if c != CONDITIONS[2])
            required = draw(st.integers(0, 3)) > 0
            edges.append(Dependency(other, draw(st.sampled_from(possible)), required))
        support = role == "support"
        conditions = ("no", "on-failure", "always") if support else ("no", "on-failure")
        units[name] = Unit(
            name=name,
            service=name,
            image="host:/",
            role=role,
            depends=tuple(edges),
            when=draw(st.sampled_from(("on_success", "on_success", "on_failure", "always"))),
            timeout_s=draw(st.sampled_from((None, 3.0))),
            retry=draw(st.sampled_from(RETRIES)),
            restart=Restart(draw(st.sampled_from(conditions)), 2),
            allow_failure=draw(st.integers(0, 5)) == 0,
            stop_grace_s=draw(st.sampled_from((0.0, 2.0))),
            health=draw(st.sampled_from((None, HEALTH))),
            matrix=draw(st.sampled_from((None, "m"))) if not support else None,
        )
    group = MatrixGroup(draw(st.sampled_from((None, 1, 2))), draw(st.booleans()))
    return Plan("p", units, matrices={"m": group}, parallel=draw(st.integers(1, 3)))


runs = st.builds(
    lambda ending, **fields: Run(**ending, **fields),
    st.sampled_from(ENDINGS),
    duration=st.sampled_from((0.0, 0.5, 2.0, 5.0)),
    start_s=st.sampled_from((0.0, 0.1, 4.0)),
    error=st.sampled_from((None, None, None, None, {"type": "CommandNotFound", "message": "m"})),
    evidence=st.sampled_from(EVIDENCE),
    stop_s=st.sampled_from((0.0, 0.5, None)),
    stop_code=st.sampled_from((None, 0, 1)),
    probes=st.lists(st.sampled_from((0, 0, 1, None)), min_size=1, max_size=4).map(tuple),
    probe_s=st.sampled_from((0.0, 0.5)),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "fail_fast": st.booleans(),
        "max_time_s": st.sampled_from((0.0, 2.5, 6.0)),
        "abort_on_container_exit": st.booleans(),
        "abort_on_container_failure": st.booleans(),
        "wait": st.booleans(),
        "detached": st.booleans(),
        "exit_code_from": st.just("u0"),
    },
)
shocks = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.3, 1.0, 2.0, 4.5)),
        st.sampled_from(
            (Interrupted(2), Interrupted(15), LauncherLost({"type": "HostError", "message": "m"}))
        ),
    ),
    max_size=2,
)


def simulate(
    plan: Plan, behaviour: list[Run], given_options: dict[str, Any], events: list[Any]
) -> tuple[Simulator, Result]:
    def pick(name: str, attempt: int) -> Run:
        return behaviour[(int(name[1:]) * 7 + attempt) % len(behaviour)]

    simulator = Simulator(plan, pick, **given_options)
    for when, event in events:
        simulator.at(when, event)
    return simulator, simulator.run()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans(), st.lists(runs, min_size=1, max_size=8), options, shocks)
def test_every_run_ends_within_its_rules(
    plan: Plan, behaviour: list[Run], given_options: dict[str, Any], events: list[Any]
) -> None:
    simulator, result = simulate(plan, behaviour, given_options, events)
    assert simulator.watch.alive == {}
    assert set(result.outcomes) == set(plan.units)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans(), st.lists(runs, min_size=1, max_size=8), st.booleans())
def test_the_exit_code_says_whether_a_unit_failed(
    plan: Plan, behaviour: list[Run], fail_fast: bool
) -> None:
    _, result = simulate(plan, behaviour, {"fail_fast": fail_fast}, [])
    assert result.exit_code == any(outcome.failed for outcome in result.outcomes.values())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans(), st.lists(runs, min_size=1, max_size=8))
def test_nothing_is_skipped_without_a_failure_or_a_rule(plan: Plan, behaviour: list[Run]) -> None:
    simulator, result = simulate(plan, behaviour, {}, [])
    for record in simulator.records("job.skipped"):
        because = record["because"]
        if because in ("not_needed", "no_failure", "fail_fast"):
            continue
        cause = result.outcomes[because]
        assert cause.verdict not in ("ok",)
        assert cause.failed or cause.allowed or cause.verdict in ("skipped", "cancelled")
