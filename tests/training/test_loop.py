"""The loop on problems small enough to be known: it learns, stops, repeats itself, and says what is wrong."""

import math
import time

import pytest
import torch
from torch import nn

from cellgate.training import TrainingError, TrainingSettings, train
from cellgate.training.loop import _clip


class Line:
    """Fit y = 2x - 1; `scores` overrides what validation says."""

    def __init__(self, scores=None, examples=64):
        self.x = torch.linspace(-1, 1, examples)[:, None]
        self.scores = None if scores is None else iter(scores)
        self.rows = []

    @property
    def examples(self):
        return len(self.x)

    def loss(self, model, rows, generator):
        self.rows.append(rows)
        return ((model(self.x[rows]) - (2 * self.x[rows] - 1)) ** 2).mean()

    @torch.no_grad()
    def validate(self, model):
        assert not model.training
        return float(((model(self.x) - (2 * self.x - 1)) ** 2).mean()) if self.scores is None else next(self.scores)


def settings(**changes):
    return TrainingSettings(
        **{"learning_rate": 0.1, "batch_size": 16, "weight_decay": 0.0, "max_epochs": 60, **changes}
    )


def line():
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def test_it_learns_and_every_epoch_sees_every_example_once():
    model, objective = line(), Line()
    record = train(model, objective, settings())
    assert record.best_score < 1e-4
    assert model.weight.item() == pytest.approx(2, abs=0.05)
    for epoch in range(record.epochs):
        assert torch.cat(objective.rows[4 * epoch : 4 * epoch + 4]).sort().values.tolist() == list(range(64))
    assert torch.cat(objective.rows[:4]).tolist() != list(range(64))


def test_the_best_weights_come_back_and_patience_ends_it():
    model, kept = line(), []
    objective = Line(scores=[5.0, 3.0, 4.0, 3.5, 3.2, 9.0, 1.0])
    record = train(model, objective, settings(patience=3), lambda p: kept.append(model.weight.item()))
    assert (record.epochs, record.best_epoch, record.best_score, record.stopped_by) == (5, 2, 3.0, "patience")
    assert model.weight.item() == kept[1] != kept[-1]
    assert not model.training


def test_equal_seeds_give_equal_runs_and_leave_the_callers_random_state_alone():
    def run(seed):
        model = line()
        torch.manual_seed(5)
        before = torch.get_rng_state()
        train(model, Line(), settings(max_epochs=3, seed=seed))
        assert torch.equal(before, torch.get_rng_state())
        return model.weight.item()

    assert run(1) == run(1) != run(2)


def test_the_time_limit_ends_it():
    record = train(line(), Line(), settings(max_seconds=1e-9))
    assert (record.epochs, record.stopped_by) == (1, "max_seconds")


def test_a_warm_up_of_more_steps_than_there_is_time_for_ends_with_a_twentieth_of_the_time(monkeypatch):
    """The rate rose until the end, and nothing was learnt."""
    clock = [0.0]
    monkeypatch.setattr("cellgate.training.loop.time.perf_counter", lambda: clock[0])

    class Slow(Line):
        def loss(self, model, rows, generator):
            clock[0] += 1.0
            return super().loss(model, rows, generator)

    record = train(line(), Slow(), settings(max_seconds=60.0, warmup=1000, max_epochs=1000))
    assert record.stopped_by == "max_seconds"
    assert record.epochs == 15
    assert record.best_score < 0.01


def test_ctrl_c_keeps_the_best_so_far():
    model, seen = line(), []

    def watch(progress):
        seen.append(model.weight.item())
        if progress.epoch == 3:
            raise KeyboardInterrupt

    record = train(model, Line(scores=[2.0, 1.0, 3.0]), settings(), watch)
    assert (record.stopped_by, record.best_epoch) == ("Ctrl-C", 2)
    assert model.weight.item() == seen[1]


def test_ctrl_c_before_anything_was_learnt_goes_through():
    class Interrupted(Line):
        def loss(self, model, rows, generator):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(line(), Interrupted(), settings())


def test_a_loss_that_is_no_number_is_stopped_with_the_reason():
    class Broken(Line):
        def loss(self, model, rows, generator):
            return super().loss(model, rows, generator) * math.nan

    with pytest.raises(TrainingError, match=r"expected a finite loss, got nan .* in epoch 1; lower --learning-rate"):
        train(line(), Broken(), settings())
    with pytest.raises(TrainingError, match="expected a finite validation score, got nan in epoch 2"):
        train(line(), Line(scores=[1.0, math.nan]), settings())


def test_nothing_to_train_on():
    with pytest.raises(TrainingError, match="expected at least one example"):
        train(line(), Line(examples=0), settings())


def test_the_watcher_is_told_the_truth():
    told = []
    record = train(line(), Line(), settings(max_epochs=4), told.append)
    assert [p.epoch for p in told] == [1, 2, 3, 4]
    assert [(p.loss, p.validation) for p in told] == record.history
    assert told[-1].best == record.best_score == min(score for _, score in record.history)
    assert told[-1].seconds > 0
    assert told[-1].examples_per_second > 0


def test_examples_in_order_where_the_objective_asks_for_it():
    objective = Line()
    objective.in_order = True
    train(line(), objective, settings(max_epochs=2))
    assert torch.cat(objective.rows).tolist() == list(range(64)) * 2


def test_the_time_limit_ends_an_epoch_that_takes_longer_than_it():
    class Slow(Line):
        def loss(self, model, rows, generator):
            time.sleep(0.02)
            return super().loss(model, rows, generator)

    objective = Slow(examples=16 * 500)
    record = train(line(), objective, settings(max_seconds=0.1))
    assert (record.epochs, record.stopped_by) == (1, "max_seconds")
    assert len(objective.rows) < 20


@pytest.mark.parametrize("most", [0.5, 100.0])
def test_gradients_are_clipped_as_torch_clips_them(most):
    torch.manual_seed(0)
    ours = [torch.randn(5, 3), torch.randn(4)]
    theirs = [nn.Parameter(torch.zeros_like(gradient)) for gradient in ours]
    for parameter, gradient in zip(theirs, ours, strict=True):
        parameter.grad = gradient.clone()
    assert _clip(ours, most) == pytest.approx(float(nn.utils.clip_grad_norm_(theirs, most)))
    torch.testing.assert_close(ours, [parameter.grad for parameter in theirs])
