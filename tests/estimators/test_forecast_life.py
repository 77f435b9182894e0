"""A fitted Forecaster over time: backtest, newer rows, streams, warm starts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cellgate.data import DataError, read_panel
from cellgate.errors import InputError
from cellgate.estimators import Forecaster, load
from cellgate.tasks.baselines import seasonal_naive


def hourly(days=40, series=2, seed=0, gaps=()):
    """A long table with daily and weekly habits, a growing level and noise."""
    rng = np.random.default_rng(seed)
    step = np.arange(24 * days)
    columns = {"unique_id": [], "ds": [], "y": []}
    for k in range(series):
        day = np.sin(2 * np.pi * step / 24 + k) * (1 + 0.5 * (step // 24 % 7 >= 5))
        y = 20 + 0.01 * step + 3 * day + 0.2 * rng.normal(size=len(step))
        y[list(gaps)] = np.nan
        columns["unique_id"] += [f"s{k}"] * len(step)
        columns["ds"] += list(np.datetime64("2024-03-01T00", "us") + step * np.timedelta64(1, "h"))
        columns["y"] += y.tolist()
    return read_panel(pd.DataFrame(columns))


@pytest.fixture(scope="module")
def panel():
    return hourly(gaps=(100, 101, 500, 901))


@pytest.fixture(scope="module")
def fitted(panel):
    head, _ = panel.split(200)
    return Forecaster(6, max_epochs=3, context=60, hidden_size=9).fit(head)


# ---------------------------------------------------------------- backtest


def test_a_backtest_is_what_would_have_been_forecast(panel, fitted):
    found = fitted.backtest(panel, origins=5, step=7)
    assert found.values.shape == (2, 5, 6, 3)
    for k in range(2):
        for j, origin in enumerate(found.origins[k]):
            cut = panel.until([int(origin) + 1] * 2)
            np.testing.assert_allclose(found.values[k, j], fitted.forecast(cut).values[k], rtol=1e-5)
            values = panel.values[k]
            np.testing.assert_array_equal(found.actual[k, j], values[origin + 1 : origin + 7])
            np.testing.assert_allclose(found.baseline[k, j], seasonal_naive(values[: origin + 1], 24, 6))
    assert (found.seen, found.fits) == (0, 0)
    assert found.origins[:, -1].tolist() == [len(values) - 7 for values in panel.values]


def test_a_backtest_never_sees_what_came(panel, fitted):
    spoilt = replace(panel, values=tuple(np.where(np.arange(960) >= 900, 1e3, values) for values in panel.values))
    clean = fitted.backtest(panel, origins=20, step=3)
    found = fitted.backtest(spoilt, origins=20, step=3)
    early = clean.origins[0] < 900
    assert early.any()
    assert not early.all()
    np.testing.assert_array_equal(found.values[:, early], clean.values[:, early])


@pytest.mark.parametrize("refit", [False, True])
def test_the_season_of_numbered_steps_is_not_found_from_what_came(refit):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200)
    later = np.where(np.arange(200) < 140, noise, 10 * np.sin(2 * np.pi * np.arange(200) / 6))
    assert (read_panel(later).season, read_panel(noise).season) == (6, 1)
    options = {"max_epochs": 1, "hidden_size": 4}
    found = [Forecaster(4, **options).backtest(y, origins=8, step=8, refit=refit) for y in (later, noise)]
    assert found[0].origins[0, 0] == 139
    np.testing.assert_array_equal(found[0].median[0, 0], found[1].median[0, 0])
    assert found[0].panel.season == 1
    assert Forecaster(4, season=6, **options).backtest(later, origins=8, step=8, refit=refit).panel.season == 6


def test_a_backtest_of_an_unfitted_forecaster_trains_before_the_first_moment(panel):
    forecaster = Forecaster(6, max_epochs=1, context=60, hidden_size=4)
    found = forecaster.backtest(panel, origins=3, step=6)
    assert (found.seen, found.fits) == (0, 1)
    assert forecaster.trained_["s0"] == panel.times(0)[found.origins[0, 0]]
    # Now it is fitted, and part of a longer backtest lies in what it was trained on.
    assert forecaster.backtest(panel, origins=5, step=6).seen == 2 * 2


def test_refit_trains_at_every_moment(panel):
    forecaster = Forecaster(6, max_epochs=1, context=60, hidden_size=4)
    found = forecaster.backtest(panel, origins=2, step=30, refit=True)
    assert (found.fits, found.seen) == (2, 0)
    first = Forecaster(6, max_epochs=1, context=60, hidden_size=4).fit(panel.until((found.origins[:, 0] + 1).tolist()))
    np.testing.assert_allclose(found.values[:, 0], first.forecast().values, rtol=1e-5)
    assert not hasattr(forecaster, "model_")


def test_the_scores_of_a_backtest_by_hand(panel, fitted):
    found = fitted.backtest(panel, origins=4, step=5, whole=False)
    metrics = found.metrics
    known = np.isfinite(found.actual)
    assert known.sum() < known.size  # the last moments have no whole horizon yet
    error = np.abs(found.actual - found.median)
    assert metrics["cellgate"]["MAE"] == pytest.approx(np.mean([np.nanmean(error[k]) for k in range(2)]))
    inside = (found.actual >= found.values[..., 1]) & (found.actual <= found.values[..., 2])
    assert metrics["cellgate"]["coverage-90"] == pytest.approx(inside[known].mean())
    np.testing.assert_allclose(found.by_step["cellgate"], np.nanmean(error, axis=(0, 1)))
    assert (metrics["origins"], metrics["steps"]) == (4, 6)


def test_the_last_value_and_the_mean_are_scored_too(panel, fitted):
    found = fitted.backtest(panel, origins=3, step=5)
    expected = {"last value": [], "mean": []}
    for k, values in enumerate(panel.values):
        gaps = {name: [] for name in expected}
        for j, origin in enumerate(found.origins[k]):
            past = values[: origin + 1][np.isfinite(values[: origin + 1])]
            for name, made in (("last value", past[-1]), ("mean", past.mean())):
                gaps[name].append(np.abs(found.actual[k, j] - made).mean())
        for name, gap in gaps.items():
            expected[name].append(np.mean(gap))
    for name, errors in expected.items():
        assert found.metrics["plain"][name]["MAE"] == pytest.approx(np.mean(errors))
    head, tail = panel.split(6)
    scores = fitted.evaluate(tail, head)["plain"]
    mean = [np.abs(now - np.nanmean(past)).mean() for now, past in zip(tail.values, head.values, strict=True)]
    assert scores["mean"]["MAE"] == pytest.approx(np.mean(mean))


def test_errors_differ_from_step_to_step(panel, fitted):
    """Tools whose network answers with its last hidden states make the same error at every step."""
    assert len(np.unique(fitted.backtest(panel, origins=8).by_step["cellgate"].round(9))) == 6


def test_the_table_of_a_backtest(panel, fitted):
    found = fitted.backtest(panel, origins=3, step=2, whole=False)
    table = found.columns()
    assert list(table) == [
        "unique_id", "cutoff", "ds", "y", "cellgate", "cellgate-lo-90", "cellgate-hi-90", "seasonal_naive"
    ]  # fmt: skip
    assert len(table["y"]) == np.isfinite(found.actual).sum()
    assert (table["ds"] > table["cutoff"]).all()
    by_stamp = dict(zip(panel.times(1).tolist(), panel.values[1], strict=True))
    for name, stamp, y in zip(table["unique_id"], table["ds"].tolist(), table["y"], strict=True):
        assert name == "s0" or by_stamp[stamp] == y


def test_too_many_origins_are_refused(panel, fitted):
    with pytest.raises(DataError, match=r"at least 1,?\d+ steps in one of the \d series.*ask for fewer origins"):
        fitted.backtest(panel, origins=100, step=10)
    with pytest.raises(InputError, match="origins: expected a whole number of 1 or more, got 0"):
        fitted.backtest(panel, origins=0)


# ---------------------------------------------------------------- newer rows


def rows_of(panel, k, begin, end):
    columns = {"unique_id": panel.ids[k], "ds": panel.times(k)[begin:end], "y": panel.values[k][begin:end]}
    return pd.DataFrame(columns)


def test_newer_rows_are_appended_wherever_they_begin(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    whole = fitted.forecast(panel).values
    # One row, then rows that overlap, then the rest: all of them by their stamps.
    forecaster = load(tmp_path)
    parts = [(760, 761), (755, 800), (800, 960)]
    for begin, end in parts:
        forecaster.update(pd.concat([rows_of(panel, k, begin, end) for k in (0, 1)]))
    assert [len(values) for values in forecaster.panel_.values] == [960, 960]
    np.testing.assert_array_equal(forecaster.panel_.values, panel.values)
    np.testing.assert_allclose(forecaster.forecast().values, whole, rtol=1e-6)


def test_rows_that_are_missing_between_are_missing_values(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    forecaster = load(tmp_path).update(rows_of(panel, 0, 790, 800))
    values = forecaster.panel_.values
    assert [len(v) for v in values] == [800, 760]
    assert np.isnan(values[0][760:790]).all()
    assert np.isfinite(forecaster.forecast().values).all()


def test_new_series_are_taken_in(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    new = rows_of(panel, 0, 0, 300).assign(unique_id="fresh")
    forecaster = load(tmp_path).update(new)
    assert forecaster.panel_.ids == ("s0", "s1", "fresh")
    assert np.isfinite(forecaster.forecast().values).all()


def test_rows_off_the_grid_are_refused(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    off = rows_of(panel, 0, 800, 810)
    off["ds"] = off["ds"] + np.timedelta64(10, "m")
    with pytest.raises(DataError, match="expected hourly steps that continue series 's0'"):
        load(tmp_path).update(off)


def test_values_without_a_time_are_appended_when_asked():
    values = np.sin(np.arange(200) / 3)
    forecaster = Forecaster(4, season=1, max_epochs=1).fit(values[:190])
    whole = forecaster.forecast(values).values
    assert np.allclose(forecaster.update(values[190:], append=True).forecast().values, whole)


# ---------------------------------------------------------------- streams


def test_a_stream_equals_a_forecast_made_afresh_at_every_row(panel, fitted):
    """Over more than three blocks of reading, with gaps on the way."""
    stream = fitted.stream()
    for t in range(760, 960):
        for k, name in enumerate(panel.ids):
            made = stream.push(panel.values[k][t], id=name, time=panel.times(k)[t])
            if t % 13 == 0 or t in (779, 780, 839, 840, 841, 901, 902, 959):
                fresh = fitted.forecast(panel.until([t + 1] * 2))
                np.testing.assert_allclose(made.values[0], fresh.values[k], rtol=2e-5, atol=1e-5)
                assert made.columns()["ds"][0] == panel.frequency.grid(panel.starts[k], t + 1, 1)[0]


def test_a_stream_takes_skipped_steps_for_missing(panel, fitted):
    stream = fitted.stream()
    made = stream.push(21.0, id="s0", time=panel.times(0)[765])
    longer = panel.until([766, 760])
    longer.values[0][760:765] = np.nan
    longer.values[0][765] = 21.0
    fresh = fitted.forecast(replace(longer, values=tuple(v.copy() for v in longer.values)))
    np.testing.assert_allclose(made.values[0], fresh.values[0], rtol=2e-5)


def test_a_stream_leaves_the_forecaster_as_it_was(fitted):
    before = fitted.forecast().values
    stream = fitted.stream()
    stream.push(1.0, id="s0")
    stream.push(None, id="s1")
    np.testing.assert_array_equal(fitted.forecast().values, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": 1.0}, "id: expected one of the series s0, s1, got None"),
        ({"value": 1.0, "id": "s9"}, "id: expected one of the series s0, s1, got 's9'"),
        ({"value": 1.0, "id": "s0", "time": np.datetime64("2024-03-05")}, "time: expected 2024-04-01 16:00 or a later"),
        ({"value": 1.0, "id": "s0", "time": 5}, "time: expected a stamp like 2024-04-01 16:00, got 5"),
    ],
)
def test_a_row_that_a_stream_cannot_place_is_refused(fitted, arguments, message):
    value = arguments.pop("value")
    with pytest.raises(DataError, match=message):
        fitted.stream().push(value, **arguments)


# ---------------------------------------------------------------- warm starts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": float("inf")}, "value: expected a finite number, or None where nothing was observed, got inf"),
        ({"value": "many"}, "value: expected a finite number, or None where nothing was observed, got 'many'"),
        ({"value": 1.0, "time": "soon"}, "time: expected a stamp like 2024-04-01 16:00, got 'soon'; correct it"),
        ({"value": 1.0, "past": {"heat": 1.0}}, "past: expected columns of the training, none, got 'heat'; correct it"),
        ({"value": 1.0, "time": "2204-04-01T16:00"}, "time: expected rows near series 's0', which goes up to"),
    ],
)
def test_a_row_that_a_stream_cannot_use_is_refused_in_words(fitted, arguments, message):
    with pytest.raises(DataError, match=message):
        fitted.stream().push(id="s0", **arguments)


@pytest.mark.parametrize("time", [pd.Period("2024-04-01T16", freq="h"), "2024-04-01 16:00", "2024-04-01T16:00Z"])
def test_times_of_any_kind_are_the_moment_that_they_name(fitted, time):
    made, expected = (fitted.stream().push(20.0, id="s0", time=told) for told in (time, None))
    np.testing.assert_array_equal(made.values, expected.values)


@pytest.mark.parametrize(
    ("times", "text", "following"),
    [
        ([f"{k / 2:.1f}" for k in range(60)], "31.0", 63),
        ([f"13.01.2024 {k:02}:00" for k in range(24)], "14.01.2024 01:00", np.datetime64("2024-01-14T02")),
        ([str(1990 + k) for k in range(30)], "2021", np.datetime64("2022-01-01")),
        ([str(1_700_000_000 + 60 * k) for k in range(60)], 1_700_003_660, np.datetime64("2023-11-14T23:15:20")),
    ],
)
def test_a_stream_reads_a_time_as_the_training_wrote_it(times, text, following):
    table = {"t": times, "y": [float(k % 5) for k in range(len(times))]}
    forecaster = Forecaster(2, season=5, max_epochs=1, hidden_size=4).fit(table)
    made = forecaster.stream().push(3.0, time=text)
    assert made.columns()["ds"][0] == following
    row = {"t": [str(text)], "y": [3.0]}
    np.testing.assert_allclose(made.values, forecaster.update(row).forecast().values, rtol=1e-6)


def test_a_row_far_from_the_history_is_refused(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    forecaster = load(tmp_path)
    for stamp in ("2204-04-01", "1924-04-01"):
        row = pd.DataFrame({"unique_id": ["s0"], "ds": pd.to_datetime([stamp]), "y": [20.0]})
        with pytest.raises(DataError, match=rf"the frame: expected rows near series 's0', .* got {stamp}, .* apart"):
            forecaster.update(row)
    assert len(forecaster.panel_.values[0]) == 760


def test_newer_rows_may_be_without_any_value(panel, fitted, tmp_path):
    """A day on which one of the sensors is silent, and one on which both are."""
    head, _ = panel.split(200)
    first, second = head.next_times(0, 2)
    fitted.save(tmp_path)
    forecaster = load(tmp_path)
    for stamp, values in ((first, [20.0, np.nan]), (second, [np.nan, np.nan])):
        forecaster.update(pd.DataFrame({"unique_id": ["s0", "s1"], "ds": [stamp] * 2, "y": values}))
    np.testing.assert_array_equal([values[-2:] for values in forecaster.panel_.values], [[20.0, np.nan], [np.nan] * 2])
    with pytest.raises(DataError, match="expected values in series 's1', got only missing ones; remove it"):
        forecaster.predict(pd.DataFrame({"unique_id": ["s0", "s1"], "ds": [first] * 2, "y": [20.0, np.nan]}))


def test_partial_fit_goes_on_from_the_weights(panel):
    head, _ = panel.split(200)
    forecaster = Forecaster(6, max_epochs=2, context=60, hidden_size=9).fit(head)
    weights = {name: value.clone() for name, value in forecaster.model_.state_dict().items()}
    task = forecaster.task_
    forecaster.set_params(max_epochs=1, learning_rate=1e-9).partial_fit(panel)
    assert forecaster.task_ == task
    for name, value in forecaster.model_.state_dict().items():
        assert np.allclose(value, weights[name], atol=1e-6), name
    assert len(forecaster.panel_.values[0]) == 960
    forecaster.set_params(learning_rate=5e-3).partial_fit(panel)
    assert not np.allclose(forecaster.model_.state_dict()["readout.weight"], weights["readout.weight"], atol=1e-4)


def test_partial_fit_keeps_the_network_however_much_the_data_are():
    """As many units as the first data asked for: of many steps a fit would take more."""
    rng = np.random.default_rng(0)
    forecaster = Forecaster(2, season=7, max_epochs=1).fit(rng.normal(size=100))
    forecaster.partial_fit(rng.normal(size=5_200))
    assert forecaster.model_.lstm.hidden_size == 32


def test_partial_fit_on_less_than_a_season_is_refused_in_words(panel):
    forecaster = Forecaster(2, max_epochs=1, hidden_size=4).fit(panel)
    before = forecaster.forecast().values
    with pytest.raises(
        DataError, match=r"expected a series of at least 32 steps \(a season of 24, 6 to stop by, and 2"
    ):
        forecaster.partial_fit(panel.since([len(values) - 27 for values in panel.values]))
    np.testing.assert_array_equal(forecaster.forecast().values, before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"horizon": 3}, "horizon: expected 8, as in the training, got 3; call fit again to change it, or ask"),
        ({"levels": (80, 95)}, r"levels: expected those of the training, 90, 80, got \[80, 95\]; call fit again"),
        ({"hidden_size": 5}, "hidden_size: expected 4, as in the training, got 5; call fit again to change it"),
        ({"num_layers": 2}, "num_layers: expected 1, as in the training, got 2; call fit again to change it"),
    ],
)
def test_arguments_that_need_another_training_are_refused_after_it(panel, changed, message):
    forecaster = Forecaster(8, levels=(80, 90), max_epochs=1, hidden_size=4).fit(panel)
    stream = forecaster.stream()
    forecaster.set_params(**changed)
    calls = [lambda: forecaster.partial_fit(panel)]
    if "horizon" in changed or "levels" in changed:
        calls += [forecaster.predict, forecaster.backtest, lambda: stream.push(1.0, id="s0")]
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()
    assert len(forecaster.backtest(refit=True, origins=1).values) == len(panel)
    forecaster.fit(panel).predict()


def test_some_of_the_levels_of_a_training_may_be_asked_for(panel):
    forecaster = Forecaster(3, levels=(80, 90), max_epochs=1, hidden_size=4).fit(panel)
    both = forecaster.forecast()
    only = forecaster.set_params(levels=[80]).forecast()
    np.testing.assert_array_equal(only.interval(80), both.interval(80))
    assert list(only.columns()) == ["unique_id", "ds", "cellgate", "cellgate-lo-80", "cellgate-hi-80"]


def test_a_season_given_goes_before_that_of_a_panel(panel):
    forecaster = Forecaster(3, season=5, max_epochs=1, hidden_size=4).fit(panel)
    assert (forecaster.task_.season, forecaster.panel_.season, panel.season) == (5, 5, 24)


def test_partial_fit_of_a_new_forecaster_is_a_fit(panel):
    one = Forecaster(6, max_epochs=1, context=60, hidden_size=4).partial_fit(panel)
    two = Forecaster(6, max_epochs=1, context=60, hidden_size=4).fit(panel)
    np.testing.assert_array_equal(one.forecast().values, two.forecast().values)


# ---------------------------------------------------------------- good manners


def test_it_prints_nothing_and_leaves_nothing_on_disk(panel, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    forecaster = Forecaster(6, max_epochs=1, context=60, hidden_size=4).fit(panel)
    forecaster.predict()
    forecaster.backtest(panel, origins=2)
    forecaster.stream().push(1.0, id="s0")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_fit_leaves_the_random_state_alone(panel):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    Forecaster(6, max_epochs=1, context=60, hidden_size=4).fit(panel)
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- what the network reads


def test_what_is_encoded_is_what_is_forecast(panel, fitted):
    import torch

    from cellgate.tasks.forecast import in_data_units

    encoded = fitted.encode()
    assert len(encoded.names) == encoded.x.shape[2] == fitted.model_.lstm.input_size
    assert encoded.names[:3] == ("change over 24 steps", "last change", "height over the last 24 steps")
    assert "sin of day" in encoded.names
    assert encoded.steps is not None
    assert encoded.steps[0][-1] == str(fitted.panel_.times(0)[-1]).replace("T", " ")[:16]
    answers = fitted.model_(encoded.x, encoded.ahead, encoded.simple, encoded.lengths)
    prepared = fitted._prepare(fitted.panel_)
    series, last = torch.arange(2), prepared.lengths[:, None] - 1
    correction = fitted.widening_, fitted.shrinkage_
    values = in_data_units(answers[:, None].detach(), prepared, fitted.task_, series, last, *correction)
    np.testing.assert_allclose(values[:, 0, :, 1], fitted.forecast().median, rtol=1e-5)
    x = encoded.x.clone().requires_grad_()
    fitted.model_(x, encoded.ahead, encoded.simple, encoded.lengths)[0, 0, 1].backward()
    assert x.grad is not None
    assert x.grad[0].abs().sum() > 0
    assert x.grad[1].abs().sum() == 0
