"""The running mean of the weights: what it is, that training keeps it, and that a resumed training has it again."""

import pytest
import torch
from torch import nn

from cellgate.training import Checkpoint, TrainingSettings, train
from cellgate.training.average import RunningMean


class Line:
    examples = 12

    def __init__(self):
        self.x = torch.linspace(-1, 1, 12)[:, None]
        self.validated = []

    def loss(self, model, rows, generator):
        x = self.x[rows]
        noise = torch.randn(len(rows), 1, generator=generator)
        return ((model(x) - 2 * x - noise) ** 2).mean()

    @torch.no_grad()
    def validate(self, model):
        self.validated.append(model.weight.detach().clone())
        return float(((model(self.x) - 2 * self.x) ** 2).mean())


def build():
    torch.manual_seed(0)
    return nn.Linear(1, 1)


SETTINGS = TrainingSettings(max_epochs=8, batch_size=4, learning_rate=0.05, average=0.9)


def test_the_mean_by_hand():
    model = build()
    mean = RunningMean(model, 0.75)
    expected = model.weight.item()
    for step, value in enumerate((3.0, -1.0, 5.0, 2.0, 0.5, 7.0)):
        model.weight.data.fill_(value)
        mean.add(step)
        past = min(0.75, (1 + step) / (10 + step))
        expected = past * expected + (1 - past) * value
        assert float(mean.weights["weight"]) == pytest.approx(expected, rel=1e-6)
    with mean.in_place():
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 7.0


def test_the_mean_is_what_is_validated_and_kept():
    objective, model = Line(), build()
    record = train(model, objective, SETTINGS)
    assert torch.equal(model.weight, objective.validated[record.best_epoch - 1])
    plain, other = Line(), build()
    train(other, plain, TrainingSettings(max_epochs=8, batch_size=4, learning_rate=0.05))
    assert not torch.equal(objective.validated[-1], plain.validated[-1])
    # The same steps were taken; the mean lies nearer to where they began.
    assert record.history[0][0] == pytest.approx(train(build(), Line(), SETTINGS).history[0][0])


class Killed(BaseException):
    """Nothing catches it."""


def test_a_resumed_training_goes_on_with_its_mean(tmp_path):
    expected = build()
    record = train(expected, Line(), SETTINGS)

    def kill(progress):
        if progress.epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        train(build(), Line(), SETTINGS, kill, Checkpoint(tmp_path / "c", "one", every=0))
    resumed = build()
    again = train(resumed, Line(), SETTINGS, checkpoint=Checkpoint(tmp_path / "c", "one", every=0))
    assert torch.equal(resumed.weight, expected.weight)
    assert again.history == record.history
