"""Intervals that hold what they say: quantiles widened by the errors made on steps that training did not see.

A network's own quantiles are those of the data it was fitted to, and come out too narrow. Conformalised quantile
regression (Romano, Patterson and Candès, 2019, section 3) measures by how much: for an interval [lo, hi] of level a,
the score of a seen value y is max(lo - y, y - hi), and the a-quantile of the scores, added on both sides, would have
covered a share of a. Here a quantile is taken for each step ahead, from every origin of every validation part.

Deviations: origins of one stretch are no independent draws, so coverage is what tests and benchmarks measure, not a
theorem; and the widening is made to grow with the step ahead, because what is further off is never known better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cellgate.tasks.forecast import shrunk
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_objective import ForecastObjective

_NEIGHBOURS = 8  # a step ahead borrows the scores of a horizon's eighth on both sides


def level_bounds(level: float) -> tuple[float, float]:
    """The two quantiles between which a level's interval lies: 90 gives 0.05 and 0.95."""
    half = round((1 - level / 100) / 2, 6)
    return half, round(1 - half, 6)


@torch.no_grad()
def widening(
    models: Sequence[ForecastNetwork],
    objectives: Sequence[ForecastObjective],
    level: float,
    shrinkage: np.ndarray | None = None,
) -> np.ndarray:
    """How much to add on both sides of a level's interval.

    Args:
        models: one for each objective, trained on its training part only.
        objectives: whose validation parts are measured on.
        level: in percent.
        shrinkage: (horizon,) what the median is multiplied by before, from tasks.shrinkage; ones by default.

    Returns:
        (horizon,) in the unit of the answers, growing; negative where the network's own interval is too wide.
    """
    task = objectives[0].task
    low, high = (task.quantiles.index(bound) for bound in level_bounds(level))
    scores: list[list[np.ndarray]] = [[] for _ in range(task.horizon)]
    for model, objective in zip(models, objectives, strict=True):
        for answers, targets, counted in objective.validation_answers(model):
            ordered = answers.sort(-1).values
            if shrinkage is not None:
                ordered = shrunk(ordered, shrinkage, task)
            score = torch.maximum(ordered[..., low] - targets, targets - ordered[..., high])
            for h in range(task.horizon):
                scores[h].append(score[..., h][counted[..., h]].numpy())
    steps = [np.concatenate(part) if part else np.empty(0) for part in scores]
    reach = max(1, task.horizon // _NEIGHBOURS)
    added = np.zeros(task.horizon)
    for h in range(task.horizon):
        near = np.concatenate(steps[max(0, h - reach) : h + reach + 1])
        if not len(near):
            added[h] = added[h - 1] if h else 0.0  # further ahead than any validation part reaches
            continue
        # The small-sample correction of the paper: the quantile of n scores is taken at (n + 1) / n of its share.
        share = min(1.0, level / 100 * (len(near) + 1) / len(near))
        added[h] = np.quantile(near, share, method="higher")
    return np.maximum.accumulate(added)
