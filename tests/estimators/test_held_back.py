"""How much is held back to stop by and to set the intervals by: a quiet day alone tells little."""

import numpy as np
import pytest

from cellgate import Forecaster
from cellgate.data import Roles, read_panel
from cellgate.estimators.trainable import held_back


def held(series, steps, **changes):
    params = {"horizon": 24, "season": 24, "validation": None, **changes}
    panel = read_panel(np.random.default_rng(0).normal(size=(steps, series)), Roles(wide=True, season=params["season"]))
    return held_back(panel, params)[1]


@pytest.mark.parametrize(
    ("series", "steps", "expected"),
    [
        (1, 12_000, 240),  # a long series alone: ten stretches
        (3, 4_000, 240),
        (1, 9_000, 24),  # a short one has several models, each with a stretch of its own
        (20, 1_000, 24),  # many series have as many stretches
    ],
)
def test_a_few_long_series_hold_back_ten_stretches(series, steps, expected):
    assert held(series, steps) == expected


def test_no_more_than_a_tenth_and_no_less_than_before():
    assert held(1, 12_000, horizon=300) == 1_200
    assert held(6, 2_000, horizon=300) == 300
    assert held(1, 12_000, validation=50) == 50


def test_intervals_go_by_more_than_the_last_day():
    """Noise of which the last day has none: by that day alone intervals would be as narrow as it."""
    random = np.random.default_rng(0)
    values = random.normal(size=10_400)
    values[-24:] = 0.0
    model = Forecaster(24, season=24, max_epochs=1, hidden_size=4).fit(values)
    coming = np.concatenate([values, random.normal(size=24 * 12)])
    metrics = model.backtest(coming, origins=12, step=24).metrics
    assert metrics["cellgate"]["coverage-90"] > 0.8
    assert metrics["intervals"] == {"90": "not shown to be too narrow"}
