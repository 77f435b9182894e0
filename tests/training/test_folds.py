"""Folds: each model trains as it would alone, and the score is the mean."""

import pytest
import torch
from torch import nn

from cellgate.training import FoldedObjective, TrainingSettings, train


class Line:
    """Fit y = slope * x."""

    def __init__(self, slope, examples=8):
        self.x, self.slope = torch.linspace(0.1, 1, examples)[:, None], slope

    @property
    def examples(self):
        return len(self.x)

    def loss(self, model, rows, generator):
        return ((model(self.x[rows]) - self.slope * self.x[rows]) ** 2).mean()

    @torch.no_grad()
    def validate(self, model):
        return float(((model(self.x) - self.slope * self.x) ** 2).mean())


def settings(**changes):
    return TrainingSettings(**{"learning_rate": 0.05, "batch_size": 8, "max_epochs": 40, "clip": 1e9, **changes})


def build(seed):
    torch.manual_seed(seed)
    return nn.Linear(1, 1)


def test_models_in_step_become_what_they_become_alone():
    alone = [build(0), build(1)]
    for model, slope in zip(alone, (2.0, -1.0), strict=True):
        train(model, Line(slope), settings())
    together = nn.ModuleList([build(0), build(1)])
    record = train(together, FoldedObjective([Line(2.0), Line(-1.0)]), settings())
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict())
    scores = [Line(2.0).validate(together[0]), Line(-1.0).validate(together[1])]
    assert record.best_score == pytest.approx(sum(scores) / 2)


def test_smaller_folds_take_part_with_what_they_have():
    objective = FoldedObjective([Line(2.0, 8), Line(2.0, 3)])
    models = nn.ModuleList([build(0), build(1)])
    assert objective.examples == 8
    generator = torch.Generator()
    both = objective.loss(models, torch.tensor([1, 2, 5]), generator)
    expected = Line(2.0, 8).loss(models[0], torch.tensor([1, 2, 5]), generator)
    expected = expected + Line(2.0, 3).loss(models[1], torch.tensor([1, 2]), generator)
    torch.testing.assert_close(both, expected)
    one = objective.loss(models, torch.tensor([6, 7]), generator)
    torch.testing.assert_close(one, Line(2.0, 8).loss(models[0], torch.tensor([6, 7]), generator))


def test_without_a_score_the_last_weights_are_kept_on_the_schedule_asked_for():
    class Unwatched(Line):
        def validate(self, model):
            return None

    watched, unwatched = build(0), build(0)
    seen = []
    train(watched, Line(2.0), settings(), lambda p: seen.append(watched.weight.item()))
    record = train(unwatched, Unwatched(2.0), settings(max_epochs=7, schedule_epochs=40))
    assert record.best_epoch == record.epochs == 7
    assert unwatched.weight.item() == pytest.approx(seen[6])
