"""When a measurement is made again: with hand-overs that are made up."""

from __future__ import annotations

import pytest

from cellgate.backends import cpu
from cellgate.bench.nearness import Nearness

NEAR, FAR = 50e-9, 180e-9


def measured(looks, threads=2):
    """How often the work was done, what counted, and the seconds slept, with these hand-overs after the first ones."""
    given, slept, done = [NEAR] * 20 + list(looks), [], []

    def look(count: int) -> float:
        assert count == threads
        # Three looks make one, and the least counts.
        look.calls += 1
        return given[min(look.calls // 3, len(given) - 1)] * (1 + look.calls % 3)

    look.calls = -1

    def work() -> int:
        done.append(len(done))
        return done[-1]

    result, handover = Nearness(threads, look, slept.append).measure(work)
    assert result == done[-1]
    return len(done), handover, sum(slept[20:])


def test_what_was_measured_while_the_cpus_were_near_counts():
    assert measured([NEAR, NEAR]) == (1, [NEAR, NEAR], 0)


def test_it_waits_until_they_are_near():
    times, handover, slept = measured([FAR, FAR, NEAR, NEAR])
    assert (times, handover) == (1, [NEAR, NEAR])
    assert slept == pytest.approx(0.1)


def test_what_ended_far_is_measured_again():
    assert measured([NEAR, FAR, NEAR, NEAR])[:2] == (2, [NEAR, NEAR])


def test_cpus_that_stay_far_are_what_is_usual_in_the_end():
    times, handover, slept = measured([FAR])
    assert times == 2
    assert handover == [FAR, FAR]
    assert 2 < slept < 4.5


def test_one_thread_has_nobody_to_meet():
    assert Nearness(1).measure(lambda: "done") == ("done", [])


@pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
def test_a_handover_takes_time_where_there_are_two():
    assert 0 < cpu.native().measure_handover(2) < 1
    assert cpu.native().measure_handover(1) == 0
