"""Frames in, frames out: utilsforecast evaluates what Forecaster returns as it is, and finds the scores we print."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest

from cellgate.data import DataError, read_panel
from cellgate.estimators import Forecaster, LanguageModel, ModelFolderError, load


@pytest.fixture(scope="module")
def frame():
    panel = read_panel("airline")
    columns = {"unique_id": "air", "ds": panel.times(0), "y": panel.values[0]}
    other = {**columns, "unique_id": "wave", "y": panel.values[0][::-1].copy()}
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(other)], ignore_index=True)


@pytest.fixture(scope="module")
def fitted(frame):
    return Forecaster(12, max_epochs=3).fit(frame[frame["ds"] < "1960"])


def test_utilsforecast_scores_a_forecast_as_we_do(frame, fitted):
    utilsforecast = pytest.importorskip("utilsforecast", reason="utilsforecast is not installed: pip install .[test]")
    from utilsforecast.evaluation import evaluate
    from utilsforecast.losses import coverage, mae, mase

    assert utilsforecast.__version__
    train = frame[frame["ds"] < "1960"]
    made = fitted.predict(train)
    assert isinstance(made, pd.DataFrame)
    beside = made.merge(frame, on=["unique_id", "ds"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about pandas
        metrics = [mae, partial(mase, seasonality=12), coverage]
        scores = evaluate(beside, metrics=metrics, train_df=train, level=[90], models=["cellgate"])
    theirs = scores.groupby("metric")["cellgate"].mean()
    ours = fitted.evaluate(read_panel(frame).split(12)[1])["cellgate"]
    assert theirs["mae"] == pytest.approx(ours["MAE"])
    assert theirs["mase"] == pytest.approx(ours["MASE"])
    assert theirs["coverage_level90"] == pytest.approx(ours["coverage-90"])


def test_polars_in_polars_out(frame, fitted):
    made = fitted.predict(pl.from_pandas(frame))
    assert isinstance(made, pl.DataFrame)
    assert made.columns == ["unique_id", "ds", "cellgate", "cellgate-lo-90", "cellgate-hi-90"]
    assert made["unique_id"].to_list() == ["air"] * 12 + ["wave"] * 12


# ---------------------------------------------------------------- as they came


def sales(tz=None, freq="D", ids=(7, 12), rows=120):
    """Names that are numbers, times with a zone that puts its clocks forward on the way."""
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2024-03-01", periods=rows, freq=freq, tz=tz),
                "y": rng.normal(size=rows) + np.arange(rows) % 7,
            }
        )
        for name in ids
    ]
    return pd.concat(parts, ignore_index=True)


def parted(table, head=100):
    groups = table.groupby("unique_id")
    return groups.head(head), groups.tail(len(table) // 2 - head)


@pytest.mark.parametrize("freq", ["D", "h"])
@pytest.mark.parametrize("tz", [None, "Europe/Berlin", "America/New_York", "Etc/GMT+5", "+05:30", "UTC"])
def test_utilsforecast_evaluates_numbers_as_names_and_zones(tz, freq, tmp_path):
    pytest.importorskip("utilsforecast", reason="utilsforecast is not installed: pip install .[test]")
    from utilsforecast.evaluation import evaluate
    from utilsforecast.losses import mae

    head, tail = parted(sales(tz, freq))
    forecaster = Forecaster(7, max_epochs=1, hidden_size=4).fit(head)
    made = forecaster.predict()
    assert isinstance(made, pd.DataFrame)
    assert made.dtypes[["unique_id", "ds"]].equals(head.dtypes[["unique_id", "ds"]])
    beside = made.merge(tail, on=["unique_id", "ds"])
    assert len(beside) == 14
    theirs = evaluate(beside, metrics=[mae], models=["cellgate"])["cellgate"].mean()
    assert theirs == pytest.approx(forecaster.evaluate(tail)["cellgate"]["MAE"])
    # From a folder: numbers as names in a plain table, the caller's types in a frame; newer rows where they belong.
    forecaster.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.predict()["unique_id"].tolist() == [7] * 7 + [12] * 7
    pd.testing.assert_frame_equal(loaded.predict(head), made)
    loaded.update(tail.groupby("unique_id").head(1))
    assert [len(values) for values in loaded.panel_.values] == [101, 101]
    assert loaded.predict()["ds"].iloc[0] == tail["ds"].iloc[1]
    # A stream takes the same names and stamps.
    stream = forecaster.stream()
    assert stream.push(1.0, id=7, time=tail["ds"].iloc[0]).columns()["unique_id"].tolist() == [7] * 7


def test_polars_types_come_back_too():
    table = pl.from_pandas(sales()).with_columns(pl.col("ds").cast(pl.Date), pl.col("unique_id").cast(pl.UInt16))
    made = Forecaster(7, max_epochs=1, hidden_size=4).fit(table).predict()
    assert made.schema["ds"] == pl.Date
    assert made.schema["unique_id"] == pl.UInt16
    zoned = pl.from_pandas(sales("Europe/Berlin", "h"))
    made = Forecaster(7, max_epochs=1, hidden_size=4).fit(zoned).predict()
    assert made.schema["ds"] == zoned.schema["ds"]


def test_the_history_is_forecast_in_the_kind_of_frame_that_was_given_last(frame, fitted, tmp_path):
    assert isinstance(fitted.predict(), pd.DataFrame)
    assert isinstance(fitted.predict(pl.from_pandas(frame)), pl.DataFrame)
    assert isinstance(fitted.predict(), pd.DataFrame)
    fitted.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert isinstance(loaded.predict(), dict)
    assert isinstance(loaded.update(pl.from_pandas(frame)).predict(), pl.DataFrame)
    assert isinstance(Forecaster(3, max_epochs=1, hidden_size=4).fit("airline").predict(), dict)


def test_a_backtest_as_a_frame():
    table = sales("Europe/Berlin")
    forecaster = Forecaster(7, max_epochs=1, hidden_size=4)
    found = forecaster.backtest(table, origins=2).frame()
    assert isinstance(found, pd.DataFrame)
    assert len(found.merge(table, on=["unique_id", "ds", "y"])) == len(found) == 28
    assert found["cutoff"].dtype == table["ds"].dtype
    airline = Forecaster(7, max_epochs=1, hidden_size=4)
    assert isinstance(airline.backtest("airline", origins=1).frame(), dict)


def test_a_name_that_is_no_number_makes_text_of_all():
    forecaster = Forecaster(7, max_epochs=1, hidden_size=4).fit(sales())
    new = sales(ids=("fresh",))
    assert forecaster.update(new).predict()["unique_id"].unique().tolist() == ["7", "12", "fresh"]


# ---------------------------------------------------------------- evaluate and score


def test_what_followed_is_found_by_its_times(frame, fitted):
    train, year = frame[frame["ds"] < "1960"], frame[frame["ds"] >= "1960"]
    panel = read_panel(frame)
    expected = fitted.evaluate(panel.split(12)[1])
    assert expected["steps"] == 12
    # Shuffled, with the history before it, in another frame, from a path: the same steps.
    for tail in (year.sample(frac=1, random_state=0), frame, pl.from_pandas(year)):
        assert fitted.evaluate(tail)["cellgate"] == pytest.approx(expected["cellgate"])
    assert fitted.evaluate(year, history=train)["cellgate"] == pytest.approx(expected["cellgate"])
    assert fitted.score(year) == pytest.approx(-expected["cellgate"]["MASE"])
    # Steps that are missing in between are not scored, and the others stay in their place.
    some = year[year["ds"].dt.month != 1]
    made = fitted.predict().merge(some, on=["unique_id", "ds"])
    error = (made["cellgate"] - made["y"]).abs().groupby(made["unique_id"]).mean().mean()
    assert fitted.evaluate(some)["cellgate"]["MAE"] == pytest.approx(error)


def test_score_leaves_what_was_measured(frame, fitted):
    measured = fitted.evaluate(frame)
    fitted.score(frame[frame["ds"] < "1960-04"])
    assert fitted.metrics_ is measured


def test_what_did_not_follow_is_refused(frame, fitted):
    train = frame[frame["ds"] < "1960"]
    for tail in (train, fitted.read(train)):
        with pytest.raises(DataError, match="expected steps after 1959-12-01, where the history ends, got none later"):
            fitted.evaluate(tail)
    other = frame.assign(unique_id="other")
    with pytest.raises(DataError, match="expected the series of the history, air, wave, got 'other'"):
        fitted.evaluate(other.drop_duplicates("ds"))
    with pytest.raises(DataError, match="expected a path, an array"):
        fitted.evaluate(3)
    with pytest.raises(DataError, match="expected monthly series, as in training, got"):
        fitted.score(np.arange(20.0))


def test_values_without_a_time_follow_the_last_step():
    values = np.random.default_rng(0).normal(size=120) + np.arange(120) % 7
    forecaster = Forecaster(5, max_epochs=1, hidden_size=4).fit(values[:115])
    made = forecaster.predict()["cellgate"]
    assert forecaster.evaluate(values[115:])["cellgate"]["MAE"] == pytest.approx(np.abs(made - values[115:]).mean())
    assert forecaster.score(values[115:]) == -forecaster.metrics_["cellgate"]["MASE"]


# ---------------------------------------------------------------- load


def test_every_estimator_loads_its_own_folders(fitted, tmp_path):
    fitted.save(tmp_path / "f")
    loaded = Forecaster.load(tmp_path / "f")
    assert isinstance(loaded, Forecaster)
    np.testing.assert_array_equal(loaded.predict()["cellgate"], fitted.predict()["cellgate"])
    with pytest.raises(ModelFolderError, match=r"expected the folder of a LanguageModel, got that of a Forecaster; "):
        LanguageModel.load(tmp_path / "f")
    LanguageModel(hidden_size=4, max_epochs=1).fit("to be or not to be. " * 100).save(tmp_path / "l")
    assert isinstance(LanguageModel.load(tmp_path / "l"), LanguageModel)
    with pytest.raises(ModelFolderError, match="expected a model folder, found none"):
        Forecaster.load(tmp_path / "nothing")

    class Mine(Forecaster):
        pass

    assert type(Mine.load(tmp_path / "f")) is Mine
