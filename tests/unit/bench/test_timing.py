"""Interleaving and statistics, on a clock that the test moves: nothing here depends on how fast a machine is."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from cellgate.bench.timing import Plan, interleave, quartiles, ratio, rest


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@dataclass
class Worker:
    name: str
    clock: Clock
    seconds: float
    log: list
    between: object = None
    count: int = field(default=0)

    def call(self):
        self.clock.now += self.seconds
        self.count += 1
        self.log.append(self.name)


PLAN = Plan(block=0.01, rounds=4, seconds=0.0, patience=100.0, least=3, settle=0.0)


@pytest.mark.parametrize("size", [2, 3, 4, 7, 20])
def test_quartiles_are_numpys(size):
    values = list(np.random.default_rng(size).random(size))
    assert quartiles(values) == pytest.approx(np.percentile(values, [25, 50, 75]))


def test_quartiles_of_one_and_of_none():
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="expected at least one"):
        quartiles([])


def test_ratio_is_that_of_the_medians_with_the_quartiles_of_the_rounds():
    found = ratio([2.0, 2.0, 8.0], [1.0, 2.0, 4.0])
    assert found == {"ratio": 1.0, "q25": 1.5, "q75": 2.0}


def test_samples_are_the_time_of_one_call():
    clock, log = Clock(), []
    fast, slow = Worker("fast", clock, 0.001, log), Worker("slow", clock, 0.004, log)
    samples = interleave([fast, slow], PLAN, clock=clock)
    assert samples["fast"].seconds == pytest.approx([0.001] * 4)
    assert samples["slow"].seconds == pytest.approx([0.004] * 4)
    assert samples["fast"].calls == 40
    assert samples["slow"].calls == 8


def test_turns_alternate_and_rotate():
    clock, turns = Clock(), []
    workers = [Worker(name, clock, 0.5, []) for name in "abc"]
    interleave(workers, PLAN, turn=turns.append, clock=clock)
    starts = [turn for turn in turns if turn >= 0]
    assert turns[1::2] == [-1] * len(starts)
    assert starts == [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]


def test_what_is_done_between_calls_is_not_timed():
    clock, log = Clock(), []

    def between():
        clock.now += 7.0

    plan = replace(PLAN, patience=1e9)  # the time between calls is not short
    samples = interleave([Worker("w", clock, 0.001, log, between=between)], plan, clock=clock)
    assert samples["w"].seconds == pytest.approx([0.001] * 4)


def test_patience_ends_a_slow_cell_but_not_below_the_least_rounds():
    clock = Clock()
    plan = Plan(block=0.01, rounds=50, seconds=0.0, patience=1.0, least=3, settle=0.0)
    assert len(interleave([Worker("w", clock, 10.0, [])], plan, clock=clock)["w"].seconds) == 3


def test_a_cell_lasts_as_long_as_it_should():
    clock = Clock()
    plan = Plan(block=0.01, rounds=3, seconds=2.0, patience=100.0, least=3, settle=0.0)
    samples = interleave([Worker("w", clock, 0.1, [])], plan, clock=clock)
    assert len(samples["w"].seconds) == pytest.approx(20, abs=1)


@pytest.mark.parametrize(("spins", "slept"), [(0.0, 0.005), (0.004, 0.010), (0.0431, 0.050), (9.0, 0.1)])
def test_a_rest_lasts_until_nothing_spins(spins, slept):
    clock = Clock()

    def sleep(seconds):
        clock.now += seconds

    assert rest(0.1, sleep, used=lambda: min(clock.now, spins)) == pytest.approx(slept)


@pytest.mark.parametrize("between", [None, lambda: None])
def test_a_turn_ends_early_where_calls_take_a_thousand_times_as_long_as_alone(between):
    clock, log = Clock(), []
    worker = Worker("w", clock, 0.0001, log, between=between)

    def turn(index):
        worker.seconds = 0.1 if index >= 0 else 0.0001

    samples = interleave([worker], PLAN, turn=turn, clock=clock)["w"]
    assert samples.seconds == pytest.approx([0.1] * 4)
    assert 4 <= samples.calls <= 4 * 7  # a hundred were planned for each turn of 0.01 s; 0.2 s are the most
