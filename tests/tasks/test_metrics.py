"""Scores against values worked out by hand."""

import math

import numpy as np
import pytest

from cellgate.tasks.baselines import fill_by_season, seasonal_naive
from cellgate.tasks.metrics import mae, mase, smape


def test_scores_by_hand():
    actual, predicted = np.array([2.0, 4.0]), np.array([1.0, 6.0])
    assert mae(actual, predicted) == 1.5
    assert smape(actual, predicted) == pytest.approx(100 * (1 / 3 + 2 / 10))
    history = np.array([1.0, 5.0, 2.0, 8.0])  # changes over a season of 2: 1 and 3
    assert mase(actual, predicted, history, 2) == 1.5 / 2


def test_missing_values_count_nowhere():
    actual, predicted = np.array([2.0, np.nan]), np.array([1.0, 6.0])
    assert mae(actual, predicted) == 1
    assert smape(actual, predicted) == pytest.approx(200 / 3)


def test_zero_against_zero_is_no_error():
    assert smape(np.zeros(3), np.zeros(3)) == 0


def test_a_history_that_never_changes_has_no_scaled_error():
    assert math.isnan(mase(np.ones(2), np.zeros(2), np.ones(9), 3))
    assert math.isnan(mase(np.ones(2), np.zeros(2), np.ones(3), 3))


def test_seasonal_naive_repeats_the_last_season():
    history = np.arange(10.0)
    assert seasonal_naive(history, 3, 7).tolist() == [7, 8, 9, 7, 8, 9, 7]
    assert seasonal_naive(history, 1, 2).tolist() == [9, 9]
    assert seasonal_naive(history[:2], 3, 3).tolist() == [1, 1, 1]  # less than a season: the last value


def test_gaps_are_filled_from_the_past_only():
    nan = np.nan
    filled = fill_by_season(np.array([nan, 2, 3, 4, nan, nan, 7]), 3)
    assert filled.tolist() == [2, 2, 3, 4, 2, 3, 7]
    # Whatever comes later, what was filled before it stays.
    for end in range(2, 7):
        assert fill_by_season(np.array([nan, 2, 3, 4, nan, nan, 7])[:end], 3).tolist() == filled[:end].tolist()
