"""Forecaster: from a table of series to their next values, with intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cellgate.data import DataError, Panel
from cellgate.data.frame_kind import kind_of
from cellgate.estimators.backtest import Backtest
from cellgate.estimators.backtest_run import run_backtest
from cellgate.estimators.explain_forecast import explain_forecast
from cellgate.estimators.explaining import Explanation, deliver, keep_report, require_place
from cellgate.estimators.forecast import EncodedForecast, Forecast
from cellgate.estimators.forecast_rows import (
    before_the_unknown,
    chosen,
    forecast_and_what_followed,
    in_kind,
    read_like_training,
    read_to_train,
    series_to_continue,
    series_to_open,
    updated_history,
)
from cellgate.estimators.forecast_scores import BASELINE, score_forecast
from cellgate.estimators.forecast_stream import ForecastStream
from cellgate.estimators.forecast_training import Earlier, fit_forecaster
from cellgate.estimators.forecaster_folder import restore_forecaster, save_forecaster
from cellgate.estimators.forecaster_state import ForecasterState
from cellgate.estimators.protocol import expect, is_count
from cellgate.estimators.trainable import learnt_from, left_out_note
from cellgate.tasks.covariates import CovariateCoding
from cellgate.training import Progress

__all__ = ["BASELINE", "Forecaster"]


class Forecaster(ForecasterState):
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
        start_score_: the validation score that the last fit began with, NaN for `partial_fit` and where nothing was
            held back; `record_.best_score` is what it came to. A loaded model has none.
        scales_: id -> scale of each series trained on; one that was too short for it is measured when it is forecast.
        lags_: id -> the season that each series' naive forecast repeats, of the two.
        mixes_: id -> the weights of the simple forecasts that are corrected, a `tasks.start.Mix`.
        trained_: id -> stamp of the last step that each series was trained on; those of `panel_` without one were too
            short, or came later.
        coding_: how covariates become numbers.
        shrinkage_: (horizon,) what its median answers are multiplied by, from 0 to 1; 1 where one model was trained.
        widening_: (horizon, quantiles) what validation found missing in the network's own intervals.
        metrics_: what `evaluate` last measured, or an empty dict.
        kind_: of data frame that was given last, to `fit`, `partial_fit` or `update`; None for none. Not saved.

    Example:
        >>> import cellgate
        >>> forecaster = cellgate.Forecaster(horizon=12, max_epochs=2).fit("airline")
        >>> sorted(forecaster.predict())
        ['cellgate', 'cellgate-hi-90', 'cellgate-lo-90', 'ds', 'unique_id']
    """

    # ------------------------------------------------------------ fit

    def read(self, data: Any) -> Panel:
        """Read data as `fit` would; once fitted, as `predict` does: by what the training found out about its table."""
        return read_like_training(self, data) if hasattr(self, "model_") else read_to_train(self, data)

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

        Series of no more than a season are too short to learn from, and are forecast all the same.

        Args:
            data: a path, a bundled name, a data frame, an array or a Panel.
            watch: told after every epoch.
            checkpoint: a folder for the state of the training; a fit that was cut short goes on from there, with the
                result that it would have had. Remove it when it is no longer needed.
            checkpoint_every: the least seconds between two saves.
            report: an HTML file to write at the end, `explain` of these series; True keeps the explanation as
                `report_`.

        Raises:
            InputError: for an argument or for data that cannot be used; with a report, also for series so short that
                drivers are not known a horizon before the end.
            TrainingError: if the loss stops being a number.

        Warns:
            UserWarning: naming the series that are too short to learn from.
        """
        require_place(report)
        panel = read_to_train(self, data)
        if report:
            # What the report cannot show is said now, not when the training is over.
            self._check()
            opened, _ = before_the_unknown(panel, self.horizon)
            lengths = np.array([len(values) for values in opened.values])
            CovariateCoding.fit(opened, lengths).require_future(opened, self.horizon)
        self._fit(panel, watch, checkpoint, checkpoint_every, None)
        self.kind_ = kind_of(data)
        if report:
            keep_report(self, self.explain(), report)
        return self

    def partial_fit(self, data: Any, *, watch: Callable[[Progress], None] | None = None) -> Forecaster:
        """Train on from the present weights, or from the start where there are none.

        What was found at the first fit (season, logs, how covariates are coded) stays. One model is trained, however
        little the data: their last steps stop it and set its intervals, so they should be newer than those trained on.

        Args:
            data: the series to train on, and to continue from then on; read as `predict` reads.
            watch: told after every epoch.

        Raises:
            InputError: for data unlike those of the first fit.
            TrainingError: if the loss stops being a number.

        Warns:
            UserWarning: as `predict`, of what the first fit did not have, and as `fit`.
        """
        earlier = None
        panel = self.read(data)
        if hasattr(self, "model_"):
            network = self.model_.config()
            self._check()
            self._check_against(self.task_, {name: network[name] for name in ("hidden_size", "num_layers")})
            earlier = Earlier(self.task_, self.coding_, network, self.model_.state_dict())
        _warn(*panel.unlike, deep=1)
        self._fit(panel, watch, None, 10.0, earlier)
        self.kind_ = kind_of(data)
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
        params = self.get_params()
        learnt = learnt_from(panel, params | {"season": earlier.task.season} if earlier else params)
        names = [panel.ids[k] for k in learnt]
        untrained = [name for name in panel.ids if name not in set(names)]
        if names and untrained:  # where there is nothing to learn from, the training has an error
            _warn(f"left out of the training {left_out_note(untrained, len(panel))}", deep=2)
        fitted = fit_forecaster(
            panel, params, watch, Path(checkpoint) if checkpoint else None, checkpoint_every, earlier
        )
        self._keep(fitted, learnt)

    # ------------------------------------------------------------ predict

    def forecast(self, data: Any = None, *, future: Any = None, steps: int | None = None, ids: Any = None) -> Forecast:
        """The steps after the last one of every series.

        Args:
            data: series to continue, read by the columns, the date format, the frequency and the kind of names that
                the training found; the history where left out.
            future: a table with the future-known columns of the steps to come, where `data` has no rows for them.
            steps: only so many of the horizon's steps, for which alone future-known columns are then needed.
            ids: only these series, a name or several, in the order of the data.

        Returns:
            A Forecast. A series of whose future-known columns nothing is known after its end, such as one that
            ended earlier than the others, is left out: `left_out` has the names.

        Raises:
            DataError: for series too short, or unlike those trained on, or drivers that are not known far enough, be
                it for a part of the steps or for every series.
            InputError: for more steps than the horizon has.
        """
        self._require_fit()
        asked = self._steps_asked(steps)
        whole = chosen(series_to_continue(self, data, future), ids)
        panel = whole.select(whole.foretold(asked) or range(len(whole)))
        self.coding_.require_future(panel, asked)
        there = set(panel.ids)
        return replace(self._answered(panel, asked), left_out=tuple(name for name in whole.ids if name not in there))

    def encode(self, data: Any = None, *, future: Any = None) -> EncodedForecast:
        """Series just as the network reads them for a forecast.

        ``model_(e.x, e.ahead, e.simple, e.lengths)`` answers for them, (S, horizon, quantiles) in the unit of the
        answers (see tasks.forecast); traces and gradients may be taken of that call.
        """
        self._require_fit()
        panel = series_to_continue(self, data, future)
        return self._encoded(panel)

    def predict(self, data: Any = None, *, future: Any = None, ids: Any = None) -> Any:
        """The forecast as a table with columns unique_id, ds, cellgate, cellgate-lo-90, cellgate-hi-90.

        Args:
            data: as for `forecast`.
            future: as for `forecast`.
            ids: as for `forecast`.

        Returns:
            A frame of the caller's own kind where one was given, here or to `fit` or `update`, whole numbers as names
            and times with a zone as they came; otherwise a dict of (rows,) arrays.

        Warns:
            UserWarning: naming the series that `forecast` leaves out, and what the training did not have: words in a
                column of words, empty cells in one that had none, times without the zone that its times had.
        """
        made = self.forecast(data, future=future, ids=ids)
        _warn(*made.panel.unlike, *([made.note] if made.note else []))
        given = future if data is None else data
        kind = getattr(self, "kind_", None) if given is None else kind_of(given)
        return in_kind(kind, made.columns(), made.panel.roles)

    def update(self, data: Any, *, append: bool = False) -> Forecaster:
        """Take newer rows into the history, without training again: `predict` follows its last step.

        Rows are placed by their time stamps: they may continue the history, overlap it, or be all of a newer one.
        Newer values stand where the two overlap; a gap in newer rows leaves what was known. Steps between that have no
        row are missing values. Rows of new series are welcome.

        Args:
            data: rows with the columns of the training, one row or many.
            append: put the values after the last step of every series, whatever they are numbered; for data without
                a time column, which are otherwise taken for a whole history, from its first step.

        Raises:
            DataError: for rows that do not fit the history.

        Warns:
            UserWarning: of what the training did not have: words, and times without the zone that its times had.
        """
        self._require_fit()
        history, unlike = updated_history(self, data, append)
        _warn(*unlike)
        self.panel_ = history
        self.kind_ = kind_of(data) or getattr(self, "kind_", None)
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
            data: series with what came, read as `predict` reads; the history where left out.
            origins: from how many moments of every series.
            step: steps between two of them.
            refit: train afresh on what was known at each moment; otherwise one set of weights serves all: those of
                this forecaster or, if it was never fitted, weights from a fit up to the first moment (which are then
                kept, so that it is fitted afterwards).
            whole: only moments that a whole horizon follows; otherwise the last moment is one step before the end.
            watch: told after every epoch of every training.

        Returns:
            A Backtest: arrays, `metrics`, `by_step`, and a table: `columns()`, or `frame()` of the caller's kind.

        Raises:
            DataError: where every series is too short for so many origins.

        Warns:
            UserWarning: naming the series that are left out as they are too short, `left_out` of the Backtest.
        """
        for name, value in (("origins", origins), ("step", step)):
            expect(name, value, "a whole number of 1 or more", is_count)
        found = run_backtest(self, data, origins, step, refit, whole, watch)
        if found.left_out:
            every = len(found.left_out) + len(found.panel)
            _warn(f"left out of the backtest {left_out_note(found.left_out, every)}")
        return found

    def evaluate(self, tail: Any, history: Any = None) -> dict[str, Any]:
        """Score the forecast from the current history against the steps that followed it, beside the baseline.

        Args:
            tail: what followed, read as `predict` reads: rows with a time are placed by it, others follow the last
                step. Steps within the history and beyond the horizon are passed over. Future-known columns are taken
                from it where the history does not have them.
            history: what came before; the current history where left out.

        Returns:
            {"steps": ..., "cellgate": {...}, "seasonal naive": {...}, "plain": {"last value": {...}, "mean": {...}}}
            with MASE, sMAPE, MAE (means over series) and the intervals' coverage, beside "series", "stretches" and
            "intervals", which says of each level whether it is shown to be too narrow; {} if nothing in the tail was
            observed. Kept in `metrics_`.

        Raises:
            DataError: where nothing follows the history, for series that are not in it, or for drivers that are not
                known for the steps that are scored.

        Warns:
            UserWarning: of what the training did not have in rows that are given here, not in those of a Panel.
        """
        self.metrics_, unlike = self._measure(tail, history)
        _warn(*unlike)
        return self.metrics_

    def score(self, tail: Any, history: Any = None) -> float:
        """Minus the MASE of `evaluate`, so that more is better; minus the MAE where no series has a seasonal change.

        Args:
            tail: as for `evaluate`.
            history: as for `evaluate`.

        Raises:
            DataError: as `evaluate`, and where nothing in the tail was observed.
        """
        metrics, unlike = self._measure(tail, history)
        _warn(*unlike)
        if not metrics:
            raise DataError("tail: expected observed values, got only missing ones; give steps that were observed")
        ours = metrics["cellgate"]
        return -ours["MASE"] if ours["MASE"] == ours["MASE"] else -ours["MAE"]

    def _measure(self, tail: Any, history: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The scores, and what of the rows the training did not have."""
        self._require_fit()
        panel, actual = forecast_and_what_followed(self, tail, history)
        found = score_forecast(self._answered(panel, self.task_.horizon), actual)
        steps = max(len(values) for values in actual)
        return {"steps": steps, **found} if found["series"] else {}, panel.unlike

    def explain(
        self,
        data: Any = None,
        out: str | Path | None = None,
        *,
        future: Any = None,
        figures: str | Path | None = None,
    ) -> Explanation:
        """Open the model: what it looked at, what it remembers, whether it can be trusted, as one page.

        Args:
            data: series to look at, read as `predict` reads; the history where left out.
            out: an HTML file to write.
            future: a table with the future-known columns of the steps to come, where `data` has no rows for them.
                Where they are not known for the horizon, the series are opened a horizon before their end.
            figures: a folder for the pictures, as SVG and, with the extra "figures", as PNG.

        Returns:
            An Explanation: `html`, `save(path)`, `save_figures(folder)`, `report`, the numbers behind it, and
            `opened`, which says where the series were opened if not at their end.

        Raises:
            DataError: for series too short, or unlike those trained on.
        """
        self._require_fit()
        panel, opened = series_to_open(self, data, future)
        return deliver(explain_forecast(self, panel, opened), out, figures, opened)

    # ------------------------------------------------------------ save and load

    def save(self, path: str | Path) -> None:
        """Write the model folder: see cellgate.estimators.folder for what is in it."""
        self._require_fit()
        save_forecaster(self, path)

    @classmethod
    def _from_folder(cls, config: dict[str, Any], files: dict[str, Any]) -> Forecaster:
        return restore_forecaster(cls(), config, files)


def _warn(*lines: str, deep: int = 0) -> None:
    """Tell the caller of a method, past in_plain_torch and `deep` others around it, what its result does not show."""
    for line in lines:
        warnings.warn(line, UserWarning, stacklevel=4 + deep)
