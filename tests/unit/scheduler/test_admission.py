"""Jobs wait until what they reserve fits the host beside what runs."""

from __future__ import annotations

from typing import Any

from gocker.plan.model import Dependency, MatrixGroup, Reservation, Retry
from gocker.scheduler.messages import Start
from tests.unit.scheduler.simulator import FOREVER, Run, Simulator, fails, plan, unit

HOST = Reservation(cpus=4, memory=1000)


def job(name: str, cpus: float = 0, memory: int = 0, **fields: Any) -> Any:
    return unit(name, reserve=Reservation(cpus, memory), **fields)


def starts(*units: Any, runs: Any = None, **fields: Any) -> dict[str, float]:
    simulator = Simulator(plan(*units, capacity=HOST, **fields), runs)
    simulator.run()
    return {name: simulator.times(Start, name)[0] for name in simulator.order(Start)}


def test_jobs_that_fit_run_together() -> None:
    assert starts(job("a", 2), job("b", 2)) == {"a": 0, "b": 0}


def test_a_job_waits_for_cpus() -> None:
    assert starts(job("a", 3), job("b", 2), job("c", 2)) == {"a": 0, "b": 1, "c": 1}


def test_a_job_waits_for_memory() -> None:
    assert starts(job("a", memory=600), job("b", memory=401)) == {"a": 0, "b": 1}


def test_fractions_add_up() -> None:
    assert set(starts(*(job(f"j{n}", 0.1) for n in range(40)), parallel=0).values()) == {0}


def test_no_job_waits_for_ever_behind_smaller_ones() -> None:
    small = [job(f"s{n}", 1) for n in range(12)]
    found = starts(job("first", 3), job("large", 4), *small)
    assert found["large"] == 1
    assert min(found[it.name] for it in small) == 2


def test_jobs_without_reservation_do_not_wait() -> None:
    assert starts(job("a", 4), job("b", 4), job("c")) == {"a": 0, "c": 0, "b": 1}


def test_without_capacity_nobody_waits() -> None:
    simulator = Simulator(plan(job("a", 4), job("b", 4)))
    simulator.run()
    assert simulator.times(Start, "b") == [0]


def test_support_services_take_their_part() -> None:
    db = job("db", 2, role="support")
    a = unit("a", Dependency("db"), reserve=Reservation(2))
    b = unit("b", Dependency("db"), reserve=Reservation(1))
    assert starts(db, a, b, runs={"db": FOREVER}) == {"db": 0, "a": 0, "b": 1}


def test_a_failed_attempt_gives_back_what_it_took() -> None:
    found = starts(job("a", 4, retry=Retry(1)), job("b", 4), runs={"a": [fails(), Run()]})
    assert found == {"a": 0, "b": 1}


def test_a_matrix_is_bounded_too() -> None:
    units = [job(f"m{n}", 1, matrix="m") for n in range(3)]
    found = starts(*units, matrices={"m": MatrixGroup(max_parallel=1)})
    assert found == {"m0": 0, "m1": 1, "m2": 2}


def test_a_cancelled_job_does_not_keep_others_waiting() -> None:
    bad = unit("bad")
    units = [bad, job("a", 4), job("b", 4, matrix="m"), job("m", matrix="m"), job("c", 1)]
    found = starts(*units, runs={"m": fails(duration=0.5)},
                   matrices={"m": MatrixGroup(fail_fast=True)})  # fmt: skip
    assert "b" not in found
    assert found["c"] == 1
