"""Seasons of numbered steps: smooth and sharp cycles under noise are found, chance and trends are none."""

import numpy as np
import pytest

from cellgate.data import read_panel
from cellgate.data.cycles import infer_season


def seasons(make, seeds=range(60)):
    return [infer_season(make(np.random.default_rng(seed))) for seed in seeds]


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("period", "steps"), [(7, 140), (24, 480), (48, 480), (96, 480), (168, 1000)])
def test_smooth_cycles_are_found_under_noise(period, steps, noise):
    def make(rng):
        return 10 + 3 * np.sin(2 * np.pi * (np.arange(steps) / period + rng.random())) + rng.normal(0, noise, steps)

    found = np.array(seasons(make))
    # Five or six long cycles under noise of a third of their swing leave one step open.
    tolerated = 1 if period >= 96 and noise == 1.0 else 0
    assert (np.abs(found - period) <= tolerated).all(), dict(zip(*np.unique(found, return_counts=True), strict=True))


@pytest.mark.parametrize("trend", [0.0, 0.05, -0.2])
def test_a_trend_does_not_hide_a_cycle(trend):
    step = np.arange(480)
    found = seasons(lambda rng: trend * step + 3 * np.sin(2 * np.pi * step / 24) + rng.normal(0, 0.5, 480))
    assert set(found) == {24}


def test_sharp_cycles_are_found():
    """Days on and off, and patterns that no wave is like."""
    step = np.arange(480)
    assert set(seasons(lambda rng: 3.0 * (step % 24 > 16) + rng.normal(0, 0.5, 480))) == {24}
    found = np.array(seasons(lambda rng: np.tile(rng.normal(size=7), 60) + 0.2 * rng.normal(size=420)))
    assert np.mean(found == 7) > 0.95


def test_a_cycle_on_a_wandering_level_is_found():
    step = np.arange(480)
    wave = 3 * np.sin(2 * np.pi * step / 12)
    found = np.array(seasons(lambda rng: wave + rng.normal(0, 0.3, 480).cumsum() + rng.normal(0, 0.3, 480)))
    assert np.mean(found == 12) > 0.95


NOTHING = {
    "white noise": lambda rng, step: rng.normal(size=len(step)),
    "a random walk": lambda rng, step: rng.normal(size=len(step)).cumsum(),
    "a walk under noise": lambda rng, step: rng.normal(size=len(step)).cumsum() + 3 * rng.normal(size=len(step)),
    "a trend": lambda rng, step: 0.1 * step + rng.normal(size=len(step)),
    "a bent trend": lambda rng, step: 1e-3 * step**2 + rng.normal(size=len(step)),
    "a walk of walks": lambda rng, step: rng.normal(size=len(step)).cumsum().cumsum(),
}


@pytest.mark.parametrize("steps", [30, 60, 100, 400, 1000])
@pytest.mark.parametrize("name", NOTHING)
def test_where_no_season_is_none_is_found(name, steps):
    found = np.array(seasons(lambda rng: NOTHING[name](rng, np.arange(steps)), range(200)))
    assert np.mean(found > 1) <= 0.01, found[found > 1]


def test_lines_and_constants_have_none():
    for values in (np.ones(50), np.arange(60.0), 1e6 + 0.1 * np.arange(300), np.arange(5.0)):
        assert infer_season(values) == 1


def test_missing_values_are_left_out():
    values = np.tile(np.arange(12.0), 30)
    values[-5:] = np.nan
    assert infer_season(values) == 12


def test_an_array_is_read_with_its_season():
    values = 10 + 3 * np.sin(2 * np.pi * np.arange(480) / 24) + np.random.default_rng(1).normal(0, 0.5, 480)
    assert read_panel(values).season == 24
    assert read_panel("airline").season == 12  # dated data follow their calendar
