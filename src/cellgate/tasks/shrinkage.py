"""Answers drawn back towards the naive forecast, by as much as validation says they overshoot.

A network fitted to little data answers too boldly: on steps that it was not fitted to, a part of its answer does better
than the whole. An answer of 0 is the naive forecast, so one factor for each step ahead, between 0 and 1, is enough to
mix the two: the linear combination of forecasts of Bates and Granger (1969), "The Combination of Forecasts", with
weights that sum to one, chosen by the least absolute error on the validation parts.

A factor is measured on few origins that lie close together. So it is one only for a whole neighbourhood of steps ahead,
and it stays at 1 unless the gain is clear: a share of the error, in the mean over several stretches of time and in most
of them. One stretch, which has stopped the training already, is not asked: it may have been an odd one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from cellgate.tasks.forecast import ForecastObjective
from cellgate.tasks.forecast_network import ForecastNetwork

_FACTORS = np.linspace(0.0, 1.0, 21)
_NEIGHBOURS = 8  # a step ahead borrows the errors of a horizon's eighth on both sides
_CLEAR = 0.02  # the share by which errors have to shrink
_TINY = 1e-12  # where there is no error at all


@torch.no_grad()
def shrinkage(models: Sequence[ForecastNetwork], objectives: Sequence[ForecastObjective]) -> np.ndarray:
    """What to multiply the median answers by.

    Args:
        models: one for each objective, trained on its training part only.
        objectives: whose validation parts are measured on.

    Returns:
        (horizon,) in [0, 1]; 1 where the whole answer does best, or not clearly worse than a part of it, and where
        there is one stretch only.
    """
    task = objectives[0].task
    if len(objectives) < 2:
        return np.ones(task.horizon)
    found = [_errors(model, objective) for model, objective in zip(models, objectives, strict=True)]
    errors, counts = (np.stack(part) for part in zip(*found, strict=True))
    reach = max(1, task.horizon // _NEIGHBOURS)
    factors = np.ones(task.horizon)
    for h in range(task.horizon):
        near = slice(max(0, h - reach), h + reach + 1)
        seen = counts[:, near].sum(-1) > 0
        if not seen.any():
            factors[h] = factors[h - 1] if h else 1.0  # further ahead than any validation part reaches
            continue
        # Each stretch counts the same: a week of holidays has large errors, and would decide alone.
        of = errors[seen][:, :, near].sum(-1)
        relative = np.log(np.maximum(of, _TINY)) - np.log(np.maximum(of[:, -1:], _TINY))
        best = int(relative.mean(0).argmin())
        if relative[:, best].mean() < math.log(1 - _CLEAR) and np.median(relative[:, best]) < 0:
            factors[h] = _FACTORS[best]
    # A forecast should not jump where the factor does.
    return np.array([factors[max(0, h - reach) : h + reach + 1].mean() for h in range(task.horizon)])


def _errors(model: ForecastNetwork, objective: ForecastObjective) -> tuple[np.ndarray, np.ndarray]:
    """(factors, horizon) sums of absolute errors over a stretch, and (horizon,) how many there are."""
    task = objective.task
    sums, counts = np.zeros((len(_FACTORS), task.horizon)), np.zeros(task.horizon)
    for answers, targets, counted in objective.validation_answers(model):
        median = answers.sort(-1).values[..., task.quantiles.index(0.5)]
        for k, factor in enumerate(_FACTORS):
            sums[k] += ((targets - float(factor) * median).abs() * counted).sum((0, 1)).numpy()
        counts += counted.sum((0, 1)).numpy()
    return sums, counts
