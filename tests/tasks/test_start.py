"""Where a forecast starts from: which simple forecasts count for which series, and what they come to."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cellgate.data import read_panel
from cellgate.estimators import Forecaster, load
from cellgate.estimators.folder import ModelFolderError
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.forecast import added
from cellgate.tasks.forecast_data import fit_units, prepare
from cellgate.tasks.start import FLAT, SHARES, SPANS, Mix, fit_mix, middle_of_last, naive_mix, start_of

SEASON, HORIZON = 12, 24
NAIVE = naive_mix()


def drifting(seed=0, seasons=100, memory=0.98):
    """A season over and over on a level that wanders and comes back."""
    noise = np.random.default_rng(seed).normal(size=seasons * SEASON)
    level = np.zeros(len(noise))
    for t in range(1, len(noise)):
        level[t] = memory * level[t - 1] + noise[t]
    return np.tile(5 * np.sin(2 * np.pi * np.arange(SEASON) / SEASON), seasons) + level


def middle(values, t, span, lag=SEASON):
    """The interquartile mean of a step's place in so many seasons, written out."""
    seen = sorted(values[t - back * lag] for back in range(span) if t - back * lag >= 0)
    return np.mean(seen[len(seen) // 4 : len(seen) - len(seen) // 4])


def repeated(values, t, span, share, lag=SEASON, season=SEASON, horizon=HORIZON):
    """A repeated forecast after step t with a share of what it is off, written out step by step."""
    off = np.mean([values[u] - middle(values, u - lag, span, lag) for u in range(t - season + 1, t + 1)])
    places = [t - lag + 1 + h % lag for h in range(horizon)]
    return np.array([middle(values, u, span, lag) + share * off * np.exp(-(h + 1) / lag) for h, u in enumerate(places)])


def flat(values, t):
    """The three flat forecasts after step t, written out."""
    means = np.array([values[max(0, u - SEASON + 1) : u + 1].mean() for u in range(t + 1)])
    return [values[t], means[t], middle(means, t, 16)]


def expected_start(values, mix):
    """What the mean of all simple forecasts is after the last step."""
    t = len(values) - 1
    total = np.full(HORIZON, float(mix.flat @ flat(values, t)))
    for span, weight, carried in zip(SPANS, mix.repeated, mix.carried, strict=True):
        plain = repeated(values, t, span, 0.0)
        total += weight * plain + carried * (repeated(values, t, span, 1.0) - plain)
    return total


def test_weights_go_by_likelihood_and_the_naive_forecast_counts_twice_beforehand():
    values = drifting(seed=3, seasons=5)
    origins = range(2 * SEASON - 1, len(values) - 1)

    def loss(forecast):
        errors = [np.abs(forecast(t) - values[t + 1 : t + 1 + HORIZON]).mean() for t in origins]
        return np.sqrt(errors).mean() ** 2

    def ahead(t):
        return min(HORIZON, len(values) - 1 - t)

    losses = [[loss(lambda t, n=n, s=s: repeated(values, t, n, s, horizon=ahead(t))) for s in SHARES] for n in SPANS]
    level = [loss(lambda t, k=k: np.full(ahead(t), flat(values, t)[k])) for k in range(3)]
    weights = np.concatenate([np.array(losses).ravel(), level]) ** -5.0  # a season is a draw
    weights[:20] /= 5  # beforehand, all shares of one forecast count as one
    weights[:5] *= 2
    weights /= weights.sum()
    found = fit_mix(values, SEASON, SEASON, HORIZON)
    by_share = weights[:20].reshape(4, 5)
    np.testing.assert_allclose(found.repeated, by_share.sum(1), rtol=1e-9)
    np.testing.assert_allclose(found.carried, by_share @ SHARES, rtol=1e-9)
    np.testing.assert_allclose(found.flat, weights[20:], rtol=1e-9)
    assert found.repeated.max() < 0.9  # not decided yet: every weight above was looked at


def test_each_kind_of_series_has_its_forecast():
    rng = np.random.default_rng(0)
    season = np.tile(np.sin(2 * np.pi * np.arange(SEASON) / SEASON), 60)
    walk = rng.normal(size=720).cumsum()
    trend = np.arange(1200) * 0.1 + 3 * np.tile(season[:SEASON], 100)
    noise = fit_mix(rng.normal(size=2400), SEASON, SEASON, HORIZON)
    seasonal = fit_mix(season + rng.normal(size=720), SEASON, SEASON, HORIZON)
    assert noise.flat[FLAT.index("level of many seasons")] > 0.9
    assert seasonal.repeated[SPANS.index(16)] > 0.9
    assert fit_mix(walk, SEASON, SEASON, HORIZON).flat[FLAT.index("last value")] > 0.9
    rising = fit_mix(trend, SEASON, SEASON, HORIZON)
    assert rising.carried.sum() > 0.99
    steady = fit_mix(season, SEASON, SEASON, HORIZON)
    for parts in (noise, seasonal, rising, steady):
        assert parts.repeated.sum() + parts.flat.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(steady.repeated.sum(), 1, atol=1e-9)


def test_a_short_or_constant_history_has_the_naive_forecast():
    values = drifting()
    for short in (values[: 3 * SEASON - 1], values[:1], values[:0], np.zeros(1200)):
        for found, expected in zip(fit_mix(short, SEASON, SEASON, HORIZON), NAIVE, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert fit_mix(values[: 3 * SEASON], SEASON, SEASON, HORIZON).repeated[0] < 1


def test_without_a_season_the_last_value_counts_once():
    walk = np.random.default_rng(4).normal(size=60).cumsum()
    found = fit_mix(walk, 1, 1, 3)
    assert (found.flat[:2] == 0).all()
    assert found.flat[2] > 0
    assert fit_mix(walk, 7, 1, 3).flat[0] > 0


@pytest.mark.parametrize("lag", [SEASON, 24, 200])
def test_the_parts_are_those_written_out(lag):
    z = np.random.default_rng(2).normal(size=150)
    mix = Mix(np.array([0.1, 0.2, 0.3, 0.1]), np.array([0.1, 0.05, 0.2, 0.0]), np.array([0.05, 0.15, 0.1]))
    start = start_of(z, lag, SEASON, mix)
    t = 140
    repeat = sum(w * middle(z, t, span, lag) for span, w in zip(SPANS, mix.repeated, strict=True))
    assert start.repeated[t] == pytest.approx(repeat, rel=1e-9)
    assert start.flat[t] == pytest.approx(mix.flat @ flat(z, t), rel=1e-9)
    off = 0.0
    if lag < t:
        for span, w in zip(SPANS, mix.carried, strict=True):
            off += w * np.mean([z[u] - middle(z, u - lag, span, lag) for u in range(t - SEASON + 1, t + 1)])
    assert start.off[t] == pytest.approx(off, rel=1e-9)
    assert (start.off[: min(lag, len(z))] == 0).all()


def test_long_series_are_gone_through_in_parts(monkeypatch):
    z = np.random.default_rng(6).normal(size=500)
    whole = middle_of_last(z, 7, 16)
    monkeypatch.setattr("cellgate.tasks.start._COLUMNS", 37)
    np.testing.assert_array_equal(middle_of_last(z, 7, 16), whole)
    assert whole[499] == pytest.approx(middle(z, 499, 16, 7), rel=1e-12)


def test_the_last_forecast_alone_is_the_same():
    z = np.random.default_rng(7).normal(size=400)
    mix = Mix(np.full(4, 0.1), np.full(4, 0.1), np.full(3, 0.2))
    whole, last = start_of(z, 24, SEASON, mix), start_of(z, 24, SEASON, mix, last_only=True)
    np.testing.assert_array_equal(last.repeated[-24:], whole.repeated[-24:])
    np.testing.assert_allclose([last.flat[-1], last.off[-1]], [whole.flat[-1], whole.off[-1]], rtol=1e-9)


def test_one_odd_value_long_ago_changes_little():
    rng = np.random.default_rng(8)
    usual = 10 + 3 * np.tile(np.sin(2 * np.pi * np.arange(7) / 7), 40) + 0.5 * rng.normal(size=280)
    odd = usual.copy()
    odd[180] = 1e6
    made = [Forecaster(14, season=7, max_epochs=5).fit(values).forecast() for values in (usual, odd)]
    for forecast in made:
        low, high = forecast.interval(90)
        assert 0 < low.min()
        assert high.max() < 20
    assert np.abs(made[0].median - made[1].median).mean() < 0.5


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_do_not_matter(unit):
    values = 10 + np.random.default_rng(9).normal(size=120)
    plain = Forecaster(6, season=4, max_epochs=3).fit(values).forecast().values
    scaled = Forecaster(6, season=4, max_epochs=3).fit(values * unit).forecast().values
    np.testing.assert_allclose(scaled / unit, plain, rtol=1e-3)


@pytest.fixture(scope="module")
def fitted():
    values = drifting(seed=5, seasons=5, memory=0.9)  # too short to decide
    forecaster = Forecaster(HORIZON, season=SEASON, hidden_size=8, max_epochs=1).fit(values)
    mix = forecaster.mixes_[forecaster.panel_.ids[0]]
    assert all(part.max() > 0.01 for part in mix)
    return forecaster


def test_an_untrained_network_answers_with_the_mean_of_simple_forecasts(fitted):
    values, mix = fitted.panel_.values[0], fitted.mixes_[fitted.panel_.ids[0]]
    untrained = fitted.model_.state_dict()
    kept = {name: value.clone() for name, value in untrained.items()}
    try:
        for name in ("readout.weight", "readout.bias"):
            untrained[name].zero_()
        made = fitted.forecast().median[0]
    finally:
        fitted.model_.load_state_dict(kept)
    np.testing.assert_allclose(made, expected_start(values, mix), rtol=1e-9)
    assert np.abs(made - seasonal_naive(values, SEASON, HORIZON)).max() > 0.01


def test_nothing_later_than_the_origin_is_looked_at():
    seen = []
    for later in (0.0, 50.0):
        values = drifting()
        values[701:] += later
        panel = replace(read_panel(values), season=SEASON)
        task = Forecaster(HORIZON, season=SEASON, hidden_size=4, max_epochs=1).fit(panel.until([600])).task_
        data = prepare(panel, task, fit_units(panel, task, np.array([600])))
        seen.append((added(data, torch.tensor([0]), torch.tensor([[650, 700]])), data.repeated[:701]))
    torch.testing.assert_close(*seen, rtol=1e-9, atol=1e-9)


def test_saved_streamed_and_loaded_it_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    for name, mix in fitted.mixes_.items():
        np.testing.assert_array_equal(np.concatenate(again.mixes_[name]), np.concatenate(mix))
    np.testing.assert_array_equal(again.forecast().values, fitted.forecast().values)
    stream, fresh = again.stream(), np.append(fitted.panel_.values[0], 3.0)
    pushed = stream.push(3.0)
    np.testing.assert_allclose(pushed.values, again.forecast(fresh).values, rtol=1e-5)


@pytest.mark.parametrize("long_season", [1, 24])
def test_a_stream_looks_back_as_far_as_a_forecast(long_season):
    values = np.random.default_rng(0).normal(size=60 * SEASON)
    forecaster = Forecaster(HORIZON, season=SEASON, long_season=long_season, hidden_size=4, max_epochs=1)
    forecaster.fit(values[:-1])
    name = forecaster.panel_.ids[0]
    forecaster.lags_[name] = max(SEASON, long_season)
    forecaster.mixes_[name] = Mix(np.full(4, 0.1), np.full(4, 0.1), np.full(3, 0.2))
    pushed, fresh = forecaster.stream().push(values[-1]), forecaster.forecast(values)
    np.testing.assert_allclose(pushed.values, fresh.values, atol=1e-6)


def test_a_folder_of_an_earlier_version_corrects_what_it_did(fitted, tmp_path, rewrite):
    fitted.save(tmp_path / "m")
    rewrite(tmp_path / "m", lambda content: content["series"][0].update(mix=None, carry=0.25))
    mix = load(tmp_path / "m").mixes_[fitted.panel_.ids[0]]
    np.testing.assert_array_equal(np.concatenate(mix), [1, 0, 0, 0, 0.25, 0, 0, 0, 0, 0, 0])


def test_a_folder_with_another_number_of_weights_says_so(fitted, tmp_path, rewrite):
    fitted.save(tmp_path / "m")
    rewrite(tmp_path / "m", lambda content: content["series"][0]["mix"]["flat"].pop())
    with pytest.raises(ModelFolderError, match=r"expected \[4, 4, 3\] weights of simple forecasts, got \[4, 4, 2\]"):
        load(tmp_path / "m")


def table(**series):
    steps = len(next(iter(series.values())))
    return {
        "unique_id": np.repeat(list(series), steps),
        "ds": np.tile(np.arange(steps), len(series)),
        "y": np.concatenate(list(series.values())),
    }


def test_what_never_changed_is_not_expected_to():
    rng = np.random.default_rng(0)
    rows = table(noise=rng.normal(size=80), never=np.zeros(80), same=np.full(80, 7.1))
    forecaster = Forecaster(6, season=4, max_epochs=2).fit(pd.DataFrame(rows))
    values = dict(zip(forecaster.panel_.ids, forecaster.forecast().values, strict=True))
    assert (values["never"] == 0).all()
    assert (values["same"] == 7.1).all()
    assert np.ptp(values["noise"]) > 0
    stream = forecaster.stream()
    assert (stream.push(7.1, id="same").values == 7.1).all()
    assert np.ptp(stream.push(9.0, id="same").values) > 0
    assert np.ptp(stream.push(9.0, id="same").values) > 0  # it has changed once


def test_counts_are_not_forecast_below_zero_and_what_has_been_below_is():
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.5, 200).astype(float)
    forecaster = Forecaster(6, season=4, max_epochs=2).fit(counts)
    made = forecaster.forecast()
    low, high = made.interval(90)
    assert low.min() == 0
    assert ((low <= made.median) & (made.median <= high) & (high > 0)).all()
    stream = forecaster.stream()
    np.testing.assert_allclose(stream.push(0.0).values, forecaster.forecast(np.append(counts, 0.0)).values, atol=1e-5)
    assert stream.push(-1.0).interval(90)[0].min() < 0
    below = Forecaster(6, season=4, max_epochs=2).fit(counts - 1)
    assert below.forecast().interval(90)[0].min() < -1
