"""Ctrl-C in Python: a fit keeps its best and returns; what needs many fits stops."""

import numpy as np
import pytest

import cellgate


def ctrl_c_in(stage, epoch=2):
    """A watcher that interrupts at an epoch of the stage-th training."""
    stages = [0]

    def watch(progress):
        stages[0] += progress.epoch == 1
        if (stages[0], progress.epoch) == (stage, epoch):
            raise KeyboardInterrupt

    return watch


def test_a_backtest_with_refit_ends():
    seen = []
    interrupt = ctrl_c_in(3)

    def watch(progress):
        seen.append(progress.epoch)
        interrupt(progress)

    forecaster = cellgate.Forecaster(3, max_epochs=3)
    told = "stopped by Ctrl-C in training 2 of 5 of the backtest, of which nothing is kept"
    with pytest.raises(KeyboardInterrupt, match=told):
        forecaster.backtest("airline", origins=5, refit=True, watch=watch)
    assert (seen.count(1), seen[-1]) == (3, 2)  # nothing is trained after it


def test_a_backtest_that_trains_once_ends():
    with pytest.raises(KeyboardInterrupt, match="in the training of the backtest"):
        cellgate.Forecaster(3, max_epochs=5).backtest("airline", origins=5, watch=ctrl_c_in(1))


def test_a_fit_returns_with_its_best():
    forecaster = cellgate.Forecaster(3, max_epochs=5).fit("airline", watch=ctrl_c_in(1, 3))
    assert (forecaster.record_.stopped_by, forecaster.record_.epochs, forecaster.record_.models) == ("Ctrl-C", 3, 1)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_the_model_that_was_judged_goes_before_half_of_the_last_one(epoch, monkeypatch):
    """A short history trains one more model on all of it, unwatched; cut short it may be anything."""
    from cellgate.estimators import forecast_training

    once = cellgate.Forecaster(3, max_epochs=6, seed=1)
    watched = []

    def watch(progress):
        watched.append(progress)
        if epoch and [p.epoch for p in watched].count(1) == 2 and progress.epoch == epoch:
            raise KeyboardInterrupt

    if epoch == 0:
        trained = []
        train = forecast_training.train

        def interrupted(*arguments):
            trained.append(0)
            if len(trained) == 2:
                raise KeyboardInterrupt
            return train(*arguments)

        monkeypatch.setattr(forecast_training, "train", interrupted)
    once.fit("airline", watch=watch)
    assert (once.record_.stopped_by, once.record_.models) == ("Ctrl-C", 1)
    monkeypatch.undo()
    whole = cellgate.Forecaster(3, max_epochs=6, seed=1).fit("airline")
    assert whole.record_.models > 1
    assert once.record_.history == whole.record_.history
    assert not np.array_equal(once.forecast().values, whole.forecast().values)
    assert once.panel_.ids == whole.panel_.ids


@pytest.mark.parametrize("found", [{}, {"time": "Month", "target": "#Passengers", "season": 12, "hidden_size": 32}])
def test_a_training_is_resumed_whether_sizes_and_columns_are_found_or_said(found, tmp_path):
    with pytest.raises(RuntimeError, match="enough"):
        cellgate.Forecaster(3, max_epochs=4).fit("airline", watch=_stop_at(2), checkpoint=tmp_path, checkpoint_every=0)
    seen = []
    said = {"max_epochs": 4, "patience": 60} if found else {"max_epochs": 4}
    cellgate.Forecaster(3, **found, **said).fit("airline", watch=lambda p: seen.append(p.epoch), checkpoint=tmp_path)
    assert seen[0] == 2
    with pytest.raises(cellgate.InputError, match="expected a checkpoint of the same data and options"):
        cellgate.Forecaster(3, max_epochs=5, **found).fit("airline", checkpoint=tmp_path)


def _stop_at(epoch):
    def watch(progress):
        if progress.epoch == epoch:
            raise RuntimeError("enough")

    return watch
