"""Folds of a forecast trained together are folds trained one after the other: losses, gradients and scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cellgate.data import Roles, read_panel
from cellgate.estimators.forecast_folds import ForecastFolds, folded
from cellgate.estimators.forecast_training import PanelObjective
from cellgate.tasks.covariates import CovariateCoding
from cellgate.tasks.forecast import known_ahead
from cellgate.tasks.forecast_data import fit_units, prepare
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_task import ForecastTask
from cellgate.training import FoldedObjective


def make_task(**changes):
    values = {"horizon": 6, "season": 4, "quantiles": (0.1, 0.5, 0.9), "log": False, "context": 40, "dropout": 0.2}
    return ForecastTask(**{**values, **changes})


def make_columns(lengths, seed=0, season=4):
    """A long table of series that swing, drift and are noisy, with a value missing here and there."""
    rng = np.random.default_rng(seed)
    ids, steps, values = [], [], []
    for k, length in enumerate(lengths):
        at = np.arange(length)
        made = 20 + 5 * np.sin(2 * np.pi * at / season + k) + rng.normal(size=length).cumsum()
        made[rng.random(length) < 0.05] = np.nan
        ids, steps, values = ids + [f"s{k}"] * length, steps + at.tolist(), values + made.tolist()
    return {"unique_id": ids, "ds": steps, "y": values}


def make_folds(panel, task, ends):
    """Objectives whose training parts end at (S,) steps, six steps of validation each."""
    objectives = []
    lengths = np.array([len(values) for values in panel.values])
    for end in ends:
        units, coding = fit_units(panel, task, end), CovariateCoding.fit(panel, end)
        data = prepare(panel, task, units, coding)
        objectives.append(PanelObjective(data, task, end, np.minimum(end + 6, lengths), units, coding))
    return objectives


def make_models(objectives):
    """Networks of different weights, a readout that answers something, two layers."""
    models, one = [], torch.zeros(1, dtype=torch.long)
    for k, objective in enumerate(objectives):
        torch.manual_seed(k)
        data, task = objective.data, objective.task
        ahead, simple = known_ahead(data, task, one, one[:, None])
        sizes = task.horizon, len(task.quantiles), ahead.shape[-1], simple.shape[-1]
        models.append(ForecastNetwork(data.features.shape[1], 7, 2, *sizes))
        nn.init.normal_(models[-1].readout.weight, std=0.3)
    return nn.ModuleList(models)


CASES = {
    "one series": ((60,), {}, [(54,), (48,), (40,)]),
    "few origins in the earlier folds": ((60,), {"origins": 30}, [(54,), (30,), (14,)]),
    "few origins, no season": ((60,), {"origins": 30, "season": 1}, [(54,), (30,), (14,)]),
    "several lengths": ((70, 40, 52), {}, [(64, 34, 46), (58, 28, 40)]),
    "more windows in the later folds": ((200, 90), {}, [(194, 84), (120, 0), (60, 54)]),
    "a series too short for a fold": ((60, 30), {}, [(54, 24), (40, 0)]),
    "simple forecasts and two seasons": ((150,), {"simple": True, "long_season": 28}, [(144,), (116,)]),
    "no validation of one fold": ((60,), {}, [(60,), (54,)]),
    "more series than are asked at once": ((24,) * 70, {}, [(18,) * 70, (14,) * 65 + (0,) * 5]),
}


@pytest.mark.parametrize("case", CASES)
def test_together_is_one_after_the_other(case):
    lengths, changes, ends = CASES[case]
    task = make_task(**changes)
    panel = replace(read_panel(make_columns(lengths)), season=task.season)
    objectives = make_folds(panel, task, [np.array(end) for end in ends])
    models = make_models(objectives)
    together, apart = folded(objectives), FoldedObjective(objectives)
    assert isinstance(together, ForecastFolds)
    assert together.examples == apart.examples

    found = []
    for objective in (together, apart):
        models.train().zero_grad()
        torch.manual_seed(7)
        generator = torch.Generator().manual_seed(8)
        losses = []
        for rows in torch.randperm(objective.examples, generator=generator).split(3):
            losses.append(objective.loss(models, rows, generator))
            losses[-1].backward()
        gradients = {name: parameter.grad.clone() for name, parameter in models.named_parameters()}
        found.append((torch.stack(losses).detach(), gradients, objective.validate(models.eval())))
    (losses, gradients, score), (losses_apart, gradients_apart, score_apart) = found
    assert score_apart is not None
    assert score == pytest.approx(score_apart, rel=1e-5)
    torch.testing.assert_close(losses, losses_apart, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients_apart.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_the_season_that_is_repeated_may_differ_between_folds():
    panel = replace(read_panel(make_columns((150,))), season=4)
    objectives = make_folds(panel, make_task(long_season=28), [np.array([144]), np.array([116])])
    units = replace(objectives[1].units, lags=np.array([28]))
    data = prepare(panel, objectives[1].task, units, objectives[1].coding)
    objectives[1] = PanelObjective(data, objectives[1].task, np.array([116]), np.array([122]), units, None)
    assert objectives[0].units.lags.tolist() == [4]
    models, rows = make_models(objectives).train(), torch.arange(1)
    losses = []
    for objective in (folded(objectives), FoldedObjective(objectives)):
        torch.manual_seed(7)
        losses.append(float(objective.loss(models, rows, torch.Generator().manual_seed(8)).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_a_validation_there_is_no_score():
    panel = replace(read_panel(make_columns((60,))), season=4)
    objectives = make_folds(panel, make_task(), [np.array([60]), np.array([60])])
    assert folded(objectives).validate(make_models(objectives).eval()) is None


def test_folds_of_other_sizes_are_trained_one_after_the_other():
    columns = make_columns((60,))
    columns["kind"] = ["b"] * 45 + ["c"] * 15  # a word that the earlier fold has not seen
    panel = replace(read_panel(columns, Roles(past=("kind",))), season=4)
    objectives = make_folds(panel, make_task(), [np.array([54]), np.array([40])])
    sizes = [objective.data.features.shape[1] for objective in objectives]
    assert sizes[0] > sizes[1]
    assert type(folded(objectives)) is FoldedObjective


def test_one_fold_needs_no_company():
    panel = replace(read_panel(make_columns((60,))), season=4)
    objectives = make_folds(panel, make_task(), [np.array([54])])
    assert type(folded(objectives)) is FoldedObjective
