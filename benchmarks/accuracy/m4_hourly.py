"""M4 Hourly, 414 series, horizon 48, the competition's own split and scores.

Defaults were chosen on the last 48 steps of the training file (which the test file follows), never on the test file.
OWA is the mean of sMAPE and MASE, each over that of Naive2 as published by the organisers: 18.383 and 2.395
(Makridakis, Spiliotis and Assimakopoulos, 2020, "The M4 Competition").
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.epoch_profile import share_outside_lstm
from benchmarks.accuracy.row import Outcome, Row, data_file
from cellgate import Forecaster
from cellgate.data import Panel, read_panel

_NAIVE2 = {"sMAPE": 18.383, "MASE": 2.395}
_HORIZON = 48


def _owa(scores: dict[str, float]) -> float:
    return float(np.mean([scores[name] / value for name, value in _NAIVE2.items()]))


def _with(scores: dict[str, float]) -> dict[str, float]:
    return {"OWA": _owa(scores), "sMAPE": scores["sMAPE"], "MASE": scores["MASE"]}


def read(name: str) -> Panel:
    """One of the two files."""
    path = data_file(name)
    assert path is not None
    return read_panel(path)


def _run() -> Outcome:
    train, test = read("M4-Hourly-train.csv"), read("M4-Hourly-test.csv")
    assert train.ids == test.ids
    forecaster = Forecaster(_HORIZON).fit(train)
    metrics = forecaster.evaluate(test)
    ours, naive = _with(metrics["cellgate"]), _with(metrics["seasonal naive"])
    record = forecaster.record_
    # A quarter of the series, an epoch of which takes a second or two.
    outside = share_outside_lstm(train.select(range(0, len(train), 4)), _HORIZON)
    details = {
        "share of an epoch outside the LSTM": outside,
        "epochs": record.epochs,
        "best epoch": record.best_epoch,
        "training seconds": record.seconds,
        "coverage-90": metrics["cellgate"]["coverage-90"],
    }
    return Outcome(ours, naive, met=ours["OWA"] <= 0.50, details=details)


ROW = Row(
    "m4-hourly",
    "M4 Hourly, 414 series, horizon 48",
    "OWA <= 0.50",
    600,
    _run,
    ("M4-Hourly-train.csv", "M4-Hourly-test.csv"),
)
