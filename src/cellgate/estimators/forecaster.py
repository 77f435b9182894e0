"""Forecaster: from a table of series to their next values, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellgate.data import DataError, Frequency, Panel, Roles, read_panel
from cellgate.errors import InputError
from cellgate.estimators.card import forecaster_card
from cellgate.estimators.folder import ModelFolderError, save_folder
from cellgate.estimators.forecast import Forecast
from cellgate.estimators.forecast_training import fit_forecaster
from cellgate.nn import SequenceModel
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.forecast import ForecastTask, fit_scales, forecast, prepare
from cellgate.tasks.intervals import level_bounds
from cellgate.tasks.metrics import coverage, mae, mase, smape
from cellgate.training import Progress, TrainingRecord

BASELINE = "seasonal naive"


class Forecaster:
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
        levels: intervals to give, in percent.
        hidden_size: units of the LSTM; 32 to 128 by the amount of data.
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
        model_: the trained SequenceModel.
        record_: how the training went.
        scales_: id -> scale of each series trained on.
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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> Forecaster:
        """Set constructor arguments by name.

        Raises:
            ValueError: for a name that is none.
        """
        for name, value in params.items():
            if name not in _PARAMETERS:
                raise ValueError(f"expected one of {', '.join(_PARAMETERS)}, got {name!r}")
            setattr(self, name, value)
        return self

    # ------------------------------------------------------------ fit

    def read(self, data: Any) -> Panel:
        """Read data as `fit` would, with this forecaster's column names."""
        if isinstance(data, Panel):
            return data
        roles = Roles(self.time, self.target, self.id, self.wide, self.freq, self.season, self.time_format)
        return read_panel(data, roles)

    def fit(
        self,
        data: Any,
        *,
        watch: Callable[[Progress], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float = 10.0,
    ) -> Forecaster:
        """Train on every series of the data; the last steps of each are watched to stop in time.

        Args:
            data: a path, a bundled name, a data frame, an array or a Panel.
            watch: told after every epoch.
            checkpoint: a folder for the state of the training; a fit that was cut short goes on from there, with the
                result that it would have had. Remove it when it is no longer needed.
            checkpoint_every: the least seconds between two saves.

        Raises:
            InputError: for an argument or for data that cannot be used.
            TrainingError: if the loss stops being a number.
        """
        self._check()
        fitted = fit_forecaster(
            self.read(data), self.get_params(), watch, Path(checkpoint) if checkpoint else None, checkpoint_every
        )
        self.panel_, self.task_, self.model_ = fitted.panel, fitted.task, fitted.model
        self.record_, self.scales_, self.widening_ = fitted.record, fitted.scales, fitted.widening
        self.metrics_ = {}
        return self

    def _check(self) -> None:
        for name in ("horizon", "num_layers", "batch_size"):
            _expect(name, getattr(self, name), "a whole number of 1 or more", _is_count)
        for name in ("season", "hidden_size", "context", "max_epochs", "patience", "validation"):
            value = getattr(self, name)
            if value is not None:
                _expect(name, value, "a whole number of 1 or more, or None", _is_count)
        _expect("levels", self.levels, "percentages between 0 and 100", lambda v: all(0 < x < 100 for x in v))
        _expect("dropout", self.dropout, "a share from 0 to below 1", lambda v: 0 <= v < 1)
        _expect("learning_rate", self.learning_rate, "a number above 0", lambda v: v > 0)
        if self.max_seconds is not None:
            _expect("max_seconds", self.max_seconds, "a number above 0, or None", lambda v: v > 0)

    # ------------------------------------------------------------ predict

    def forecast(self, data: Any = None) -> Forecast:
        """The steps after the last one of every series.

        Args:
            data: series to continue, read as `fit` reads; those of the training where left out.

        Raises:
            DataError: for series too short, or unlike those trained on.
        """
        self._require_fit()
        panel = self.panel_ if data is None else self._like_training(self.read(data))
        # A series of the training keeps its scale; a new one gets its own.
        fresh = fit_scales(panel, self.task_)
        scales = np.array([self.scales_.get(name, scale) for name, scale in zip(panel.ids, fresh, strict=True)])
        quantiles = forecast(self.model_, prepare(panel, self.task_, scales), self.task_, self.widening_)
        return Forecast(panel, tuple(self.levels), _median_first(quantiles, self.task_.quantiles, self.levels))

    def predict(self, data: Any = None) -> Any:
        """The forecast as a table with columns unique_id, ds, cellgate, cellgate-lo-90, cellgate-hi-90.

        Returns:
            A frame of the caller's own kind where one was given, otherwise a dict of (rows,) arrays.
        """
        columns = self.forecast(data).columns()
        if data is None or isinstance(data, str | Path | np.ndarray | Panel | Sequence):
            return columns
        import narwhals as nw

        native = nw.from_native(data, eager_only=True)
        plain = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
        return nw.from_dict(plain, backend=native.implementation).to_native()

    def update(self, data: Any) -> Forecaster:
        """Continue from newer history, without training again: `predict` follows its last step."""
        self._require_fit()
        self.panel_ = self._like_training(self.read(data))
        return self

    def evaluate(self, tail: Panel) -> dict[str, Any]:
        """Score the forecast from the current history against the steps that followed it, beside the baseline.

        Args:
            tail: the same series, their next steps (at most horizon), as Panel.split gives them.

        Returns:
            {"steps": ..., "cellgate": {...}, "seasonal naive": {...}} with MASE, sMAPE, MAE (means over
            series) and the intervals' coverage; {} if nothing in the tail was observed. Kept in `metrics_`.
        """
        made = self.forecast()
        steps = min(self.horizon, max(len(values) for values in tail.values))
        scores: dict[str, list[tuple[float, float, float]]] = {"cellgate": [], BASELINE: []}
        for k, values in enumerate(tail.values):
            actual, history = values[:steps], made.panel.values[k]
            if not np.isfinite(actual).any():
                continue
            rivals = {
                "cellgate": made.median[k, : len(actual)],
                BASELINE: seasonal_naive(history, made.panel.season, len(actual)),
            }
            for name, predicted in rivals.items():
                scaled = mase(actual, predicted, history, made.panel.season)
                scores[name].append((scaled, smape(actual, predicted), mae(actual, predicted)))
        if not scores["cellgate"]:  # no step of the tail was observed
            self.metrics_ = {}
            return {}
        metrics: dict[str, Any] = {"steps": steps, "series": len(scores["cellgate"])}
        for name, rows in scores.items():
            table = np.array(rows)
            metrics[name] = {
                label: float(np.nanmean(column)) if np.isfinite(column).any() else float("nan")
                for label, column in zip(("MASE", "sMAPE", "MAE"), table.T, strict=True)
            }
        for level in self.levels:
            low, high = made.interval(level)
            inside = [
                (coverage(v[:steps], low[k, : len(v[:steps])], high[k, : len(v[:steps])]), np.isfinite(v[:steps]).sum())
                for k, v in enumerate(tail.values)
                if np.isfinite(v[:steps]).any()
            ]
            share, weight = np.array(inside).T
            metrics["cellgate"][f"coverage-{level:g}"] = float((share * weight).sum() / weight.sum())
        self.metrics_ = metrics
        return metrics

    def _like_training(self, panel: Panel) -> Panel:
        trained = self.panel_.frequency
        if (panel.frequency.unit, panel.frequency.step) != (trained.unit, trained.step):
            raise DataError(f"{panel.source}: expected {trained} series, as in training, got {panel.frequency}")
        return replace(panel, season=self.task_.season)

    def _require_fit(self) -> None:
        if not hasattr(self, "model_"):
            raise RuntimeError(
                "expected a fitted Forecaster, got a new one; call fit first, or cellgate.load a saved one"
            )

    # ------------------------------------------------------------ save and load

    def save(self, path: str | Path) -> None:
        """Write the model folder: see cellgate.estimators.folder for what is in it."""
        self._require_fit()
        panel = self.panel_
        config = {
            "estimator": {**self.get_params(), "levels": list(self.levels)},
            "model": self.model_.config(),
            "task": self.task_.to_json(),
            "training": {key: value for key, value in asdict(self.record_).items() if key != "history"},
        }
        preprocess = {
            "source": panel.source,
            "widening": self.widening_.tolist(),
            "frequency": panel.frequency.to_json(),
            "season": panel.season,
            "roles": asdict(panel.roles),
            "notes": list(panel.notes),
            "series": [
                {
                    "id": name,
                    "start": str(start) if isinstance(start, np.datetime64) else int(start),
                    "steps": len(values),
                    "scale": self.scales_.get(name),
                }
                for name, start, values in zip(panel.ids, panel.starts, panel.values, strict=True)
            ],
        }
        files = {
            "model.safetensors": self.model_.state_dict(),
            "preprocess.json": preprocess,
            "history.safetensors": {"values": torch.from_numpy(np.concatenate(panel.values))},
            "metrics.json": {**self.metrics_, "history": [list(pair) for pair in self.record_.history]},
            "README.md": forecaster_card(config, preprocess, self.metrics_),
        }
        save_folder(path, "Forecaster", config, files)

    @classmethod
    def _from_folder(cls, config: dict[str, Any], files: dict[str, Any], path: str | Path) -> Forecaster:
        try:
            forecaster = cls(**{**config["estimator"], "levels": tuple(config["estimator"]["levels"])})
            preprocess, metrics = files["preprocess.json"], dict(files["metrics.json"])
            series = preprocess["series"]
            steps = np.array([entry["steps"] for entry in series])
            values = files["history.safetensors"]["values"].numpy()
            forecaster.panel_ = Panel(
                source=preprocess["source"],
                ids=tuple(entry["id"] for entry in series),
                values=tuple(np.split(values, np.cumsum(steps)[:-1])),
                starts=tuple(_stamp(entry["start"]) for entry in series),
                frequency=Frequency(**preprocess["frequency"]),
                season=preprocess["season"],
                roles=Roles(**preprocess["roles"]),
                notes=tuple(preprocess["notes"]),
            )
            forecaster.scales_ = {entry["id"]: entry["scale"] for entry in series if entry["scale"] is not None}
            forecaster.widening_ = np.array(preprocess["widening"])
            forecaster.task_ = ForecastTask.from_json(config["task"])
            forecaster.record_ = TrainingRecord(
                **config["training"], history=[(loss, score) for loss, score in metrics.pop("history")]
            )
            forecaster.metrics_ = metrics
            forecaster.model_ = SequenceModel(**config["model"], device="cpu")
            forecaster.model_.load_state_dict(files["model.safetensors"])
            forecaster.model_.eval()
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ModelFolderError(
                f"{path}: expected the parts of a Forecaster, got others ({error}); train again"
            ) from error
        return forecaster


def _parameters() -> tuple[str, ...]:
    import inspect

    return tuple(name for name in inspect.signature(Forecaster).parameters)


_PARAMETERS = _parameters()


def _stamp(start: str | int) -> Any:
    return start if isinstance(start, int) else np.datetime64(start, "us")


def _median_first(answers: np.ndarray, quantiles: Sequence[float], levels: Sequence[float]) -> np.ndarray:
    """(..., Q) ascending quantiles, as the median followed by low and high of each level."""
    order = [quantiles.index(0.5)]
    for level in levels:
        order += [quantiles.index(bound) for bound in level_bounds(level)]
    return answers[..., order]


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _expect(name: str, value: Any, expected: str, holds: Callable[[Any], bool]) -> None:
    try:
        good = holds(value)
    except TypeError:
        good = False
    if not good:
        raise InputError(f"{name}: expected {expected}, got {value!r}")
