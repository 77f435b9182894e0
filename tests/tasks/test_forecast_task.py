"""The forecasting task: an untrained network is the baseline, nothing looks ahead, and losses are what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellgate.data import read_panel
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.forecast import ask, forecast, forecast_at, known_ahead, reading_start
from cellgate.tasks.forecast_data import Units, fit_units, prepare, simple_lags, simple_values, wants_log
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_objective import ForecastObjective, pinball
from cellgate.tasks.forecast_operators import rows_of
from cellgate.tasks.forecast_task import ForecastTask
from cellgate.tasks.intervals import level_bounds, widening
from cellgate.tasks.seasons import long_season
from cellgate.tasks.start import naive_mix


def still(scales, lags):
    """Units of series whose answers correct the naive forecast itself."""
    return Units(scales, lags, (naive_mix(),) * len(scales))


def still_units(panel, task, ends=None):
    """Those fitted on a panel, but for what is corrected."""
    found = fit_units(panel, task, ends)
    return still(found.scales, found.lags)


def make_task(**changes):
    values = {"horizon": 5, "season": 4, "quantiles": (0.1, 0.5, 0.9), "log": False, "context": 40}
    return ForecastTask(**{**values, **changes})


def make_panel(rows=60, series=3, seed=0, missing=()):
    values = np.random.default_rng(seed).normal(size=(rows, series)).cumsum(0) + 30
    for row, column in missing:
        values[row, column] = np.nan
    return read_panel(values)


def make_model(task, data, zero=False):
    torch.manual_seed(1)
    one = torch.zeros(1, dtype=torch.long)
    ahead, simple = known_ahead(data, task, one, one[:, None])
    sizes = task.horizon, len(task.quantiles), ahead.shape[-1], simple.shape[-1]
    model = ForecastNetwork(data.features.shape[1], 7, 1, *sizes).eval()
    if not zero:
        torch.nn.init.normal_(model.readout.weight)
    return model


@pytest.mark.parametrize("season", [1, 3, 4, 9])
@pytest.mark.parametrize("log", [False, True])
def test_a_network_that_answers_zero_is_the_seasonal_naive_forecast(season, log):
    panel, task = make_panel(missing=[(58, 0), (59, 1), (20, 2)]), make_task(season=season, log=log, horizon=11)
    data = prepare(panel, task, still_units(panel, task))
    answers = forecast(make_model(task, data, zero=True), data, task)
    for k, values in enumerate(panel.values):
        for q in range(3):
            np.testing.assert_allclose(answers[k, :, q], seasonal_naive(values, season, 11), rtol=1e-12)


def test_nothing_looks_ahead():
    panel, task = make_panel(), make_task()
    units = fit_units(panel, task, np.full(3, 40))
    data = prepare(panel, task, units)
    model = make_model(task, data)
    series, starts = torch.arange(3), torch.zeros(3, dtype=torch.long)
    origins = torch.tensor([[10, 25, 39]] * 3)
    before = ask(model, data, task, series, starts, origins)
    for values in panel.values:
        values[40:] = 1e3
    after = prepare(panel, task, fit_units(panel, task, np.full(3, 40)))
    assert torch.equal(before, ask(model, after, task, series, starts, origins))
    assert not torch.equal(data.features, after.features)


def test_bounds_begin_where_those_of_the_training_part_are():
    """As far from the median as right answers are, and by what came before the end of the training part only."""
    panel = read_panel(np.random.default_rng(5).normal(size=(400, 2)) * [1.0, 30.0])
    task, ends = make_task(season=1), np.array([300, 300])
    found = []
    for later in (0.0, 1e3):
        for values in panel.values:
            values[300:] += later
        data = prepare(panel, task, still_units(panel, task, ends))
        objective = ForecastObjective(data, task, ends, np.array([400, 400]))
        found.append(objective.spread())
        model = make_model(task, data, zero=True)
        model.begin(found[-1])
        made = forecast(model, data, task)
        np.testing.assert_allclose(made[:, :, 1], [[values[-1]] * 5 for values in panel.values], rtol=1e-6)
        assert (np.diff(made, axis=-1) > 0).all()
        # In units of the mean change, differences of two normal numbers reach 1.28 sqrt(2) / (2 / sqrt(pi)) = 1.61.
        np.testing.assert_allclose(found[-1].numpy(), [[-1.61, 0, 1.61]] * 5, atol=0.25)
    assert torch.equal(*found)


def test_bounds_of_short_series_are_those_of_the_steps_nearest_to_them():
    panel, task = make_panel(rows=7, series=1), make_task(season=1, horizon=9)
    data = prepare(panel, task, still_units(panel, task))
    spread = ForecastObjective(data, task, np.array([4]), np.array([7])).spread()
    assert spread.shape == (9, 3)
    assert spread.isfinite().all()
    assert torch.equal(spread[3:], spread[2:3].expand(6, 3))  # three steps follow the first origin
    assert (spread.diff(dim=-1) >= 0).all()


def test_the_targets_are_what_came_minus_the_baseline():
    panel, task = make_panel(missing=[(33, 1)]), make_task()
    data = prepare(panel, task, still_units(panel, task))
    objective = ForecastObjective(data, task, np.full(3, 40), np.full(3, 60))
    origins = torch.tensor([[2, 3, 30, 38, 39]] * 3)
    targets, counted = objective.targets(torch.arange(3), origins, None, objective.train_end)
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
    data = prepare(panel, task, still_units(panel, task))
    objective = ForecastObjective(data, task, np.array([40]), np.array([60]))
    model = make_model(task, data, zero=True)
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
        data = prepare(panel, task, fit_units(panel, task, ends))
        objective = ForecastObjective(data, task, ends, np.full(3, 60))
        model = model or make_model(task, data)
        generator = torch.Generator().manual_seed(3)
        losses.append(objective.loss(model, torch.arange(objective.examples), generator))
    assert torch.equal(*losses)


def test_pinball_by_hand():
    answers, quantiles = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([0.1, 0.5])
    targets = torch.tensor([3.0, 0.0])
    # target 3: 0.1 * 2 and 0.5 * 1; target 0: 0.9 * 1 and 0.5 * 2
    for counted, expected in (([True, False], 0.7 / 2), ([False, True], 1.9 / 2), ([True, True], 2.6 / 2)):
        assert float(pinball(answers, targets, quantiles, torch.tensor(counted))) == pytest.approx(expected)


def test_long_series_are_cut_into_windows_and_short_ones_are_taken_whole():
    task = make_task(context=40)
    panel = make_panel(rows=300, series=2)
    data = prepare(panel, task, fit_units(panel, task))
    objective = ForecastObjective(data, task, np.array([290, 12]), np.array([300, 12]))
    assert objective.width == 40
    assert objective.examples == 14 + 1
    model = make_model(task, data)
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
    data = prepare(panel, task, still(np.ones(60), np.ones(60, dtype=np.int64)))
    objective = ForecastObjective(data, task, np.full(60, 100), np.full(60, 400))
    model = make_model(task, data, zero=True)
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
    data = prepare(panel, task, still(np.full(8, 1e3), np.ones(8, dtype=np.int64)))  # every error is tiny in this unit
    objective = ForecastObjective(data, task, np.full(8, 100), np.full(8, 200))
    model = make_model(task, data, zero=True)
    model.readout.bias.data[:15] = torch.tensor([-1.0, 0.0, 1.0]).repeat(5)
    np.testing.assert_allclose(widening([model], [objective], 90), -1, atol=0.05)


def test_level_bounds():
    assert level_bounds(90) == (0.05, 0.95)
    assert level_bounds(99.5) == (0.0025, 0.9975)


# ---------------------------------------------------------------- two seasons, simple forecasts, many origins


def weekly(days=60, seed=0, noise=0.05):
    """Hourly values that repeat every week and hardly every day."""
    rng = np.random.default_rng(seed)
    week = rng.normal(size=168).cumsum()
    return np.tile(week - week.mean(), -(-days // 7))[: 24 * days] + noise * rng.normal(size=24 * days)


def test_a_longer_season_is_used_where_the_history_shows_it():
    shown = read_panel(np.stack([weekly(), weekly(seed=1), np.tile(np.sin(np.arange(24) / 4), 60)], axis=1), None)
    shown = replace(shown, season=24)
    assert long_season(shown, 24, 48) == 168
    task = make_task(season=24, long_season=168, horizon=48, context=200)
    assert fit_units(shown, task).lags.tolist()[:2] == [168, 168]
    assert long_season(replace(shown, values=shown.values[2:], ids=shown.ids[2:]), 24, 48) == 1
    assert long_season(shown.until([400] * 3), 24, 48) == 1  # too short to tell


def test_a_zero_answer_repeats_each_series_own_season():
    panel = replace(read_panel(np.stack([weekly(), np.tile(np.sin(np.arange(24) / 4), 60)], axis=1)), season=24)
    task = make_task(season=24, long_season=168, horizon=200, context=300)
    data = prepare(panel, task, still(np.ones(2), np.array([168, 24])))
    made = forecast(make_model(task, data, zero=True), data, task)
    for k, lag in enumerate((168, 24)):
        np.testing.assert_allclose(made[k, :, 1], seasonal_naive(panel.values[k], lag, 200), rtol=1e-12, atol=1e-12)


def test_simple_forecasts_are_what_they_are_called():
    """Each is rebuilt here step by step from the values up to the origin."""
    task = make_task(season=3, long_season=6, horizon=8, context=40)
    values = np.random.default_rng(3).normal(size=50)
    panel = replace(read_panel(values), season=3)
    data = prepare(panel, task, still(np.ones(1), np.array([3])))
    origin = 45
    _, simple = known_ahead(data, task, torch.tensor([0]), torch.tensor([[origin]]))
    naive = seasonal_naive(values[: origin + 1], 3, 8)

    def mean_of(lag, count):
        return np.array(
            [np.mean([values[origin + 1 + h - lag * (1 + h // lag) - lag * k] for k in range(count)]) for h in range(8)]
        )

    expected = [
        naive,
        mean_of(3, 4),
        mean_of(6, 1),
        mean_of(6, 4),
        mean_of(3, 7),
        np.full(8, values[origin - 2 : origin + 1].mean()),
    ]
    assert len(simple_lags(task)) == simple_values(values, task).shape[1] == len(expected)
    np.testing.assert_allclose(simple[0, 0].numpy().T, np.stack(expected) - naive, atol=1e-5)


def test_simple_forecasts_use_nothing_later_than_the_origin():
    task = make_task(season=3, long_season=6, horizon=8, context=40)
    values = np.random.default_rng(3).normal(size=50)
    seen = []
    for later in (0.0, 100.0):
        values[31:] += later
        panel = replace(read_panel(values), season=3)
        data = prepare(panel, task, still(np.ones(1), np.array([3])))
        seen.append(known_ahead(data, task, torch.tensor([0]), torch.tensor([[10, 30]]))[1])
    torch.testing.assert_close(*seen, atol=1e-4, rtol=0)


def test_many_origins_at_once_are_each_as_if_asked_alone():
    panel, task = make_panel(rows=150), make_task(context=20)
    data = prepare(panel, task, fit_units(panel, task))
    model = make_model(task, data)
    series, origins = np.array([2, 0, 0, 1, 2, 0]), np.array([149, 10, 39, 40, 57, 140])
    together = forecast_at(model, data, task, series, origins)
    for k in range(len(series)):
        alone = forecast_at(model, data, task, series[k : k + 1], origins[k : k + 1])
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-5, atol=1e-5)
        cut = panel.select([int(series[k])]).until([int(origins[k]) + 1])
        units = fit_units(panel, task)
        own = units.one(int(series[k]))
        fresh = forecast(model, prepare(cut, task, own), task)
        np.testing.assert_allclose(together[k], fresh[0], rtol=1e-5, atol=1e-5)


def test_between_one_and_two_contexts_are_read():
    origins = np.arange(0, 100)
    starts = reading_start(origins, 20)
    assert (starts[:40] == 0).all()
    assert (origins[40:] + 1 - starts[40:]).min() == 21
    assert (origins + 1 - starts).max() == 40


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("simple", [True, False])
def test_an_answer_and_its_gradients_are_those_of_the_formula(simple, training):
    """Written out step by step, with tanh: values and the gradient of every weight and input."""
    panel, task = make_panel(), make_task(simple=simple)
    data = prepare(panel, task, fit_units(panel, task))
    model = make_model(task, data).train(training)
    hidden = torch.randn(3, 2, 7)
    ahead, known = known_ahead(data, task, torch.arange(3), torch.tensor([[10, 39]] * 3))
    for given in (hidden, ahead, known):
        given.requires_grad_()
    outcome = torch.randn(3, 2, 5, 3)
    direct, weights = model.readout(hidden).split([15, 3 * (16 + known.shape[-1])], dim=-1)
    columns = torch.cat([torch.tanh(model.ahead(ahead)), known], dim=-1)
    expected = direct.unflatten(-1, (5, 3)) + columns @ weights.unflatten(-1, (3, -1)).transpose(-1, -2)
    answers = model.answer(hidden, ahead, known)
    torch.testing.assert_close(answers, expected, rtol=1e-5, atol=1e-5)
    parameters = [*model.readout.parameters(), *model.ahead.parameters(), hidden, ahead, known]
    gradients = [torch.autograd.grad((made * outcome).sum(), parameters) for made in (answers, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_rows_and_their_gradient_with_some_dropped():
    """What is left is the row over its share, and the gradient takes the same way back; rows twice count twice."""
    table, rows = torch.randn(900, 500, requires_grad=True), torch.tensor([3, 0, 3, 899])
    for _ in range(2):  # the second gradient takes the memory of the first
        (gradient,) = torch.autograd.grad((3 * rows_of(table, rows)).sum(), table)
        expected = torch.zeros(900, 500)
        expected[3], expected[0], expected[899] = 6, 3, 3
        assert torch.equal(gradient, expected)
        del gradient
    kept = []
    for _ in range(2):
        torch.manual_seed(5)
        found = rows_of(table, rows, 0.25)
        kept.append((found != 0).float())
        torch.testing.assert_close(found, table[rows] * kept[-1] / 0.75)
        (gradient,) = torch.autograd.grad(found.sum(), table)
        torch.testing.assert_close(gradient, torch.zeros(900, 500).index_add(0, rows, kept[-1] / 0.75))
    assert torch.equal(*kept)
    assert float(kept[0].mean()) == pytest.approx(0.75, abs=0.04)


def test_the_gradient_of_the_quantile_loss_is_its_slope():
    """Where answer and outcome agree it is the mean of both slopes, so that a median that is right stays."""
    answers = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
    targets, counted = torch.tensor([2.5, 0.0, 2.5]), torch.tensor([True, True, False])
    pinball(answers, targets, torch.tensor([0.1, 0.5, 0.9]), counted).backward()
    expected = torch.tensor([[-0.1, -0.5, 0.1], [0.4, 0.0, -0.4], [0.0, 0.0, 0.0]]) / 3
    torch.testing.assert_close(answers.grad, expected)
