"""Answers drawn back towards what they correct: by what validation shows, the more clearly the further."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellgate.data import read_panel
from cellgate.tasks.forecast import forecast, known_ahead, shrunk
from cellgate.tasks.forecast_data import Units, prepare
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_objective import ForecastObjective
from cellgate.tasks.forecast_task import ForecastTask
from cellgate.tasks.intervals import widening
from cellgate.tasks.shrinkage import shrinkage
from cellgate.tasks.start import naive_mix

SERIES, STEPS, TRAINED = 6, 120, 60
TASK = ForecastTask(horizon=8, season=1, quantiles=(0.05, 0.5, 0.95), log=False, context=40)


def make_objective(times=1.0, until=STEPS):
    """Series that rise by `times` a step: the right answer for h steps ahead is times h, but for noise."""
    noise = np.random.default_rng(3).normal(size=(STEPS, SERIES))
    panel = read_panel(times * (np.arange(STEPS)[:, None] + 0.2 * noise))
    data = prepare(panel, TASK, Units(np.ones(SERIES), np.ones(SERIES, dtype=np.int64), (naive_mix(),) * SERIES))
    return ForecastObjective(data, TASK, np.full(SERIES, TRAINED), np.full(SERIES, until))


@pytest.fixture(scope="module")
def objective():
    return make_objective()


def answering(objective, medians):
    """A network whose median answers are the same everywhere, with bounds one above and one below."""
    one = torch.zeros(1, dtype=torch.long)
    ahead, simple = known_ahead(objective.data, TASK, one, one[:, None])
    sizes = TASK.horizon, len(TASK.quantiles), ahead.shape[-1], simple.shape[-1]
    model = ForecastNetwork(objective.data.features.shape[1], 4, 1, *sizes).eval()
    answers = torch.as_tensor(medians, dtype=torch.float32)[:, None] + torch.tensor([-1.0, 0.0, 1.0])
    model.readout.bias.data[: answers.numel()] = answers.flatten()
    return model


@pytest.mark.parametrize(
    ("times", "factor"), [(2.0, 0.5), (1.25, 0.8), (-1.0, 0.0), (1.0, 1.0), (0.5, 1.0), (1.002, 1.0)]
)
def test_the_factor_is_what_the_answers_are_too_large_by(objective, times, factor):
    """Too small answers are not made larger. The mean of factors from 0 to 1 comes near these two only."""
    found = shrinkage([answering(objective, times * np.arange(1, 9))] * 2, [objective] * 2)
    assert found.shape == (8,)
    assert (found == found[0]).all()
    np.testing.assert_allclose(found, factor, atol=0.05 if times in (-1.0, 0.5) else 0.001)


def test_stretches_count_the_same(objective):
    """One with errors a hundred times as large does not outvote another by that: each says where its own are least."""
    half, all_of_it = answering(objective, 2 * np.arange(1, 9)), answering(objective, np.arange(1, 9))
    large = make_objective(100.0)
    found = [
        shrinkage([answering(large, 200 * np.arange(1, 9)), all_of_it], [large, objective])[0],
        shrinkage([half, all_of_it], [objective, objective])[0],
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_what_says_little_leaves_a_half(objective):
    """Answers next to nothing are as good in whole as in part; the mean of all factors is then 1/2."""
    found = shrinkage([answering(objective, np.full(8, 1e-4))] * 2, [objective] * 2)
    np.testing.assert_allclose(found, 0.5, atol=0.01)


def test_a_season_is_one_draw(objective):
    """Errors over one long season decide less than over eight short ones."""
    task = replace(TASK, season=8)
    long = ForecastObjective(objective.data, task, objective.train_end.numpy(), objective.validation_end.numpy())
    model = answering(objective, 1.25 * np.arange(1, 9))
    sure, unsure = (shrinkage([model] * 2, [part] * 2)[0] for part in (objective, long))
    assert abs(sure - 0.8) < 0.001 < abs(unsure - 0.8)


def test_one_stretch_or_none_changes_nothing(objective):
    bad = answering(objective, -np.arange(1, 9))
    assert (shrinkage([bad], [objective]) == 1).all()
    nothing = make_objective(until=TRAINED)
    assert (shrinkage([bad, bad], [nothing, nothing]) == 1).all()
    assert (shrinkage([bad, bad], [objective, nothing]) < 0.2).all()


def test_the_bounds_keep_their_distance(objective):
    ordered = torch.tensor([[-1.0, 2.0, 7.0], [3.0, 4.0, 5.0]])
    task = ForecastTask(horizon=2, season=1, quantiles=(0.05, 0.5, 0.95), log=False, context=40)
    made = shrunk(ordered, np.array([0.5, 0.0]), task)
    assert made.tolist() == [[-2.0, 1.0, 6.0], [-1.0, 0.0, 1.0]]
    assert torch.equal(shrunk(ordered, np.ones(2), task), ordered)


def test_intervals_are_measured_around_the_shrunk_median(objective):
    """Answers of 2 h halved are right, so the bounds need about the noise; as they are they miss by h."""
    model = answering(objective, 2 * np.arange(1, 9))
    factors = shrinkage([model] * 2, [objective] * 2)
    before = widening([model], [objective], 90)
    after = widening([model], [objective], 90, factors)
    assert before[-1] > 5
    assert (after < 0).all()
    values = forecast(model, objective.data, TASK, np.outer(after, [-1, 0, 1]))
    assert (np.diff(values, axis=-1) >= 0).all()
