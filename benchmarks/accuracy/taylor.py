"""Half-hourly electricity demand (Taylor, 2003): the last week, 336 steps, from what came before.

Two seasons show in it, the day and the week; "seasonal naive" is given for both, and the target is the better of them.
Defaults were chosen on rolling origins in the weeks before the last.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.row import Outcome, Row, data_file
from cellgate import Forecaster
from cellgate.data import read_panel
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.metrics import mase

_HORIZON, _DAY, _WEEK = 336, 48, 336


def _run() -> Outcome:
    path = data_file("taylor.csv")
    assert path is not None
    head, tail = read_panel(path).split(_HORIZON)
    history, actual = head.values[0], tail.values[0]
    forecaster = Forecaster(_HORIZON).fit(head)
    made = forecaster.forecast()
    low, high = made.interval(90)
    ours = mase(actual, made.median[0], history, _DAY)
    daily = mase(actual, seasonal_naive(history, _DAY, _HORIZON), history, _DAY)
    weekly = mase(actual, seasonal_naive(history, _WEEK, _HORIZON), history, _DAY)
    inside = float(np.mean((actual >= low[0]) & (actual <= high[0])))
    return Outcome(
        {"MASE": ours},
        {"MASE, day before": daily, "MASE, week before": weekly},
        met=ours < min(daily, weekly),
        details={"epochs": forecaster.record_.epochs, "coverage-90": inside, "season": forecaster.task_.season},
    )


ROW = Row("taylor", "half-hourly demand, horizon 336", "MASE below seasonal naive", 180, _run, ("taylor.csv",))
