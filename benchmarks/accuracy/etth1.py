"""ETTh1, all seven columns, horizon 96, the standard split: 12, 4 and 4 months of 30 days.

Errors are of values scaled by the mean and deviation of the first 12 months, over every window of the test months, as
in Zhou et al. (2021), "Informer", section 4. Training sees the first 12 months, the next 4 stop it and set its
intervals. Defaults were chosen on those 4 months.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.row import Outcome, Row, data_file
from cellgate import Forecaster
from cellgate.data import Panel, Roles, read_panel

_MONTH, _HORIZON = 30 * 24, 96
_TRAIN, _VALIDATION, _TEST = 12 * _MONTH, 4 * _MONTH, 4 * _MONTH


def read() -> Panel:
    """The seven columns, as far as the split uses them."""
    path = data_file("ETTh1.csv")
    assert path is not None
    panel = read_panel(path, Roles(wide=True))
    return panel.split(len(panel.values[0]) - _TRAIN - _VALIDATION - _TEST)[0]


def scaled_errors(panel: Panel, actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """MSE and MAE of (S, origins, horizon) values in units of the training part's deviation."""
    deviation = np.array([values[:_TRAIN].std() for values in panel.values])[:, None, None]
    error = (predicted - actual) / deviation
    return {"MSE": float((error**2).mean()), "MAE": float(np.abs(error).mean())}


def _run() -> Outcome:
    panel = read()
    head, _ = panel.split(_TEST)
    forecaster = Forecaster(_HORIZON, validation=_VALIDATION).fit(head)
    rolled = forecaster.backtest(panel, origins=_TEST - _HORIZON + 1, step=1, whole=True)
    ours = scaled_errors(panel, rolled.actual, rolled.median)
    naive = scaled_errors(panel, rolled.actual, rolled.baseline)
    record = forecaster.record_
    return Outcome(
        ours,
        naive,
        met=ours["MSE"] <= 0.40 and ours["MAE"] <= 0.41,
        details={"epochs": record.epochs, "best epoch": record.best_epoch, "windows": rolled.actual.shape[1]},
    )


ROW = Row("etth1", "ETTh1, 7 columns, horizon 96", "MSE <= .40, MAE <= .41", 600, _run, ("ETTh1.csv",))
