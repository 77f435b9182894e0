"""How a backtest is run: one set of weights for all origins, or a training for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellgate.data import Panel
from cellgate.data.frame_kind import kind_of
from cellgate.data.grid import season_before
from cellgate.estimators.backtest import Backtest, choose_origins, naive_forecasts, what_came
from cellgate.estimators.forecast import median_first
from cellgate.estimators.protocol import not_fitted
from cellgate.tasks.forecast import forecast_at
from cellgate.training import Progress

if TYPE_CHECKING:
    from cellgate.estimators.forecaster import Forecaster


def run_backtest(
    forecaster: Forecaster,
    data: Any,
    origins: int,
    step: int,
    refit: bool,
    whole: bool,
    watch: Callable[[Progress], None] | None,
) -> Backtest:
    """See Forecaster.backtest, which checks the arguments."""
    fitted = hasattr(forecaster, "model_")
    if data is None and not fitted:
        raise not_fitted("Forecaster")
    if fitted and not refit:
        forecaster._require_fit()
    panel = forecaster.panel_ if data is None else forecaster.read(data)
    kept, moments = choose_origins(panel, forecaster.horizon, origins, step, whole)
    left_out = tuple(name for k, name in enumerate(panel.ids) if k not in set(kept))
    panel = panel.select(kept)
    made, fits = [], 0
    if refit:
        for column in moments.T:
            once = type(forecaster)(**forecaster.get_params())
            _fit(once, _as_known(panel, column + 1), watch, f"training {fits + 1} of {moments.shape[1]}")
            made.append(_forecast_at(once, panel, column[:, None]))
            fits += 1
        panel = season_before(panel, (moments[:, 0] + 1).tolist())  # by which the baseline and the scores go
    else:
        if not fitted:
            _fit(forecaster, _as_known(panel, moments[:, 0] + 1), watch, "the training")
            forecaster.kind_ = kind_of(data)
            fits = 1
        panel = replace(panel, season=forecaster.task_.season)
        made.append(_forecast_at(forecaster, panel, moments))
    return Backtest(
        panel=panel,
        levels=tuple(forecaster.levels),
        origins=moments,
        values=np.concatenate(made, axis=1),
        actual=what_came(panel, moments, forecaster.horizon),
        baseline=naive_forecasts(panel, moments, forecaster.horizon),
        seen=0 if refit else _count_seen(forecaster, panel, moments),
        fits=fits,
        kind=getattr(forecaster, "kind_", None) if data is None else kind_of(data),
        left_out=left_out,
    )


def _as_known(panel: Panel, ends: np.ndarray) -> Panel:
    """The series up to some steps, with the season that those steps show."""
    return season_before(panel, ends.tolist()).until(ends.tolist())


def _fit(forecaster: Forecaster, panel: Panel, watch: Callable[[Progress], None] | None, told: str) -> None:
    """Fit; Ctrl-C ends the backtest, as forecasts of a model that was cut short say nothing about the others."""
    try:
        forecaster.fit(panel, watch=watch)
        cut_short = forecaster.record_.stopped_by == "Ctrl-C"
    except KeyboardInterrupt:
        cut_short = True
    if cut_short:
        raise KeyboardInterrupt(f"stopped by Ctrl-C in {told} of the backtest, of which nothing is kept")


def _forecast_at(forecaster: Forecaster, panel: Panel, origins: np.ndarray) -> np.ndarray:
    """(S, K, H, 1 + 2 * levels) from (S, K) steps of a panel, which holds what came later too."""
    task = forecaster.task_
    series = np.repeat(np.arange(len(panel)), origins.shape[1])
    # Units of new series are measured up to the first origin only.
    prepared = forecaster._prepare(panel, origins[:, 0] + 1)
    correction = forecaster.widening_, forecaster.shrinkage_
    answers = forecast_at(forecaster.model_, prepared, task, series, origins.reshape(-1), *correction)
    ordered = median_first(answers, task.quantiles, forecaster.levels)
    return ordered.reshape(*origins.shape, *ordered.shape[1:])


def _count_seen(forecaster: Forecaster, panel: Panel, origins: np.ndarray) -> int:
    """How many origins lie before the end of what the weights were trained on."""
    trained = forecaster.trained_
    return sum(
        int((panel.times(k)[origins[k]] < trained[name]).sum()) for k, name in enumerate(panel.ids) if name in trained
    )
