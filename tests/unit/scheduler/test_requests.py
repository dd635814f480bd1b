"""What users ask of a living run: stop, start, restart, kill, pause, another plan."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gocker.plan.model import Dependency, Healthcheck, Plan, Restart
from gocker.scheduler.messages import (
    Adopt,
    Answer,
    Await,
    BringDown,
    Event,
    Freeze,
    Interrupted,
    Kill,
    PauseUnits,
    Probe,
    RestartUnits,
    Signal,
    SignalUnits,
    Start,
    StartUnits,
    Stop,
    StopUnits,
    Verdict,
)
from gocker.values import replace
from tests.unit.scheduler.simulator import FOREVER, Run, Simulator, plan, unit, verdicts
from tests.unit.scheduler.test_properties import plans, runs

STARTED = "service_started"
DOWN = 100.0


def db_and_web(**fields: Any) -> Plan:
    web = unit("web", Dependency("db", STARTED, **fields), role="support")
    return plan(unit("db", role="support"), web)


def living(given_plan: Plan, *events: tuple[float, Event], **behaviour: Any) -> Simulator:
    """Run a detached project that is brought down in the end."""
    names = dict.fromkeys(given_plan.units, FOREVER) | behaviour
    simulator = Simulator(given_plan, lambda name, _: names.get(name, FOREVER), detached=True)
    for when, event in events:
        simulator.at(when, event)
    simulator.at(DOWN, BringDown())
    simulator.run()
    return simulator


def answers(simulator: Simulator) -> list[tuple[float, int, int]]:
    return [(when, c.token, c.exit_code) for when, c in simulator.log if isinstance(c, Answer)]


# Detached


def test_services_of_a_detached_project_outlive_its_jobs() -> None:
    db = unit("db", role="support")
    simulator = living(plan(db, unit("job", Dependency("db", STARTED))), job=Run(duration=2))
    assert simulator.times(Stop, "db") == [DOWN]
    assert simulator.machine.result().reason == "down"
    assert simulator.machine.result().exit_code == 0


def test_a_detached_run_ends_when_nothing_runs_any_more() -> None:
    simulator = Simulator(db_and_web(), {"db": Run(3), "web": Run(5)}, detached=True)
    simulator.run()
    assert simulator.now == 5


def test_always_restarts_a_detached_service_that_ended_well() -> None:
    web = unit("web", restart=Restart("always"))
    simulator = living(plan(web), web=Run(duration=30))
    assert len(simulator.times(Start, "web")) == 4
    # In the foreground it is a job: its success is the result.
    assert len(simulate_foreground(web).times(Start, "web")) == 1


def simulate_foreground(*units: Any) -> Simulator:
    simulator = Simulator(plan(*units), {"web": Run(duration=30)})
    simulator.run()
    return simulator


def test_down_stops_dependents_first_and_counts_as_interrupted_in_the_foreground() -> None:
    simulator = Simulator(db_and_web(), {"db": FOREVER, "web": Run(float("inf"), stop_s=3)})
    simulator.at(1, BringDown()).at(2, BringDown(0.5))
    assert simulator.run().exit_code == 143
    assert simulator.times(Stop, "web") == [1.0]
    assert simulator.times(Stop, "db") == [4.0]
    assert simulator.commands(Kill) == []


def test_the_timeout_of_down_counts_for_every_unit() -> None:
    deaf = Run(float("inf"), stop_s=None)
    simulator = Simulator(db_and_web(), {"db": deaf, "web": deaf}, detached=True)
    simulator.at(1, BringDown(2.0))
    simulator.run()
    assert (simulator.times(Kill, "web"), simulator.times(Kill, "db")) == ([3.0], [5.0])


# Stop and start


def test_stop_is_not_undone_by_a_restart_policy() -> None:
    web = unit("web", role="support", restart=Restart("always"))
    simulator = living(plan(web, unit("x")), (5, StopUnits(("web",))))
    assert len(simulator.times(Start, "web")) == 1
    assert verdicts(simulator.machine.result())["web"] == "ok"


def test_stop_goes_from_dependents_to_what_they_need() -> None:
    simulator = living(db_and_web(), (5, StopUnits(("db", "web"))), web=Run(float("inf"), stop_s=4))
    assert simulator.times(Stop, "web") == [5.0]
    assert simulator.times(Stop, "db") == [9.0]


def test_stop_of_a_dependency_leaves_its_dependents_alone() -> None:
    simulator = living(db_and_web(), (5, StopUnits(("db",))))
    assert simulator.times(Stop, "db") == [5.0]
    assert simulator.times(Stop, "web") == [DOWN]


def test_stop_has_its_own_timeout() -> None:
    web = unit("web", stop_grace_s=30)
    simulator = living(
        plan(web, unit("x")), (5, StopUnits(("web",), 1.0)), web=Run(float("inf"), stop_s=None)
    )
    assert simulator.times(Kill, "web") == [6.0]


def test_a_unit_that_waits_for_its_restart_is_stopped_at_once() -> None:
    web = unit("web", restart=Restart("always", delay_s=50))
    simulator = living(plan(web, unit("x")), (5, StopUnits(("web",))), web=Run(duration=1))
    assert len(simulator.times(Start, "web")) == 1


def test_start_runs_a_stopped_unit_again_after_what_it_needs() -> None:
    simulator = living(
        plan(*db_and_web().units.values(), unit("x")),
        (5, StopUnits(("db", "web"))), (9, StartUnits(("web",))), db=Run(float("inf"), start_s=2),
    )  # fmt: skip
    assert simulator.times(Start, "db") == [0.0, 9.0]
    assert simulator.times(Start, "web") == [2.0, 11.0]
    assert [c.attempt for c in simulator.commands(Start) if c.unit == "web"] == [1, 2]


def test_start_of_what_runs_changes_nothing() -> None:
    simulator = living(db_and_web(), (5, StartUnits(("db", "web"))))
    assert len(simulator.commands(Start)) == 2


def test_start_while_it_is_stopping_starts_it_when_it_has_ended() -> None:
    simulator = living(
        plan(unit("web"), unit("x")), (5, StopUnits(("web",))), (6, StartUnits(("web",))),
        web=Run(float("inf"), stop_s=4),
    )  # fmt: skip
    assert simulator.times(Start, "web") == [0.0, 9.0]


# Restart


def test_restart_ends_dependents_first_and_starts_them_last() -> None:
    simulator = living(
        db_and_web(), (5, RestartUnits(("db", "web"))), web=Run(float("inf"), stop_s=1),
        db=Run(float("inf"), start_s=2),
    )  # fmt: skip
    assert simulator.times(Stop, "web")[0] == 5.0
    assert simulator.times(Stop, "db")[0] == 6.0
    assert simulator.times(Start, "db") == [0.0, 6.0]
    assert simulator.times(Start, "web") == [2.0, 8.0]
    nexts = [c.next for c in simulator.commands(Verdict)]
    assert nexts[:2] == ["restart", "restart"]


def test_restart_takes_those_along_that_say_so() -> None:
    simulator = living(db_and_web(restart=True), (5, RestartUnits(("db",))))
    assert len(simulator.times(Start, "web")) == 2
    simulator = living(db_and_web(), (5, RestartUnits(("db",))))
    assert len(simulator.times(Start, "web")) == 1


def test_restart_starts_what_is_over() -> None:
    simulator = living(plan(unit("a"), unit("x")), (5, RestartUnits(("a",))), a=Run(duration=1))
    assert simulator.times(Start, "a") == [0.0, 5.0]


# Kill and pause


def test_kill_ends_a_unit_in_spite_of_its_restart_policy() -> None:
    web = unit("web", role="support", restart=Restart("always"))
    simulator = living(plan(web, unit("x")), (5, SignalUnits(("web",), 9)))
    assert simulator.times(Kill, "web") == [5.0]
    assert len(simulator.times(Start, "web")) == 1


def test_another_signal_is_sent_and_means_nothing() -> None:
    web = unit("web", role="support", restart=Restart("always"))
    simulator = living(plan(web, unit("x")), (5, SignalUnits(("web",), 1)))
    assert [c.signal for c in simulator.commands(Signal)] == [1]
    assert simulator.times(Stop, "web") == [DOWN]


def test_kill_of_the_dead_changes_nothing() -> None:
    simulator = living(plan(unit("a"), unit("x")), (5, SignalUnits(("a",), 9)), a=Run(1))
    assert simulator.commands(Kill) == []


def test_a_paused_unit_is_not_probed_and_is_thawed_to_be_stopped() -> None:
    web = unit("web", health=Healthcheck(("x",), interval_s=1))
    simulator = living(
        plan(web), (5.5, PauseUnits(("web",), paused=True)),
        (6.5, PauseUnits(("web",), paused=True)), (20, StopUnits(("web",))),
    )  # fmt: skip
    assert max(simulator.times(Probe, "web")) == 5.0
    assert [c.frozen for c in simulator.commands(Freeze)] == [True, False]
    assert simulator.times(Stop, "web") == [20.0]


def test_an_unpaused_unit_is_probed_again() -> None:
    web = unit("web", health=Healthcheck(("x",), interval_s=1))
    simulator = living(
        plan(web), (5.5, PauseUnits(("web",), paused=True)),
        (20, PauseUnits(("web",), paused=False)),
    )  # fmt: skip
    assert [when for when in simulator.times(Probe, "web") if 5.5 < when < 22] == [21.0]


# Waiting


def test_decided_is_when_all_that_can_start_has() -> None:
    given_plan = plan(unit("init"), unit("web", "init"), unit("queued"), parallel=1)
    simulator = living(
        given_plan, (0, Await(1, "decided", ("init", "web", "queued"))),
        init=Run(duration=2, start_s=1),
    )  # fmt: skip
    assert answers(simulator) == [(3.0, 1, 0)]


def test_decided_fails_with_a_start_that_fails_and_with_its_dependents() -> None:
    error = {"type": "CommandNotFound", "message": "m"}
    simulator = living(
        plan(unit("a"), unit("b", "a"), unit("x")), (0, Await(1, "decided", ("b", "x"))),
        a=Run(error=error),
    )  # fmt: skip
    assert answers(simulator) == [(0.0, 1, 1)]


def test_decided_takes_a_job_that_failed_at_once_for_started() -> None:
    simulator = living(
        plan(unit("a"), unit("x")), (0, Await(1, "decided", ("a", "x"))), a=Run(0.0, code=3)
    )
    assert answers(simulator) == [(0.0, 1, 0)]


def test_served_takes_a_job_that_failed_for_started_whoever_is_first() -> None:
    for at in (0, 5):
        simulator = living(
            plan(unit("a"), unit("x")), (at, Await(1, "served", ("a", "x"))), a=Run(1.0, code=3)
        )
        assert [code for _, _, code in answers(simulator)] == [0]


def test_over_waits_for_the_end_and_is_answered_at_once_after_it() -> None:
    simulator = living(
        plan(unit("a"), unit("x")), (0, Await(1, "over", ("a",))), (7, Await(2, "over", ("a",))),
        a=Run(4),
    )  # fmt: skip
    assert answers(simulator) == [(4.0, 1, 0), (7.0, 2, 0)]


# Another plan


def adopt(given_plan: Plan, *renew: str, remove: tuple[str, ...] = ()) -> Adopt:
    names = frozenset(given_plan.units)
    return Adopt(given_plan, frozenset(renew), frozenset(remove), names)


def test_adopting_the_same_plan_changes_nothing() -> None:
    given_plan = plan(*db_and_web().units.values(), unit("job"))
    simulator = living(given_plan, (5, adopt(given_plan)), job=Run(1))
    assert len(simulator.commands(Start)) == 3


def test_a_unit_that_differs_is_replaced_and_others_stay() -> None:
    old = db_and_web()
    new = replace(old, units=old.units | {"web": replace(old.units["web"], image="new")})
    simulator = living(old, (5, adopt(new, "web")), web=Run(float("inf"), stop_s=3))
    assert simulator.times(Start, "web") == [0.0, 8.0]
    assert simulator.times(Start, "db") == [0.0]


def test_a_dependent_waits_for_the_new_life_of_what_it_needs() -> None:
    old = plan(unit("db", role="support"))
    new = plan(unit("db", role="support", stop_grace_s=3), *[db_and_web().units["web"]])
    simulator = living(old, (5, adopt(new, "db")), db=Run(float("inf"), stop_s=2, start_s=1))
    assert simulator.times(Start, "db") == [0.0, 7.0]
    assert simulator.times(Start, "web") == [8.0]


def test_orphans_are_removed_when_asked_to_and_else_left_alone() -> None:
    old, new = db_and_web(), plan(unit("db", role="support"))
    assert living(old, (5, adopt(new))).times(Stop, "web") == [DOWN]
    assert living(old, (5, adopt(new, remove=("web",)))).times(Stop, "web") == [5.0]


def test_what_failed_is_started_again_and_what_succeeded_is_not() -> None:
    given_plan = plan(unit("good"), unit("bad"), unit("x"))
    simulator = living(given_plan, (5, adopt(given_plan)), good=Run(1), bad=Run(1, code=1))
    assert len(simulator.times(Start, "good")) == 1
    assert len(simulator.times(Start, "bad")) == 2


def test_a_unit_may_be_made_without_being_started() -> None:
    old = plan(unit("x"))
    new = plan(unit("x"), unit("later"))
    event = Adopt(new, start=frozenset({"x"}))
    simulator = living(old, (5, event), (9, StartUnits(("later",))))
    assert simulator.times(Start, "later") == [9.0]


# Everything together


@st.composite
def requests(draw: st.DrawFn, given_plan: Plan) -> list[tuple[float, Event]]:
    units = sorted(given_plan.units)
    subset = st.lists(st.sampled_from(units), min_size=1, max_size=3, unique=True).map(tuple)
    timeouts = st.sampled_from((None, 0.0, 1.0))
    found: list[tuple[float, Event]] = []
    for token in range(draw(st.integers(1, 5))):
        kind = draw(st.integers(0, 8))
        some = draw(subset)
        event: Event
        if kind == 0:
            event = StopUnits(some, draw(timeouts))
        elif kind == 1:
            event = StartUnits(some)
        elif kind == 2:
            event = RestartUnits(some, draw(timeouts))
        elif kind == 3:
            event = SignalUnits(some, draw(st.sampled_from((1, 9, 15))))
        elif kind == 4:
            event = PauseUnits(some, draw(st.booleans()))
        elif kind == 5:
            event = Await(token, draw(st.sampled_from(("decided", "ready", "over"))), some)
        elif kind == 6:
            event = BringDown(draw(timeouts))
        elif kind == 7:
            event = Interrupted(2)
        else:
            removed = frozenset(draw(subset)) if draw(st.booleans()) else frozenset()
            event = Adopt(given_plan, frozenset(some), removed - set(some),
                          frozenset(units) - removed)  # fmt: skip
        found.append((draw(st.sampled_from((0.0, 0.4, 1.0, 2.0, 3.5, 6.0))), event))
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[Plan, list[tuple[float, Event]]]:
    given_plan = draw(plans())
    return given_plan, draw(requests(given_plan))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.lists(runs, min_size=1, max_size=8), st.booleans())
def test_a_run_ends_within_its_rules_whatever_is_asked_of_it(
    case: tuple[Plan, list[tuple[float, Event]]], behaviour: list[Run], detached: bool
) -> None:
    given_plan, events = case

    def pick(name: str, attempt: int) -> Run:
        return behaviour[(int(name[1:]) * 7 + attempt) % len(behaviour)]

    simulator = Simulator(given_plan, pick, detached=detached)
    for when, event in events:
        simulator.at(when, event)
    result = simulator.run()
    assert simulator.watch.alive == {}
    assert set(result.outcomes) == set(given_plan.units)
