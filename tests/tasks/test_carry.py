"""What a naive forecast is off now, carried into the steps ahead: where it helps, where not, and what it is."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cellgate.data import read_panel
from cellgate.estimators import Forecaster, load
from cellgate.estimators.folder import sum_of
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


def expected_start(values, fading, lasting):
    """The naive forecast after the last step with what it is off, written out step by step."""
    off = values[-SEASON:].mean() - values[-2 * SEASON : -SEASON].mean()
    return np.array(
        [values[len(values) - SEASON + h % SEASON] + off * (fading * np.exp(-(h + 1) / SEASON) + lasting)
         for h in range(HORIZON)]
    )  # fmt: skip


def mean_error(values, fading, lasting):
    """Of the naive forecast with shares carried, from every step that has both a past and a horizon, step by step."""
    off = deviation(values, SEASON, SEASON)
    errors = [
        values[t + h] - values[t - SEASON + 1 + (h - 1) % SEASON] - off[t] * (fading * np.exp(-h / SEASON) + lasting)
        for t in range(2 * SEASON - 1, len(values) - 1)
        for h in range(1, HORIZON + 1)
        if t + h < len(values)
    ]
    return np.abs(errors).mean()


def test_shares_are_means_of_a_few_by_likelihood():
    values = drifting(seed=3, seasons=20)
    shares = np.array([0, 0.25, 0.5, 0.75, 1])
    # A season is a draw.
    fading = np.array([mean_error(values, share, 0) for share in shares]) ** -20.0
    lasting = np.array([mean_error(values, 0, share) for share in shares]) ** -20.0
    # One kind only, as long tables have it, and none.
    found = carry(values, SEASON, SEASON, HORIZON, kinds=1)
    np.testing.assert_allclose(found, [fading @ shares / fading.sum(), 0], rtol=1e-9)
    assert (carry(values, SEASON, SEASON, HORIZON, kinds=0) == 0).all()
    # Of two kinds, 0 is four times as likely beforehand as any other share.
    fading[0], lasting[0] = 4 * fading[0], 4 * lasting[0]
    total = fading.sum() + lasting.sum()
    found = carry(values, SEASON, SEASON, HORIZON)
    np.testing.assert_allclose(found, [fading @ shares / total, lasting @ shares / total], rtol=1e-9)
    assert (found > 0.01).all()
    assert found.sum() < 0.9


def test_little_is_carried_of_noise():
    noise = [np.random.default_rng(seed).normal(size=10 * SEASON) for seed in range(20)]
    assert np.mean([carry(values, SEASON, SEASON, HORIZON).sum() for values in noise]) < 0.3


def test_a_level_that_wanders_off_is_carried_and_one_that_comes_back_is_not():
    drift = np.arange(1200) * 0.1  # every season is 1.2 above the one before
    returning = np.tile(np.repeat([0.0, 1.0], SEASON), 50) + drifting(seed=1) / 10  # up one season, down the next
    np.testing.assert_allclose(carry(drift, SEASON, SEASON, HORIZON), [0, 1], atol=0.01)
    assert carry(returning, SEASON, SEASON, HORIZON).sum() < 0.01
    assert (carry(np.zeros(1200), SEASON, SEASON, HORIZON) == 0).all()
    assert 0 < carry(np.append(np.zeros(1199), 1.0), SEASON, SEASON, HORIZON).sum() < 1


def test_a_level_that_leans_back_fades():
    found = carry(drifting(seed=5, seasons=400, memory=0.98), SEASON, SEASON, HORIZON)
    assert found[0] > 0.3
    assert found[1] < 0.01


def test_a_short_history_carries_nothing():
    drift = np.arange(1200) * 0.1
    for kinds, seasons in ((1, 6), (2, 3)):
        assert carry(drift[: seasons * SEASON], SEASON, SEASON, HORIZON, kinds).sum() > 0.4
        assert (carry(drift[: seasons * SEASON - 1], SEASON, SEASON, HORIZON, kinds) == 0).all()
    assert (carry(drift[:0], SEASON, SEASON, HORIZON) == 0).all()
    assert (carry(drift[:1], 1, 1, HORIZON) == 0).all()


def test_a_deviation_is_that_of_the_last_season_from_the_one_a_lag_before():
    z = np.random.default_rng(2).normal(size=60)
    off = deviation(z, 24, SEASON)
    assert off[50] == pytest.approx(z[39:51].mean() - z[15:27].mean(), rel=1e-9)
    assert (off[:24] == 0).all()


@pytest.fixture(scope="module")
def fitted():
    values = drifting() + np.arange(1200) * 0.5
    forecaster = Forecaster(HORIZON, season=SEASON, hidden_size=8, max_epochs=1).fit(values)
    assert forecaster.carries_[forecaster.panel_.ids[0]][0] > 0.1
    return forecaster


def answer_nothing(model):
    """As before any training."""
    for name in ("readout.weight", "readout.bias"):
        model.state_dict()[name].zero_()


def test_an_untrained_network_answers_with_the_carried_forecast(fitted):
    values, shares = fitted.panel_.values[0], fitted.carries_[fitted.panel_.ids[0]]
    kept = {name: value.clone() for name, value in fitted.model_.state_dict().items()}
    try:
        answer_nothing(fitted.model_)
        made = fitted.forecast().median[0]
    finally:
        fitted.model_.load_state_dict(kept)
    np.testing.assert_allclose(made, expected_start(values, *shares), rtol=1e-9)
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


def test_a_short_table_carries_too():
    values = drifting(seasons=10) + np.arange(120)
    fitted = Forecaster(HORIZON, season=SEASON, hidden_size=4, max_epochs=1).fit(values)
    assert not fitted.task_.simple
    assert sum(fitted.carries_[fitted.panel_.ids[0]]) > 0.5


@pytest.mark.parametrize(("seasons", "share", "kinds"), [(100, 0.75, 1), (10, None, 0)])
def test_a_folder_from_before_forecasts_as_it_did(tmp_path, seasons, share, kinds):
    """It has one share, which fades, where tables were long, and none where they were short."""
    values = drifting(seasons=seasons) + np.arange(seasons * SEASON) * 0.5
    fitted = Forecaster(HORIZON, season=SEASON, hidden_size=4, max_epochs=1).fit(values)
    answer_nothing(fitted.model_)
    fitted.save(tmp_path)
    config, preprocess = (json.loads((tmp_path / name).read_text()) for name in ("config.json", "preprocess.json"))
    del config["task"]["carries"], config["sum"]
    preprocess["series"][0]["carry"] = share
    (tmp_path / "preprocess.json").write_text(json.dumps(preprocess))
    config["files"]["preprocess.json"] = hashlib.sha256((tmp_path / "preprocess.json").read_bytes()).hexdigest()
    (tmp_path / "config.json").write_text(json.dumps({**config, "sum": sum_of(config)}))
    again = load(tmp_path)
    np.testing.assert_allclose(again.forecast().median[0], expected_start(values, share or 0.0, 0.0), rtol=1e-9)
    # A series that it was not trained on is carried as it was then, too.
    fresh = fit_units(replace(read_panel(values * 2), season=SEASON), again.task_).carries[0]
    assert ((fresh > 0) == [kinds > 0, False]).all()
