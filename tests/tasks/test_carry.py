"""What a naive forecast is off now, carried into the steps ahead: where it helps, where not, and what it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellgate.data import read_panel
from cellgate.estimators import Forecaster, load
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.carry import carry, deviation
from cellgate.tasks.forecast import carried
from cellgate.tasks.forecast_data import fit_units, prepare

SEASON, HORIZON = 12, 24


def drifting(seed=0, seasons=100, memory=0.98):
    """A season over and over on a level that wanders and comes back."""
    noise = np.random.default_rng(seed).normal(size=seasons * SEASON)
    level = np.zeros(len(noise))
    for t in range(1, len(noise)):
        level[t] = memory * level[t - 1] + noise[t]
    return np.tile(5 * np.sin(2 * np.pi * np.arange(SEASON) / SEASON), seasons) + level


def expected_start(values, share):
    """The naive forecast after the last step with what it is off, written out step by step."""
    now, before = values[-SEASON:].mean(), values[-2 * SEASON : -SEASON].mean()
    return np.array(
        [values[len(values) - SEASON + h % SEASON] + share * (now - before) * np.exp(-(h + 1) / SEASON)
         for h in range(HORIZON)]
    )  # fmt: skip


def mean_error(values, share):
    """Of the naive forecast with a share carried, from every step that has both a past and a horizon, step by step."""
    off = deviation(values, SEASON, SEASON)
    errors = [
        values[t + h] - values[t - SEASON + 1 + (h - 1) % SEASON] - share * off[t] * np.exp(-h / SEASON)
        for t in range(2 * SEASON - 1, len(values) - 1)
        for h in range(1, HORIZON + 1)
        if t + h < len(values)
    ]
    return np.abs(errors).mean()


def test_the_share_is_the_mean_of_a_few_by_likelihood():
    values = drifting(seed=3, seasons=20)
    shares = np.array([0, 0.25, 0.5, 0.75, 1])
    weights = np.array([mean_error(values, share) for share in shares]) ** -20.0  # a season is a draw
    found = carry(values, SEASON, SEASON, HORIZON)
    assert found == pytest.approx(weights @ shares / weights.sum(), rel=1e-9)
    assert 0.1 < found < 0.9
    assert found not in shares


def test_a_level_that_wanders_off_is_carried_and_one_that_comes_back_is_not():
    drift = np.arange(1200) * 0.1  # every season is 1.2 above the one before
    returning = np.tile(np.repeat([0.0, 1.0], SEASON), 50) + drifting(seed=1) / 10  # up one season, down the next
    assert carry(drift, SEASON, SEASON, HORIZON) > 0.99
    assert carry(returning, SEASON, SEASON, HORIZON) < 0.01
    assert carry(np.zeros(1200), SEASON, SEASON, HORIZON) == 0.0
    assert 0 < carry(np.append(np.zeros(1199), 1.0), SEASON, SEASON, HORIZON) < 1


def test_a_short_history_carries_nothing():
    drift = np.arange(1200) * 0.1
    assert carry(drift[: 6 * SEASON], SEASON, SEASON, HORIZON) > 0.5
    assert carry(drift[: 6 * SEASON - 1], SEASON, SEASON, HORIZON) == 0.0
    assert carry(drift[:0], SEASON, SEASON, HORIZON) == carry(drift[:1], 1, 1, HORIZON) == 0.0


def test_a_deviation_is_that_of_the_last_season_from_the_one_a_lag_before():
    z = np.random.default_rng(2).normal(size=60)
    off = deviation(z, 24, SEASON)
    assert off[50] == pytest.approx(z[39:51].mean() - z[15:27].mean(), rel=1e-9)
    assert (off[:24] == 0).all()


@pytest.fixture(scope="module")
def fitted():
    values = drifting() + np.arange(1200) * 0.5
    forecaster = Forecaster(HORIZON, season=SEASON, hidden_size=8, max_epochs=1).fit(values)
    assert forecaster.carries_[forecaster.panel_.ids[0]] > 0
    return forecaster


def test_an_untrained_network_answers_with_the_carried_forecast(fitted):
    values, share = fitted.panel_.values[0], fitted.carries_[fitted.panel_.ids[0]]
    untrained = fitted.model_.state_dict()
    kept = {name: value.clone() for name, value in untrained.items()}
    try:
        for name in ("readout.weight", "readout.bias"):
            untrained[name].zero_()
        made = fitted.forecast().median[0]
    finally:
        fitted.model_.load_state_dict(kept)
    np.testing.assert_allclose(made, expected_start(values, share), rtol=1e-9)
    assert np.abs(made - seasonal_naive(values, SEASON, HORIZON)).max() > 0.01


def test_nothing_later_than_the_origin_is_carried():
    seen = []
    for later in (0.0, 50.0):
        values = drifting()
        values[701:] += later
        panel = replace(read_panel(values), season=SEASON)
        task = Forecaster(HORIZON, season=SEASON, hidden_size=4, max_epochs=1).fit(panel.until([600])).task_
        units = fit_units(panel, task, np.array([600]))
        seen.append(carried(prepare(panel, task, units), torch.tensor([0]), torch.tensor([[650, 700]])))
    torch.testing.assert_close(*seen, rtol=1e-9, atol=1e-9)


def test_saved_streamed_and_loaded_it_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.carries_ == fitted.carries_
    np.testing.assert_array_equal(again.forecast().values, fitted.forecast().values)
    stream, fresh = again.stream(), np.append(fitted.panel_.values[0], 3.0)
    pushed = stream.push(3.0)
    np.testing.assert_allclose(pushed.values, again.forecast(fresh).values, rtol=1e-5)
