"""--tensorboard: the course of a training as events, every epoch of every stage."""

import pytest


def test_every_epoch_is_written(call, tmp_path):
    pytest.importorskip("tensorboard", reason="writes and reads its files")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = call("train", "airline", "--max-epochs", 3, "--tensorboard", "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    events = EventAccumulator(str(tmp_path / "m" / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss/training")]
    assert [event.step for event in events.Scalars("loss/training")] == list(range(1, len(losses) + 1))
    assert 4 <= len(losses) <= 6  # three epochs of search, then the final model's
    assert len(events.Scalars("loss/validation")) == 3
    # Without it nothing is written.
    call("train", "airline", "--max-epochs", 1, "--out", tmp_path / "n")
    assert not (tmp_path / "n" / "tensorboard").exists()


def test_events_are_of_the_model_in_the_folder(call, tmp_path):
    pytest.importorskip("tensorboard", reason="writes its files")
    pytest.importorskip("optuna", reason="searches with it")
    train = "train", "airline", "--max-epochs", 1, "--out", tmp_path / "m"
    board = tmp_path / "m" / "tensorboard"
    call(*train, "--tensorboard")
    (board / "notes.txt").write_text("mine")
    first = {path.name for path in board.iterdir()} - {"notes.txt"}
    assert call(*train, "--tensorboard", "--force")[0] == 0
    second = {path.name for path in board.iterdir()} - {"notes.txt"}
    assert (len(first), len(second), len(first & second)) == (1, 1, 0)
    tune = "tune", "airline", "--trials", 1, "--max-epochs", 1, "--out", tmp_path / "m", "--force"
    assert call(*tune)[0] == 0  # its model has a folder of its own
    assert {path.name for path in board.iterdir()} - {"notes.txt"} == second
    assert call(*train, "--force")[0] == 0
    assert [path.name for path in board.iterdir()] == ["notes.txt"]


def test_a_resumed_training_goes_on_from_its_epoch(tmp_path):
    pytest.importorskip("tensorboard", reason="writes and reads its files")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from cellgate.cli.console import training_progress
    from cellgate.training import Progress

    with training_progress(True, tmp_path) as watch:
        for epoch in (3, 4, 1, 2):  # the second stage begins again
            watch(Progress(epoch, 4, 1.0, None, 1.0, epoch, 0.0, 1.0))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/training")] == [3, 4, 5, 6]


def test_without_tensorboard_it_says_so(call, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call("train", "airline", "--tensorboard", "--max-epochs", 1, "--out", tmp_path / "m")
    assert code == 2
    assert "pip install tensorboard" in err
