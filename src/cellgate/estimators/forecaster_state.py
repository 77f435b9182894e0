"""What a fitted Forecaster knows, and how it answers by that: units, the network's input, forecasts of all series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cellgate.data import Panel
from cellgate.data.panel import show_time
from cellgate.estimators.forecast import EncodedForecast, Forecast
from cellgate.estimators.forecast_training import FittedForecaster
from cellgate.estimators.forecaster_arguments import ForecasterArguments
from cellgate.estimators.protocol import expect, is_count, not_fitted
from cellgate.tasks.forecast import forecast_at, known_ahead, reading_start
from cellgate.tasks.forecast_data import Prepared, Units, feature_names, fit_units, prepare


class ForecasterState(ForecasterArguments):
    """The attributes of a Forecaster, which documents them, and what follows from them."""

    def _keep(self, fitted: FittedForecaster, learnt: list[int]) -> None:
        """Take over what a fit gives.

        Args:
            fitted: the model and what was found.
            learnt: the series that were long enough to learn from; the others are measured when they are forecast.
        """
        names = [fitted.panel.ids[k] for k in learnt]
        self.panel_ = replace(fitted.panel, unlike=())
        self.task_, self.model_ = fitted.task, fitted.model
        self.record_, self.coding_, self.settings_ = fitted.record, fitted.coding, fitted.settings
        self.start_score_ = fitted.start_score
        self.shrinkage_, self.widening_ = fitted.shrinkage, fitted.widening
        units = fitted.units.select(np.array(learnt))
        self.scales_ = dict(zip(names, units.scales.tolist(), strict=True))
        self.lags_ = dict(zip(names, units.lags.tolist(), strict=True))
        self.mixes_ = dict(zip(names, units.mixes, strict=True))
        self.trained_ = {name: fitted.panel.times(k)[-1] for name, k in zip(names, learnt, strict=True)}
        self.metrics_: dict[str, Any] = {}

    def _require_fit(self) -> None:
        if not hasattr(self, "model_"):
            raise not_fitted("Forecaster")
        self._check_against(self.task_)

    def _prepare(self, panel: Panel, ends: np.ndarray | None = None) -> Prepared:
        """The panel as the network sees it; a series of the training keeps its units, a new one gets its own."""
        return prepare(panel, self.task_, self._units(panel, ends), self.coding_)

    def _units(self, panel: Panel, ends: np.ndarray | None = None) -> Units:
        """Those of the training, and fresh ones for series that it did not have."""
        new = [k for k, name in enumerate(panel.ids) if name not in self.scales_]
        fresh = fit_units(panel.select(new), self.task_, None if ends is None else ends[new])
        found = zip(fresh.scales.tolist(), fresh.lags.tolist(), fresh.mixes, strict=True)
        own = {panel.ids[k]: units for k, units in zip(new, found, strict=True)}
        every = [
            own[name] if name in own else (self.scales_[name], self.lags_[name], self.mixes_[name])
            for name in panel.ids
        ]
        scales, lags, mixes = zip(*every, strict=True)
        return Units(np.array(scales), np.array(lags, dtype=np.int64), mixes)

    def _answered(self, panel: Panel, steps: int) -> Forecast:
        ends = np.array([len(values) - 1 for values in panel.values])
        which, correction = np.arange(len(panel)), (self.widening_, self.shrinkage_)
        quantiles = forecast_at(self.model_, self._prepare(panel), self.task_, which, ends, *correction)
        return Forecast.from_quantiles(panel, tuple(self.levels), quantiles[:, :steps], self.task_.quantiles)

    def _steps_asked(self, steps: Any) -> int:
        horizon = self.task_.horizon
        expect(
            "steps",
            steps,
            f"a whole number from 1 to {horizon}, the horizon, or None",
            lambda given: given is None or (is_count(given) and given <= horizon),
        )
        return horizon if steps is None else steps

    def _encoded(self, panel: Panel) -> EncodedForecast:
        """Series just as the network reads them; see Forecaster.encode."""
        self.coding_.require_future(panel, self.task_.horizon)
        prepared = self._prepare(panel)
        series, last = torch.arange(len(panel)), prepared.lengths - 1
        starts = torch.from_numpy(reading_start(last.numpy(), self.task_.context))
        lengths = last + 1 - starts
        steps = torch.minimum(starts[:, None] + torch.arange(int(lengths.max())), last[:, None])
        x = prepared.features[prepared.offsets[:, None] + steps]
        ahead, simple = known_ahead(prepared, self.task_, series, last[:, None])
        stamps = tuple(
            tuple(show_time(stamp) for stamp in panel.times(k)[int(start) :]) for k, start in enumerate(starts)
        )
        names = feature_names(self.task_, panel.frequency, self.coding_)
        return EncodedForecast(x, lengths, names, panel.ids, stamps, ahead=ahead[:, 0], simple=simple[:, 0])
