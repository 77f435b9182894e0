"""How a Forecaster is fitted: what is held back, how many models are trained on the way, which one is kept.

Much data (many windows): one model; the last steps of every series are held back, and stop it and calibrate it.

Little data: one held-back stretch would decide too much, and giving it up would cost too much. So several stretches are
held back, a model each (training/folds.py); together they tell how many epochs to train, how much of an answer to keep
and how wide intervals must be, and then one more model is trained on everything for that many epochs. That one is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellgate.data import Panel
from cellgate.data.words import by_name
from cellgate.errors import InputError
from cellgate.estimators.forecast_folds import folded
from cellgate.estimators.trainable import FOLDED_STEPS, held_back, train_ends
from cellgate.tasks.covariates import CovariateCoding
from cellgate.tasks.forecast import known_ahead
from cellgate.tasks.forecast_data import Prepared, Units, cycles_shown, fit_units, prepare, wants_log
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_objective import ForecastObjective, pinball
from cellgate.tasks.forecast_task import ForecastTask
from cellgate.tasks.intervals import level_bounds, widening
from cellgate.tasks.seasons import long_season
from cellgate.tasks.shrinkage import shrinkage
from cellgate.training import (
    Checkpoint,
    Draws,
    Progress,
    TrainingError,
    TrainingRecord,
    TrainingSettings,
    threads_for,
    train,
)

_MOST_FOLDS = 4
_AVERAGE = 0.99  # of the weights over the last hundred steps or so
_SIMPLE_STEPS = 1_000  # below so many steps in all, the readout is given no simple forecasts
_TRAINING_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 800, 20, 300
_DIVERGED = 3.0  # times the score of no answer, and 1, the usual seasonal change, more: no training that learns
_IN_IDENTITY = ("levels", "validation", "seed", "dropout")  # the other arguments show in the task and the settings


@dataclass(frozen=True)
class Earlier:
    """What a training goes on from.

    Attributes:
        task: the task as it was found then.
        coding: of the covariates.
        network: the sizes of the network.
        weights: of the network.
    """

    task: ForecastTask
    coding: CovariateCoding
    network: dict[str, Any]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class FittedForecaster:
    """What fitting gives; the series in the order in which they were given."""

    panel: Panel
    task: ForecastTask
    model: ForecastNetwork
    record: TrainingRecord
    units: Units
    coding: CovariateCoding
    shrinkage: np.ndarray
    widening: np.ndarray
    settings: TrainingSettings
    start_score: float


class PanelObjective(ForecastObjective):
    """The objective of a panel, with its units and how its covariates were coded."""

    def __init__(
        self,
        data: Prepared,
        task: ForecastTask,
        ends: np.ndarray,
        until: np.ndarray,
        units: Units,
        coding: CovariateCoding,
    ):
        super().__init__(data, task, ends, until)
        self.units, self.coding = units, coding

    def unanswered(self) -> float | None:
        """What `validate` gives for answers of 0, which leave the forecasts to be corrected as they are."""
        return self.answered_by(torch.zeros(self.task.horizon, len(self.quantiles)))

    def answered_by(self, same: Tensor) -> float | None:
        """What `validate` gives where everything is answered by the same (horizon, Q) numbers."""
        total, weight = 0.0, 0.0
        for part in self.validation:
            answers = same.expand(*part.targets.shape, len(self.quantiles))
            total += float(pinball(answers, part.targets, self.quantiles, part.counted))
            weight += float(part.counted.sum())
        return total / weight if weight else None


def fit_forecaster(
    panel: Panel,
    params: dict[str, Any],
    watch: Callable[[Progress], None] | None,
    checkpoint: Path | None = None,
    checkpoint_every: float = 10.0,
    earlier: Earlier | None = None,
) -> FittedForecaster:
    """Fit on a panel.

    Args:
        panel: the series.
        params: the Forecaster's arguments.
        watch: told after every epoch.
        checkpoint: a folder for the state of the training, to resume from what is there; or None.
        checkpoint_every: the least seconds between two saves.
        earlier: what to go on from; from random weights by default.

    Raises:
        CheckpointError: if what is there is damaged or of another training.
        DataError: for series that are too short.
        TrainingError: if the loss stops being a number.
    """
    # Rows may come in any order, so series are trained on in that of their names; columns stand in the table's.
    columns = panel.roles.wide and panel.roles.id is None
    order = list(range(len(panel))) if columns else by_name(panel.ids)
    panel = panel.select(order)
    # What goes on from an earlier training keeps its season, however few the series.
    panel, held = held_back(panel, params | {"season": earlier.task.season} if earlier else params)
    lengths, season = np.array([len(values) for values in panel.values]), panel.season
    task = earlier.task if earlier else _task(panel, params)

    def saved(stage: str) -> Checkpoint | None:
        path = checkpoint / f"{stage}.safetensors" if checkpoint else None
        return Checkpoint(path, f"{identity} {stage}", checkpoint_every) if path else None

    parts = _parts(panel, lengths, season, held, max(task.seasons))
    if earlier:
        parts = parts[:1]  # the older stretches are what the weights were trained on
    objectives = [_objective(panel, task, *part, earlier) for part in parts]
    settings = _settings(params, objectives[0].examples, len(parts))
    models = [_build(task, objective, params, earlier) for objective in objectives]
    identity = _identity(panel, task, params, settings, models[0]) if checkpoint else ""
    with threads_for(_multiplications(models, objectives, settings)):
        begun = [objective.answered_by(model.constant()) for model, objective in zip(models, objectives, strict=True)]
        record = train(torch.nn.ModuleList(models), folded(objectives), settings, watch, saved("search"))
        _refuse_diverged(record, objectives)
        factors = shrinkage(models, objectives)
        added = _widening(models, objectives, task, params["levels"], factors)
        model, chosen = models[0], objectives[0]
        if len(parts) > 1 and record.stopped_by not in ("Ctrl-C", "max_seconds"):
            whole = _objective(panel, task, lengths, lengths, earlier)
            last_model = _build(task, whole, params, earlier)
            again = replace(
                settings, clip=1.0, max_epochs=record.best_epoch, schedule_epochs=settings.max_epochs, max_seconds=None
            )
            try:
                last = train(last_model, whole, again, watch, saved("final"))
            except KeyboardInterrupt:
                last = TrainingRecord(stopped_by="Ctrl-C")
            record.seconds += last.seconds
            if last.stopped_by == "Ctrl-C":  # the model that was stopped at its best is better than half of the next
                record.stopped_by = "Ctrl-C"
            else:
                model, chosen, record.models = last_model, whole, len(parts)
    given = np.argsort(order)
    panel, units = panel.select(given.tolist()), chosen.units.select(given)
    start = math.nan if earlier else _mean(begun)
    return FittedForecaster(panel, task, model, record, units, chosen.coding, factors, added, settings, start)


def _task(panel: Panel, params: dict[str, Any]) -> ForecastTask:
    """What is asked, with everything that the data decide."""
    horizon, season, context = params["horizon"], panel.season, params["context"]
    if context is not None and context <= season:
        raise InputError(
            f"context: expected more than a season of {season} steps, or None, got {context}; raise it, or say season=1"
        )
    return ForecastTask(
        horizon=horizon,
        season=season,
        quantiles=tuple(sorted({0.5, *(bound for level in params["levels"] for bound in level_bounds(level))})),
        log=wants_log(panel),
        context=context or max(512, 4 * season, 2 * horizon),
        long_season=params["long_season"] or long_season(panel, season, horizon),
        cycles=cycles_shown(panel, season),
        simple=sum(len(values) for values in panel.values) >= _SIMPLE_STEPS,
        origins=max(16, min(64, 1024 // horizon)),
        dropout=params["dropout"],
    )


def _parts(
    panel: Panel, lengths: np.ndarray, season: int, held: int, longest: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(S,) ends of training and of validation, for each model; the latest stretch first.

    Stretches lie a season apart, the longest one that a stretch holds: weeks that overlap in all but a day would all be
    decided by the same odd day.
    """
    parts = [(train_ends(panel, lengths, season, held), lengths)]
    if lengths.sum() > FOLDED_STEPS:
        return parts
    apart = max(1, min(held, longest) if season > 1 else held)
    for fold in range(1, _MOST_FOLDS):
        end = lengths - held - fold * apart
        # An earlier model needs more of a past than the latest, or it says nothing about a trained one.
        usable = end >= max(2 * season + 2, 2 * apart + 2 if longest > season else 0, held)
        if not usable.any():
            break
        parts.append((np.where(usable, end, 0), np.where(usable, np.minimum(end + held, lengths), 0)))
    return parts


def _objective(
    panel: Panel, task: ForecastTask, train_end: np.ndarray, validation_end: np.ndarray, earlier: Earlier | None
) -> PanelObjective:
    units = fit_units(panel, task, train_end)
    coding = earlier.coding if earlier else CovariateCoding.fit(panel, train_end)
    return PanelObjective(prepare(panel, task, units, coding), task, train_end, validation_end, units, coding)


def _build(
    task: ForecastTask, objective: PanelObjective, params: dict[str, Any], earlier: Earlier | None
) -> ForecastNetwork:
    """A network with the weights to start from: drawn, or those of an earlier fit."""
    if earlier is not None:
        model = ForecastNetwork(**earlier.network)
        model.load_state_dict(earlier.weights)
        return model
    data = objective.data
    steps = int(data.lengths.sum())
    hidden = params["hidden_size"] or (32 if steps < 5_000 else 64 if steps < 50_000 else 128)
    one = torch.zeros(1, dtype=torch.long)
    ahead, simple = known_ahead(data, task, one, one[:, None])
    with Draws(params["seed"]).turn():
        model = ForecastNetwork(
            data.features.shape[1],
            hidden,
            params["num_layers"],
            task.horizon,
            len(task.quantiles),
            ahead.shape[-1],
            simple.shape[-1],
        )
    if task.simple and steps <= FOLDED_STEPS:
        # The median would learn noise until the bounds are found. On rolling origins a gain for a few thousand steps,
        # no clear one for a few hundred or for much data.
        model.begin(objective.spread())
    return model


def _settings(params: dict[str, Any], examples: int, folds: int) -> TrainingSettings:
    """Epochs and patience by the steps in an epoch: few windows need many passes."""
    steps = math.ceil(examples / params["batch_size"])
    return TrainingSettings(
        max_epochs=params["max_epochs"] or max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, _TRAINING_STEPS // steps)),
        max_seconds=params["max_seconds"],
        batch_size=params["batch_size"],
        learning_rate=params["learning_rate"],
        clip=math.sqrt(folds),  # the norm is taken over all models: each gets 1, on average
        patience=params["patience"] or max(6, 60 // steps),
        seed=int(params["seed"]),
        average=_AVERAGE,
    )


def _refuse_diverged(record: TrainingRecord, objectives: Sequence[PanelObjective]) -> None:
    """Refuse answers that, at their best, do far worse than none: they are noise, and intervals by them have no end.

    Raises:
        TrainingError: with the score beside that of none.
    """
    none = _mean([objective.unanswered() for objective in objectives])
    if math.isfinite(record.best_score) and record.best_score > _DIVERGED * none + 1:
        raise TrainingError(
            f"expected a validation score near {none:.3g}, that of no answer at all, or better, got "
            f"{record.best_score:.3g}; lower --learning-rate, or look for extreme values in the last part of the data"
        )


def _mean(scores: Sequence[float | None]) -> float:
    """The mean of those that there are; NaN for none."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else math.nan


def _identity(
    panel: Panel, task: ForecastTask, params: dict[str, Any], settings: TrainingSettings, model: ForecastNetwork
) -> str:
    """A fingerprint of everything that a training's result depends on, but for when it is stopped.

    Whether a size or a column was found or said makes no difference.
    """
    kept = {name: tuple(params[name]) if name == "levels" else params[name] for name in _IN_IDENTITY}
    names = panel.past_names, panel.future_names, panel.static_names
    what = panel.ids, panel.starts, panel.frequency, names, task, sorted(kept.items())
    how = replace(settings, max_seconds=None), model.config()
    digest = hashlib.sha256(repr((what, how)).encode())
    for array in (*panel.values, *panel.past, *panel.future, *(() if panel.static is None else (panel.static,))):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _multiplications(
    models: Sequence[ForecastNetwork], objectives: Sequence[ForecastObjective], settings: TrainingSettings
) -> float:
    """Those of one step of training in the LSTMs: three times 4 H (I + H) for every step of every window."""
    total = 0.0
    for model, objective in zip(models, objectives, strict=True):
        weights = sum(weight.numel() for weight in model.lstm.parameters() if weight.ndim > 1)
        total += 3.0 * weights * objective.width * min(objective.examples, settings.batch_size)
    return total


def _widening(
    models: Sequence[ForecastNetwork],
    objectives: Sequence[ForecastObjective],
    task: ForecastTask,
    levels: Sequence[float],
    factors: np.ndarray,
) -> np.ndarray:
    """(horizon, Q) what to add to each quantile; nothing to the median."""
    added = np.zeros((task.horizon, len(task.quantiles)))
    for level in levels:
        extra = widening(models, objectives, level, factors)
        low, high = (task.quantiles.index(bound) for bound in level_bounds(level))
        added[:, low] -= extra
        added[:, high] += extra
    return added
