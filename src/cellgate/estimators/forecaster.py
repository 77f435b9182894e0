"""Forecaster: from a table of series to their next values, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellgate.data import DataError, Panel, Roles, read_panel, with_future
from cellgate.data.extend import alias, extend_panel
from cellgate.data.panel import show_time
from cellgate.estimators.backtest import Backtest
from cellgate.estimators.backtest_run import run_backtest
from cellgate.estimators.explain_forecast import explain_forecast
from cellgate.estimators.explaining import Explanation, deliver, keep_report
from cellgate.estimators.forecast import EncodedForecast, Forecast
from cellgate.estimators.forecast_scores import BASELINE, scores
from cellgate.estimators.forecast_stream import ForecastStream
from cellgate.estimators.forecast_training import Earlier, fit_forecaster
from cellgate.estimators.forecaster_folder import restore_forecaster, save_forecaster
from cellgate.estimators.protocol import Parameters, expect, is_count, not_fitted
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.covariates import CovariateCoding
from cellgate.tasks.forecast import forecast_at, known_ahead, reading_start
from cellgate.tasks.forecast_data import Prepared, Units, feature_names, fit_units, prepare
from cellgate.tasks.metrics import seasonal_scale
from cellgate.training import Progress

__all__ = ["BASELINE", "Forecaster"]


class Forecaster(Parameters):
    """Forecasts one or many series with one LSTM, all steps of the horizon at once, with intervals.

    Arguments are taken as they are and checked when `fit` uses them; None means found from the data.

    Args:
        horizon: steps to predict.
        season: steps in a cycle.
        freq: the frequency, where the time stamps leave it open ("h", "D", "MS", ...).
        time: the time column.
        target: the value column.
        id: the column that tells series apart.
        wide: whether every column of numbers is a series.
        time_format: of the time column, as strptime has it.
        past: columns known up to the last step only.
        future: columns known for the steps to predict as well.
        static: columns that are the same throughout a series.
        long_season: steps in a second, longer cycle, such as the week of hourly data; 1 for none.
        levels: intervals to give, in percent.
        hidden_size: units of the LSTM; 16 to 128 by the amount of data.
        num_layers: layers of the LSTM.
        context: how many steps are read before an answer.
        dropout: before the readout.
        learning_rate: the highest of the schedule.
        batch_size: windows in a step.
        max_epochs: the most passes over the data.
        max_seconds: the most training time.
        patience: epochs without improvement before it stops.
        validation: last steps of every series kept for stopping at the right time.
        seed: of weights, shuffling and dropout; equal seeds give equal runs.

    Attributes:
        panel_: the series as read, which a forecast continues.
        task_: the task with everything found.
        model_: the trained ForecastNetwork: `model_.lstm` is a cellgate.LSTM, `model_.readout` a linear layer.
        record_: how the training went.
        settings_: the TrainingSettings of the last fit; a loaded model has none.
        scales_: id -> scale of each series trained on.
        lags_: id -> the season that each series' naive forecast repeats, of the two.
        carries_: id -> the share of what the naive forecast is off now that is carried on, from 0 to 1.
        trained_: id -> stamp of the last step that each series was trained on.
        coding_: how covariates become numbers.
        shrinkage_: (horizon,) what its median answers are multiplied by, from 0 to 1; 1 where one model was trained.
        widening_: (horizon, quantiles) what validation found missing in the network's own intervals.
        metrics_: what `evaluate` last measured, or an empty dict.

    Example:
        >>> import cellgate
        >>> forecaster = cellgate.Forecaster(horizon=12, max_epochs=2).fit("airline")
        >>> sorted(forecaster.predict())
        ['cellgate', 'cellgate-hi-90', 'cellgate-lo-90', 'ds', 'unique_id']
    """

    def __init__(
        self,
        horizon: int = 12,
        *,
        season: int | None = None,
        freq: str | None = None,
        time: str | None = None,
        target: str | None = None,
        id: str | None = None,
        wide: bool = False,
        time_format: str | None = None,
        past: Sequence[str] = (),
        future: Sequence[str] = (),
        static: Sequence[str] = (),
        long_season: int | None = None,
        levels: Sequence[float] = (90,),
        hidden_size: int | None = None,
        num_layers: int = 1,
        context: int | None = None,
        dropout: float = 0.1,
        learning_rate: float = 5e-3,
        batch_size: int = 32,
        max_epochs: int | None = None,
        max_seconds: float | None = None,
        patience: int | None = None,
        validation: int | None = None,
        seed: int = 0,
    ) -> None:
        self.horizon = horizon
        self.season = season
        self.freq = freq
        self.time = time
        self.target = target
        self.id = id
        self.wide = wide
        self.time_format = time_format
        self.past = past
        self.future = future
        self.static = static
        self.long_season = long_season
        self.levels = levels
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.context = context
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.patience = patience
        self.validation = validation
        self.seed = seed

    # ------------------------------------------------------------ fit

    def read(self, data: Any) -> Panel:
        """Read data as `fit` would, with this forecaster's column names."""
        if isinstance(data, Panel):
            return data
        roles = Roles(
            self.time,
            self.target,
            self.id,
            self.wide,
            self.freq,
            self.season,
            self.time_format,
            tuple(self.past),
            tuple(self.future),
            tuple(self.static),
        )
        return read_panel(data, roles)

    def fit(
        self,
        data: Any,
        *,
        watch: Callable[[Progress], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float = 10.0,
        report: bool | str | Path = False,
    ) -> Forecaster:
        """Train on every series of the data; the last steps of each are watched to stop in time.

        Args:
            data: a path, a bundled name, a data frame, an array or a Panel.
            watch: told after every epoch.
            checkpoint: a folder for the state of the training; a fit that was cut short goes on from there, with the
                result that it would have had. Remove it when it is no longer needed.
            checkpoint_every: the least seconds between two saves.
            report: an HTML file to write at the end, `explain` of these series; True keeps the explanation as
                `report_`.

        Raises:
            InputError: for an argument or for data that cannot be used; with a report, also for drivers that are not
                known for the steps to come.
            TrainingError: if the loss stops being a number.
        """
        panel = self.read(data)
        if report:
            # What the report cannot show is said now, not when the training is over.
            self._check()
            lengths = np.array([len(values) for values in panel.values])
            CovariateCoding.fit(panel, lengths).require_future(panel, self.horizon)
        self._fit(panel, watch, checkpoint, checkpoint_every, None)
        if report:
            keep_report(self, self.explain(), report)
        return self

    def partial_fit(self, data: Any, *, watch: Callable[[Progress], None] | None = None) -> Forecaster:
        """Train on from the present weights, or from the start where there are none.

        What was found at the first fit (season, logs, how covariates are coded) stays. One model is trained, however
        little the data: their last steps stop it and set its intervals, so they should be newer than those trained on.

        Args:
            data: the series to train on, and to continue from then on; read as `fit` reads.
            watch: told after every epoch.

        Raises:
            InputError: for data unlike those of the first fit.
            TrainingError: if the loss stops being a number.
        """
        earlier = None
        panel = self.read(data)
        if hasattr(self, "model_"):
            panel = self._like_training(panel)
            earlier = Earlier(self.task_, self.coding_, self.model_.state_dict())
        self._fit(panel, watch, None, 10.0, earlier)
        return self

    def _fit(
        self,
        panel: Panel,
        watch: Callable[[Progress], None] | None,
        checkpoint: str | Path | None,
        checkpoint_every: float,
        earlier: Earlier | None,
    ) -> None:
        self._check()
        fitted = fit_forecaster(
            panel, self.get_params(), watch, Path(checkpoint) if checkpoint else None, checkpoint_every, earlier
        )
        self.panel_, self.task_, self.model_ = fitted.panel, fitted.task, fitted.model
        self.record_, self.coding_, self.settings_ = fitted.record, fitted.coding, fitted.settings
        self.shrinkage_, self.widening_ = fitted.shrinkage, fitted.widening
        self.scales_ = dict(zip(fitted.panel.ids, fitted.units.scales.tolist(), strict=True))
        self.lags_ = dict(zip(fitted.panel.ids, fitted.units.lags.tolist(), strict=True))
        self.carries_ = dict(zip(fitted.panel.ids, fitted.units.carries.tolist(), strict=True))
        self.trained_ = {name: fitted.panel.times(k)[-1] for k, name in enumerate(fitted.panel.ids)}
        self.metrics_: dict[str, Any] = {}

    def _check(self) -> None:
        for name in ("horizon", "num_layers", "batch_size"):
            expect(name, getattr(self, name), "a whole number of 1 or more", is_count)
        for name in ("season", "long_season", "hidden_size", "context", "max_epochs", "patience", "validation"):
            value = getattr(self, name)
            if value is not None:
                expect(name, value, "a whole number of 1 or more, or None", is_count)
        expect("levels", self.levels, "percentages between 0 and 100", lambda v: all(0 < x < 100 for x in v))
        expect("dropout", self.dropout, "a share from 0 to below 1", lambda v: 0 <= v < 1)
        expect("learning_rate", self.learning_rate, "a number above 0", lambda v: v > 0)
        if self.max_seconds is not None:
            expect("max_seconds", self.max_seconds, "a number above 0, or None", lambda v: v > 0)

    # ------------------------------------------------------------ predict

    def forecast(self, data: Any = None, *, future: Any = None) -> Forecast:
        """The steps after the last one of every series.

        Args:
            data: series to continue, read as `fit` reads; those of the training where left out.
            future: a table with the future-known columns of the steps to come, where `data` has no rows for them.

        Raises:
            DataError: for series too short, or unlike those trained on, or drivers that are not known far enough.
        """
        self._require_fit()
        panel = self._to_continue(data, future)
        ends = np.array([len(values) - 1 for values in panel.values])
        which, correction = np.arange(len(panel)), (self.widening_, self.shrinkage_)
        quantiles = forecast_at(self.model_, self._prepare(panel), self.task_, which, ends, *correction)
        return Forecast.from_quantiles(panel, tuple(self.levels), quantiles, self.task_.quantiles)

    def encode(self, data: Any = None, *, future: Any = None) -> EncodedForecast:
        """Series just as the network reads them for a forecast.

        ``model_(e.x, e.ahead, e.simple, e.lengths)`` answers for them, (S, horizon, quantiles) in the unit of the
        answers (see tasks.forecast); traces and gradients may be taken of that call.
        """
        self._require_fit()
        panel = self._to_continue(data, future)
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

    def predict(self, data: Any = None, *, future: Any = None) -> Any:
        """The forecast as a table with columns unique_id, ds, cellgate, cellgate-lo-90, cellgate-hi-90.

        Args:
            data: as for `forecast`.
            future: as for `forecast`.

        Returns:
            A frame of the caller's own kind where one was given, otherwise a dict of (rows,) arrays.
        """
        columns = self.forecast(data, future=future).columns()
        return _like(future if data is None else data, columns)

    def update(self, data: Any, *, append: bool = False) -> Forecaster:
        """Take newer rows into the history, without training again: `predict` follows its last step.

        Rows are placed by their time stamps: they may continue the history, overlap it, or be all of a newer one. Steps
        between that have no row are missing values. Rows of new series are welcome.

        Args:
            data: rows with the columns of the training, one row or many.
            append: put the values after the last step of every series, whatever they are numbered; for data without
                a time column, which are otherwise taken for a whole history.

        Raises:
            DataError: for rows that do not fit the history.
        """
        self._require_fit()
        newer = self._read_newer(data)
        if append:
            ends = [self.panel_.next_times(self.panel_.ids.index(name), 1)[0] for name in newer.ids]
            newer = replace(newer, starts=tuple(ends))
        self.panel_ = extend_panel(self.panel_, newer)
        return self

    def stream(self) -> ForecastStream:
        """Forecasts that follow rows as they come, the LSTM's state carried from row to row; see ForecastStream."""
        self._require_fit()
        return ForecastStream(self)

    def backtest(
        self,
        data: Any = None,
        *,
        origins: int = 10,
        step: int = 1,
        refit: bool = False,
        whole: bool = True,
        watch: Callable[[Progress], None] | None = None,
    ) -> Backtest:
        """What would have been forecast at many moments of the past, beside what came and the seasonal naive forecast.

        Args:
            data: series with what came; the history where left out.
            origins: from how many moments of every series.
            step: steps between two of them.
            refit: train afresh on what was known at each moment; otherwise one set of weights serves all: those of
                this forecaster or, if it was never fitted, weights from a fit up to the first moment (which are then
                kept, so that it is fitted afterwards).
            whole: only moments that a whole horizon follows; otherwise the last moment is one step before the end.
            watch: told after every epoch of every training.

        Returns:
            A Backtest: arrays, `metrics`, `by_step`, and `columns()` for a table.

        Raises:
            DataError: for series too short for so many origins.
        """
        for name, value in (("origins", origins), ("step", step)):
            expect(name, value, "a whole number of 1 or more", is_count)
        return run_backtest(self, data, origins, step, refit, whole, watch)

    def _prepare(self, panel: Panel, ends: np.ndarray | None = None) -> Prepared:
        """The panel as the network sees it; a series of the training keeps its units, a new one gets its own."""
        fresh = fit_units(panel, self.task_, ends)
        return prepare(panel, self.task_, self._units(panel.ids, fresh), self.coding_)

    def _units(self, ids: Sequence[str], fresh: Units) -> Units:
        """Those of the training, and fresh ones for series that it did not have."""
        scales = [self.scales_.get(name, found) for name, found in zip(ids, fresh.scales, strict=True)]
        lags = [self.lags_.get(name, found) for name, found in zip(ids, fresh.lags, strict=True)]
        carries = [self.carries_.get(name, found) for name, found in zip(ids, fresh.carries, strict=True)]
        return Units(np.array(scales), np.array(lags, dtype=np.int64), np.array(carries))

    def evaluate(self, tail: Panel, history: Panel | None = None) -> dict[str, Any]:
        """Score the forecast from the current history against the steps that followed it, beside the baseline.

        Args:
            tail: the same series, their next steps (at most horizon), as Panel.split gives them.
            history: what came before them; the current history where left out.

        Returns:
            {"steps": ..., "cellgate": {...}, "seasonal naive": {...}} with MASE, sMAPE, MAE (means over
            series) and the intervals' coverage; {} if nothing in the tail was observed. Kept in `metrics_`.
        """
        made = self.forecast(history)
        season = made.panel.season
        steps = min(self.horizon, max(len(values) for values in tail.values))
        actual = [values[:steps] for values in tail.values]
        histories = made.panel.values
        found = scores(
            actual,
            [made.values[k, : len(values)] for k, values in enumerate(actual)],
            [seasonal_naive(history, season, len(a)) for history, a in zip(histories, actual, strict=True)],
            [seasonal_scale(history, season) for history in histories],
            self.levels,
        )
        self.metrics_ = {"steps": steps, **found} if found["series"] else {}  # {}: no step of the tail was observed
        return self.metrics_

    def _backtest_panel(self, data: Any) -> Panel:
        if data is None:
            self._require_fit()
            return self.panel_
        return self._like_training(self.read(data)) if hasattr(self, "model_") else self.read(data)

    def _to_continue(self, data: Any, future: Any) -> Panel:
        """The series to forecast, with everything known of the steps ahead."""
        panel = self.panel_ if data is None else self._like_training(self.read(data))
        if future is not None:
            panel = with_future(panel, future)
        self.coding_.require_future(panel, self.task_.horizon)
        return panel

    def _like_training(self, panel: Panel) -> Panel:
        trained = self.panel_.frequency
        if (panel.frequency.unit, panel.frequency.step) != (trained.unit, trained.step):
            raise DataError(f"{panel.source}: expected {trained} series, as in training, got {panel.frequency}")
        return replace(panel, season=self.task_.season).with_categories(self.panel_.categories)

    def _read_newer(self, data: Any) -> Panel:
        """New rows, too few perhaps to show their frequency, on the grid of the training."""
        try:
            return self._like_training(self.read(data))
        except DataError as error:
            if self.freq is not None or isinstance(data, Panel):
                raise
            again = Forecaster(**{**self.get_params(), "freq": alias(self.panel_.frequency)})
            try:
                panel = again.read(data)
            except DataError:
                raise error from None
            return self._like_training(replace(panel, frequency=self.panel_.frequency))

    def explain(
        self, data: Any = None, out: str | Path | None = None, *, figures: str | Path | None = None
    ) -> Explanation:
        """Open the model: what it looked at, what it remembers, whether it can be trusted, as one page.

        Args:
            data: series to look at, read as `fit` reads; the history where left out.
            out: an HTML file to write.
            figures: a folder for the pictures, as SVG and, with the extra "figures", as PNG.

        Returns:
            An Explanation: `html`, `save(path)`, `save_figures(folder)`, and `report`, the numbers behind it.

        Raises:
            DataError: for series too short, or unlike those trained on.
        """
        self._require_fit()
        panel = self.panel_ if data is None else self._like_training(self.read(data))
        return deliver(explain_forecast(self, panel), out, figures)

    def _require_fit(self) -> None:
        if not hasattr(self, "model_"):
            raise not_fitted("Forecaster")

    # ------------------------------------------------------------ save and load

    def save(self, path: str | Path) -> None:
        """Write the model folder: see cellgate.estimators.folder for what is in it."""
        self._require_fit()
        save_forecaster(self, path)

    @classmethod
    def _from_folder(cls, config: dict[str, Any], files: dict[str, Any], path: str | Path) -> Forecaster:
        return restore_forecaster(cls(), config, files, path)


def _like(given: Any, columns: dict[str, np.ndarray]) -> Any:
    """The columns as a frame of the kind given, or as they are."""
    if given is None or isinstance(given, str | Path | np.ndarray | Panel | Mapping | Sequence):
        return columns
    import narwhals as nw

    native = nw.from_native(given, eager_only=True, allow_series=True)
    plain = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    return nw.from_dict(plain, backend=native.implementation).to_native()
