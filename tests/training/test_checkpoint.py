"""Checkpoints: a training that was cut short ends as it would have, or says why it cannot go on."""

import os

import pytest
import torch
from torch import nn

from cellgate.training import Checkpoint, CheckpointError, TrainingSettings, train


class Noisy:
    """Fit a line, with dropout and random offsets, so that both random states matter."""

    def __init__(self):
        self.x = torch.linspace(-1, 1, 24)[:, None]

    @property
    def examples(self):
        return len(self.x)

    def loss(self, model, rows, generator):
        x = self.x[rows] + 0.1 * torch.rand(len(rows), 1, generator=generator)
        return ((model(x) - 2 * x) ** 2).mean()

    @torch.no_grad()
    def validate(self, model):
        return float(((model(self.x) - 2 * self.x) ** 2).mean())


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.3), nn.Linear(8, 1))


SETTINGS = TrainingSettings(max_epochs=12, batch_size=8, learning_rate=0.05, patience=5)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def killed_after(epochs):
    def watch(progress):
        if progress.epoch == epochs:
            raise Killed

    return watch


@pytest.mark.parametrize("kills", [(2,), (1, 4, 5), (11,)])
def test_it_ends_as_if_it_had_never_stopped(tmp_path, kills):
    whole = build()
    expected = train(whole, Noisy(), SETTINGS)
    for epochs in kills:
        with pytest.raises(Killed):
            train(build(), Noisy(), SETTINGS, killed_after(epochs), Checkpoint(tmp_path / "c", "one", every=0))
        torch.rand(7)  # a new process would not have this random state either
    model, seen = build(), []
    record = train(model, Noisy(), SETTINGS, lambda p: seen.append(p.epoch), Checkpoint(tmp_path / "c", "one", every=0))
    # The watcher is told before the state is saved, so the epoch of the kill is run again and none before it.
    assert seen[0] == kills[-1]
    assert record.history == expected.history
    assert (record.best_epoch, record.stopped_by) == (expected.best_epoch, expected.stopped_by)
    for one, other in zip(whole.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_training_is_not_run_again(tmp_path):
    first = build()
    expected = train(first, Noisy(), SETTINGS, None, Checkpoint(tmp_path / "c", "one"))
    again = build()
    record = train(again, Noisy(), SETTINGS, killed_after(1), Checkpoint(tmp_path / "c", "one"))
    assert record.history == expected.history
    assert torch.equal(first[0].weight, again[0].weight)


def test_another_training_is_refused(tmp_path):
    train(build(), Noisy(), SETTINGS, None, Checkpoint(tmp_path / "c", "one"))
    with pytest.raises(CheckpointError, match="expected a checkpoint of the same data and options"):
        train(build(), Noisy(), SETTINGS, None, Checkpoint(tmp_path / "c", "two"))


def test_a_damaged_file_is_refused(tmp_path):
    train(build(), Noisy(), SETTINGS, None, Checkpoint(tmp_path / "c", "one"))
    os.truncate(tmp_path / "c", 900)
    with pytest.raises(CheckpointError, match="expected a checkpoint, got a damaged file"):
        train(build(), Noisy(), SETTINGS, None, Checkpoint(tmp_path / "c", "one"))


def test_a_save_that_fails_leaves_the_last_one(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        train(build(), Noisy(), SETTINGS, killed_after(3), Checkpoint(tmp_path / "c", "one", every=0))
    before = (tmp_path / "c").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(build(), Noisy(), SETTINGS, None, Checkpoint(tmp_path / "c", "one", every=0))
    assert (tmp_path / "c").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_saves_keep_their_distance(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", "one", every=3600)
    with pytest.raises(Killed):
        train(build(), Noisy(), SETTINGS, killed_after(5), checkpoint)
    assert not (tmp_path / "c").exists()
