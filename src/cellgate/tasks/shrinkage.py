"""Answers drawn back towards what they correct, by as much as validation says they overshoot.

A network fitted to little data answers too boldly: on steps that it was not fitted to, a part of its answer does better
than the whole. An answer of 0 is the simple forecast that it corrects, so one factor between 0 and 1 is enough to mix
the two: the linear combination of forecasts of Bates and Granger (1969), "The Combination of Forecasts", with weights
that sum to one.

The best factor on a few stretches that lie close together is not to be had: the next stretch has another. So the factor
is the mean of all, each weighted by its likelihood there, as tasks.start weights simple forecasts: errors that say
little leave it near a half, clear ones decide. One factor serves all steps ahead, since the far ones are seen from few
origins only. One stretch, which has stopped the training already, is not asked: it may have been an odd one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_objective import ForecastObjective
from cellgate.tasks.start import likely

_FACTORS = np.linspace(0.0, 1.0, 21)
_TINY = 1e-12  # where there is no error at all


@torch.no_grad()
def shrinkage(models: Sequence[ForecastNetwork], objectives: Sequence[ForecastObjective]) -> np.ndarray:
    """What to multiply the median answers by.

    Args:
        models: one for each objective, trained on its training part only.
        objectives: whose validation parts are measured on.

    Returns:
        (horizon,) in [0, 1], the same for all; 1 where there is one stretch only, or none that was observed.
    """
    task = objectives[0].task
    errors = np.stack([_errors(model, objective) for model, objective in zip(models, objectives, strict=True)])
    errors = errors[errors.sum(-1) > 0]
    if len(objectives) < 2 or not len(errors):
        return np.ones(task.horizon)
    # Stretches are compared within themselves: a week of holidays has large errors, and would decide alone. Each
    # season of a stretch is taken for one draw.
    likelihood = -task.horizon / task.season * np.log(np.maximum(errors, _TINY)).sum(0)
    return np.full(task.horizon, float(likely(likelihood) @ _FACTORS))


def _errors(model: ForecastNetwork, objective: ForecastObjective) -> np.ndarray:
    """(factors,) sums of absolute errors over a stretch."""
    sums = np.zeros(len(_FACTORS))
    for answers, targets, counted in objective.validation_answers(model):
        median = answers.sort(-1).values[..., objective.task.quantiles.index(0.5)]
        for k, factor in enumerate(_FACTORS):
            sums[k] += float(((targets - float(factor) * median).abs() * counted).sum())
    return sums
