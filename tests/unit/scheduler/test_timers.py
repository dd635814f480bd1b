from __future__ import annotations

from gocker.scheduler.timers import Timers


def drain(timers: Timers[str], now: float) -> list[str]:
    found = []
    while (key := timers.pop_due(now)) is not None:
        found.append(key)
    return found


def test_due_timers_come_in_order_of_time_then_of_setting() -> None:
    timers: Timers[str] = Timers()
    for key, when in (("b", 2), ("a", 1), ("c", 2), ("d", 9)):
        timers.set(key, when)
    assert drain(timers, 2) == ["a", "b", "c"]
    assert timers.deadline() == 9


def test_setting_again_moves_a_timer() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1)
    timers.set("a", 5)
    assert drain(timers, 4) == []
    assert timers.deadline() == 5


def test_a_cancelled_timer_is_gone() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1)
    timers.cancel("a")
    timers.cancel("never set")
    assert timers.deadline() is None
    assert drain(timers, 9) == []


def test_cancelled_timers_do_not_pile_up() -> None:
    timers: Timers[int] = Timers()
    for key in range(10_000):
        timers.set(key, 1e9)
        timers.cancel(key)
    assert len(timers._heap) < 100
