"""Frames in, frames out: utilsforecast evaluates what Forecaster returns as it is, and finds the scores we print."""

import warnings
from functools import partial

import pandas as pd
import polars as pl
import pytest

from cellgate.data import read_panel
from cellgate.data.extend import alias
from cellgate.data.frequency import parse_frequency
from cellgate.estimators import Forecaster


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


@pytest.mark.parametrize("name", ["1s", "60s", "3600s", "86400s", "1MS", "3MS", "12MS", "1ME", "1B", "1step"])
def test_a_frequency_can_be_said_again(name):
    found = parse_frequency(name)
    assert found is not None
    assert parse_frequency(alias(found)) == found
