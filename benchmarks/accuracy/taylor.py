"""Half-hourly electricity demand (Taylor, 2003): the last week, 336 steps, from what came before.

Two seasons show in it, the day and the week; "seasonal naive" is given for both, and the target is the better of them.
One week is one draw, so the last six weeks are forecast as well, each by a training on what came before it. Defaults
were chosen on rolling origins in the weeks before the last: of the six only the last was not looked at.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.accuracy.row import Outcome, Row, data_file
from cellgate import Forecaster
from cellgate.data import read_panel
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.metrics import mase

_HORIZON, _DAY, _WEEK = 336, 48, 336
_WEEKS = 6  # that are forecast from those before them


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
    weeks = _weeks(path)
    mean, naive = np.mean(weeks, axis=0)
    won = sum(own < week for own, week in weeks)
    others = min(week for _, week in weeks[:-1])
    note = (
        f"of the last {_WEEKS} weeks, each forecast by a training on those before it, cellgate forecasts {won} better "
        f"than the week before does (MASE "
        + ", ".join(f"{own:.3f} against {week:.3f}" for own, week in weeks)
        + f"). The week before is off by {weeks[-1][1]:.3f} in the last week, by {others:.3f} or more in the five "
        "before it, and those are what the weights of simple forecasts go by. What moves demand from week to week is "
        "the weather: its forecast, as a column known beforehand, is the next idea."
    )
    return Outcome(
        {"MASE": ours, "mean of six weeks": float(mean)},
        {"MASE, day before": daily, "MASE, week before": weekly, "mean of six weeks": float(naive)},
        met=ours < min(daily, weekly),
        details={
            "epochs": forecaster.record_.epochs,
            "coverage-90": inside,
            "season": forecaster.task_.season,
            "weeks": weeks,
            "note": note,
        },
    )


def _weeks(path: Path) -> list[tuple[float, float]]:
    """MASE of each of the last weeks: ours, trained afresh on all before it, and the week before."""
    panel = read_panel(path)
    values = panel.values[0]
    rolling = Forecaster(_HORIZON).backtest(panel, origins=_WEEKS, step=_WEEK, refit=True)
    scale = values[: int(rolling.origins.min()) + 1]
    scores = []
    for k, last in enumerate(rolling.origins[0]):
        actual, history = rolling.actual[0, k], values[: int(last) + 1]
        week = seasonal_naive(history, _WEEK, _HORIZON)
        scores.append((mase(actual, rolling.median[0, k], scale, _DAY), mase(actual, week, scale, _DAY)))
    return scores


ROW = Row("taylor", "half-hourly demand, horizon 336", "MASE below seasonal naive", 180, _run, ("taylor.csv",))
