"""What a notebook shows of a result: a line, not all of its numbers."""

import numpy as np
import pytest

from cellgate import Forecaster


@pytest.fixture(scope="module")
def forecaster():
    series = {f"s{k}": np.arange(60.0) % 5 + k for k in range(3)}
    return Forecaster(4, wide=True, levels=(80, 95), max_epochs=1).fit(series)


def test_forecasts_backtests_and_series_are_a_line(forecaster):
    assert repr(forecaster.forecast()) == (
        "<Forecast of 3 series, 4 steps ahead, with 80 % and 95 % intervals: columns() is its table>"
    )
    assert repr(forecaster.stream().push(1.0, id="s1")).startswith("<Forecast of 1 series, 4 steps ahead, ")
    assert repr(forecaster.backtest(origins=2)) == (
        "<Backtest of 3 series from 2 moments each, 4 steps ahead: metrics, by_step and frame() have the rest>"
    )
    assert repr(forecaster.panel_) == "<Panel of the columns: 3 series, 180 steps, numbered steps>"


def test_an_explanation_shows_what_it_found(forecaster):
    explanation = forecaster.explain()
    first, *findings = repr(explanation).splitlines()
    assert first == "<Explanation, Forecast of the columns: save(path) writes the page>"
    assert [line.strip() for line in findings] == list(explanation.report.findings)
