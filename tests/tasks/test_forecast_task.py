"""The forecasting task: an untrained network is the baseline, nothing looks ahead, and losses are what they say."""

import numpy as np
import pytest
import torch

from cellgate.data import read_panel
from cellgate.nn import SequenceModel
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.forecast import (
    ForecastObjective,
    ForecastTask,
    ask,
    fit_scales,
    forecast,
    pinball,
    prepare,
    wants_log,
)
from cellgate.tasks.intervals import level_bounds, widening


def make_task(**changes):
    values = {"horizon": 5, "season": 4, "quantiles": (0.1, 0.5, 0.9), "log": False, "context": 40}
    return ForecastTask(**{**values, **changes})


def make_panel(rows=60, series=3, seed=0, missing=()):
    values = np.random.default_rng(seed).normal(size=(rows, series)).cumsum(0) + 30
    for row, column in missing:
        values[row, column] = np.nan
    return read_panel(values)


def make_model(task, features, zero=False):
    torch.manual_seed(1)
    model = SequenceModel(features, 7, 1, task.horizon * len(task.quantiles), "all", device="cpu").eval()
    if zero:
        torch.nn.init.zeros_(model.readout.weight)
        torch.nn.init.zeros_(model.readout.bias)
    return model


@pytest.mark.parametrize("season", [1, 3, 4, 9])
@pytest.mark.parametrize("log", [False, True])
def test_a_network_that_answers_zero_is_the_seasonal_naive_forecast(season, log):
    panel, task = make_panel(missing=[(58, 0), (59, 1), (20, 2)]), make_task(season=season, log=log, horizon=11)
    data = prepare(panel, task, fit_scales(panel, task))
    answers = forecast(make_model(task, data.features.shape[1], zero=True), data, task)
    for k, values in enumerate(panel.values):
        for q in range(3):
            np.testing.assert_allclose(answers[k, :, q], seasonal_naive(values, season, 11), rtol=1e-12)


def test_nothing_looks_ahead():
    panel, task = make_panel(), make_task()
    scales = fit_scales(panel, task, np.full(3, 40))
    data = prepare(panel, task, scales)
    model = make_model(task, data.features.shape[1])
    series, starts = torch.arange(3), torch.zeros(3, dtype=torch.long)
    origins = torch.tensor([[10, 25, 39]] * 3)
    before = ask(model, data, task, series, starts, origins)
    for values in panel.values:
        values[40:] = 1e3
    after = prepare(panel, task, fit_scales(panel, task, np.full(3, 40)))
    assert torch.equal(before, ask(model, after, task, series, starts, origins))
    assert not torch.equal(data.features, after.features)


def test_the_targets_are_what_came_minus_the_baseline():
    panel, task = make_panel(missing=[(33, 1)]), make_task()
    data = prepare(panel, task, fit_scales(panel, task))
    objective = ForecastObjective(data, task, np.full(3, 40), np.full(3, 60))
    origins = torch.tensor([[2, 3, 30, 38, 39]] * 3)
    targets, counted = objective.targets(torch.arange(3), origins, 0, objective.train_end)
    for k, values in enumerate(panel.values):
        for j, origin in enumerate(origins[k].tolist()):
            naive = seasonal_naive(values[: origin + 1], 4, 5)
            for h in range(5):
                step = origin + 1 + h
                want = origin >= 3 and step < 40 and np.isfinite(values[step])
                assert bool(counted[k, j, h]) == want, (k, origin, h)
                if want:
                    expected = (values[step] - naive[h]) / data.scales[k]
                    assert float(targets[k, j, h]) == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_an_untrained_network_is_the_scaled_error_of_the_baseline():
    """With the median alone and answers of zero, twice the loss is the mean scaled absolute error itself."""
    panel, task = make_panel(series=1), make_task(quantiles=(0.5,))
    data = prepare(panel, task, fit_scales(panel, task))
    objective = ForecastObjective(data, task, np.array([40]), np.array([60]))
    model = make_model(task, data.features.shape[1], zero=True)
    values, scale = panel.values[0], data.scales[0]
    errors = [
        abs(values[origin + 1 + h] - seasonal_naive(values[: origin + 1], 4, 5)[h]) / scale
        for origin in range(39, 59)
        for h in range(5)
        if origin + 1 + h < 60
    ]
    assert 2 * objective.validate(model) == pytest.approx(np.mean(errors), rel=1e-5)


def test_training_loss_never_sees_the_validation_part():
    panel, task = make_panel(), make_task()
    ends, model = np.full(3, 40), None
    losses = []
    for later in (0.0, 1e6):
        for values in panel.values:
            values[40:] += later
        data = prepare(panel, task, fit_scales(panel, task, ends))
        objective = ForecastObjective(data, task, ends, np.full(3, 60))
        model = model or make_model(task, data.features.shape[1])
        generator = torch.Generator().manual_seed(3)
        losses.append(objective.loss(model, torch.arange(objective.examples), generator))
    assert torch.equal(*losses)


def test_pinball_by_hand():
    answers, quantiles = torch.tensor([[1.0, 2.0]]), torch.tensor([0.1, 0.5])
    # target 3: 0.1 * 2 and 0.5 * 1; target 0: 0.9 * 1 and 0.5 * 2
    assert float(pinball(answers, torch.tensor([3.0]), quantiles)) == pytest.approx((0.2 + 0.5) / 2)
    assert float(pinball(answers, torch.tensor([0.0]), quantiles)) == pytest.approx((0.9 + 1.0) / 2)


def test_long_series_are_cut_into_windows_and_short_ones_are_taken_whole():
    task = make_task(context=40)
    panel = make_panel(rows=300, series=2)
    data = prepare(panel, task, fit_scales(panel, task))
    objective = ForecastObjective(data, task, np.array([290, 12]), np.array([300, 12]))
    assert objective.width == 40
    assert objective.examples == 14 + 1
    model = make_model(task, data.features.shape[1])
    loss = objective.loss(model, torch.arange(objective.examples), torch.Generator().manual_seed(0))
    assert torch.isfinite(loss)


def test_log_is_chosen_where_the_swing_grows_with_the_level():
    assert wants_log(read_panel("airline"))
    step = np.arange(120)
    wave = np.sin(2 * np.pi * step / 12)
    assert not wants_log(read_panel(100 + step + 10 * wave))
    assert wants_log(read_panel((100 + 3 * step) * (1 + 0.3 * wave)))
    assert not wants_log(read_panel(wave * (1 + step)))  # not positive


def test_widening_makes_an_interval_cover_its_share_of_what_validation_saw():
    """Random walks and a network that answers 0: the right half-width h steps ahead is known, 1.645 sqrt(h)."""
    rng = np.random.default_rng(4)
    panel = read_panel(rng.normal(size=(400, 60)).cumsum(0))
    task = make_task(season=1, horizon=6, quantiles=(0.05, 0.5, 0.95))
    data = prepare(panel, task, np.ones(60))
    objective = ForecastObjective(data, task, np.full(60, 100), np.full(60, 400))
    model = make_model(task, data.features.shape[1], zero=True)
    added = widening([model], [objective], 90)
    # A step borrows its neighbours' scores, so the ends lean towards the middle.
    np.testing.assert_allclose(added[1:-1], 1.645 * np.sqrt(np.arange(2, 6)), rtol=0.1)
    assert (np.diff(added) >= 0).all()
    inside = [
        (targets.abs() <= torch.from_numpy(added))[counted].float().mean()
        for _, targets, counted in objective.validation_answers(model)
    ]
    assert float(torch.stack(inside).mean()) == pytest.approx(0.9, abs=0.02)


def test_widening_narrows_what_is_too_wide():
    panel, task = make_panel(series=8, rows=200), make_task(season=1, quantiles=(0.05, 0.5, 0.95))
    data = prepare(panel, task, np.full(8, 1e3))  # every error is tiny in this unit
    objective = ForecastObjective(data, task, np.full(8, 100), np.full(8, 200))
    model = make_model(task, data.features.shape[1], zero=True)
    model.readout.bias.data = torch.tensor([-1.0, 0.0, 1.0]).repeat(5)
    np.testing.assert_allclose(widening([model], [objective], 90), -1, atol=0.05)


def test_level_bounds():
    assert level_bounds(90) == (0.05, 0.95)
    assert level_bounds(99.5) == (0.0025, 0.9975)
