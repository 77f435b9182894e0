"""Few sequences: folds tell how long to train and how sure to be, and a model of all sequences is kept."""

import json
import time

import numpy as np
import pytest
import torch
from torch import nn

import cellgate
from cellgate import SequenceClassifier, SequenceRegressor, SequenceTagger
from cellgate.estimators.sequence_training import SharedFolds, keep_share
from cellgate.tasks.classify import log_shares
from cellgate.tasks.held_back import folds


def waves(count, seed=0, noise=0.3):
    """Two speeds of a wave, of any phase."""
    random = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = np.sin(np.arange(12) * (0.3 + 0.4 * y[:, None]) + random.uniform(0, 6, (count, 1)))
    return (x + noise * random.normal(size=x.shape))[:, :, None], y


def chance(count, seed=0):
    """Labels that have nothing to do with the sequences."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 10, 2)), random.permutation(np.arange(count) % 2)


def of_kind(kind, count=40):
    X, y = waves(count)
    if kind is SequenceTagger:
        return list(X), [(one[:, 0] > 0).astype(int) for one in X]
    return X, y if kind is SequenceClassifier else X.mean((1, 2)) + y


def test_folds_hold_every_row_back_once_and_of_each_class_the_same_share():
    strata = np.array([0] * 20 + [1] * 11 + [2])
    parts = folds(strata, np.full(32, 7), 0)
    assert len(parts) == 5
    assert sorted(np.concatenate([held for _, held in parts]).tolist()) == list(range(31))  # the last is alone
    for learnt, held in parts:
        assert sorted([*learnt, *held]) == list(range(32))
        assert (strata[held] == 0).sum() == 4
        assert (strata[held] == 1).sum() in (2, 3)
    again = folds(strata, np.full(32, 7), 0)
    assert all((a == b).all() for one, other in zip(parts, again, strict=True) for a, b in zip(one, other, strict=True))
    assert len(folds(strata, np.full(32, 1000), 0)) == 2  # long ones take time
    assert folds(np.arange(4), np.full(4, 7), 0) == []
    assert folds(np.zeros(2, dtype=int), np.array([7, 0]), 0) == []


class Answers:
    """A fold whose model's answers are given."""

    examples = 1

    def __init__(self, answers, targets, prior):
        self.answers, self.targets, self.prior = torch.tensor(answers), torch.tensor(targets), prior

    def held(self, model):
        return self.answers, self.targets

    def criterion(self, answers, targets):
        return nn.functional.cross_entropy(answers, targets)


def test_the_share_is_that_at_which_all_that_was_held_back_is_told_best():
    """One answer in four is wrong, each as sure as 20 to 0: sureness of log 3 is right, which is a share of .055."""
    prior = torch.log(torch.tensor([0.5, 0.5]))
    right, wrong = [20.0, 0.0], [0.0, 20.0]
    told = SharedFolds([Answers([right, right], [0, 0], prior), Answers([right, wrong], [0, 0], prior)])
    share, loss = told.share(nn.ModuleList([nn.Identity(), nn.Identity()]))
    assert share == pytest.approx(0.05)
    assert loss == pytest.approx(np.log(1 + np.exp(-1.0)) * 0.75 + np.log(1 + np.e) * 0.25, abs=1e-5)
    sure = SharedFolds([Answers([right, right], [0, 0], prior)])
    assert sure.share(nn.ModuleList([nn.Identity()]))[0] == 1.0


def test_a_share_is_worked_into_the_readout():
    readout, prior, h = nn.Linear(3, 2), log_shares(torch.tensor([0, 0, 0, 1]), 2), torch.randn(5, 3)
    assert prior.exp().tolist() == pytest.approx([0.75, 0.25])
    before = readout(h)
    keep_share(readout, prior, 0.25)
    torch.testing.assert_close(readout(h), 0.25 * before + 0.75 * prior)
    assert torch.isfinite(log_shares(torch.tensor([0, 0]), 3)).all()


@pytest.mark.parametrize("count", [20, 40, 80])
def test_it_does_not_learn_noise_by_heart(count):
    X, y = chance(count)
    new, labels = chance(300, seed=1)
    model = SequenceClassifier(hidden_size=32).fit(X, y)
    assert model.record_.models == 5
    assert np.isfinite(model.record_.best_score)
    loss = model.evaluate(new, labels)["cellgate"]["log loss"]
    by_heart = SequenceClassifier(hidden_size=32, validation=0.0).fit(X, y)
    assert loss < 0.85 < 1.5 < by_heart.evaluate(new, labels)["cellgate"]["log loss"]


def test_what_can_be_learnt_is_learnt():
    X, y = waves(40)
    new, labels = waves(300, seed=1)
    told = SequenceClassifier().fit(X, y).evaluate(new, labels)["cellgate"]
    assert told["accuracy"] > 0.9
    assert told["log loss"] < 0.35
    regressor = SequenceRegressor(hidden_size=32).fit(X, X.sum((1, 2)))
    assert regressor.score(new, new.sum((1, 2))) > 0.8


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_the_card_says_what_was_done(kind, tmp_path):
    X, y = of_kind(kind)

    def card(model):
        model.save(tmp_path / "m")
        return (tmp_path / "m" / "README.md").read_text()

    model = kind(hidden_size=8, max_epochs=6).fit(X, y)
    told = card(model)
    assert "How long to train was found by 5 models, each with another part of the sequences held back" in told
    assert f"the model itself then learnt from all, for {model.record_.best_epoch} epochs" in told
    assert ("of the baseline's; the readout's weights hold that" in told) == (model.record_.share < 1)
    assert cellgate.load(tmp_path / "m").record_ == model.record_
    told = card(kind(hidden_size=8, max_epochs=6, validation=0.0).fit(X, y))
    assert "Nothing was held back to stop by: the weights are those of epoch 6, the last." in told
    model = kind(hidden_size=8, max_epochs=2).fit(*of_kind(kind, 240))
    assert model.record_.models == 1
    assert f"those of epoch {model.record_.best_epoch}, the best on the part held back for that" in card(model)


def test_a_model_saved_before_shares_were_known_loads(tmp_path):
    X, y = waves(20)
    model = SequenceClassifier(hidden_size=4, max_epochs=2).fit(X, y)
    model.save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    del config["training"]["share"], config["sum"]
    config["sum"] = cellgate.estimators.folder.sum_of(config)
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    again = cellgate.load(tmp_path / "m")
    assert again.record_.share == 1.0
    assert (again.predict_proba(X) == model.predict_proba(X)).all()


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
@pytest.mark.parametrize("stage", ["search", "final"])
def test_cut_short_in_either_stage_it_ends_as_if_it_had_not_been(kind, stage, tmp_path):
    X, y = of_kind(kind)

    def stop(progress):
        if (progress.validation is None) == (stage == "final") and progress.epoch == 2:
            raise Stop

    def fit(**how):
        return kind(hidden_size=8, max_epochs=8).fit(X, y, **how)

    whole = fit()
    assert whole.record_.best_epoch >= 2
    with pytest.raises(Stop):
        fit(watch=stop, checkpoint=tmp_path / "c", checkpoint_every=0.0)
    resumed = fit(checkpoint=tmp_path / "c", checkpoint_every=0.0)
    assert resumed.record_.history == whole.record_.history
    assert resumed.record_.share == whole.record_.share
    for name, value in whole.model_.state_dict().items():
        assert torch.equal(value, resumed.model_.state_dict()[name])


@pytest.mark.parametrize("stage", ["search", "final"])
def test_ctrl_c_leaves_a_model_that_answers(stage, tmp_path):
    X, y = waves(40)

    def stop(progress):
        if (progress.validation is None) == (stage == "final") and progress.epoch == 3:
            raise KeyboardInterrupt

    model = SequenceClassifier(hidden_size=8, max_epochs=20).fit(X, y, watch=stop)
    assert model.record_.stopped_by == "Ctrl-C"
    assert model.record_.models == 1
    assert model.record_.epochs == (3 if stage == "search" else 20)
    assert np.isfinite(model.predict_proba(X)).all()
    model.save(tmp_path / "m")
    assert "the best on the part held back" in (tmp_path / "m" / "README.md").read_text()


def test_the_time_given_is_for_both_stages():
    X, y = waves(60)
    began = time.monotonic()
    model = SequenceClassifier(hidden_size=64, max_epochs=100_000, max_seconds=1.0).fit(X, y)
    assert time.monotonic() - began < 10.0
    assert model.record_.stopped_by == "max_seconds"
    assert model.record_.models == 5


def test_the_losses_told_are_those_of_one_model():
    X, y = waves(40)
    seen = []
    model = SequenceClassifier(hidden_size=8, max_epochs=2).fit(X, y, watch=lambda progress: seen.append(progress.loss))
    assert 0.4 < seen[0] < 1.0
    assert model.record_.history[0][0] == pytest.approx(seen[0])
