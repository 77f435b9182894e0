"""Ctrl-C and kills of `cellgate train`: what is kept, what is said, and what goes on from there."""

import json
import tomllib
from contextlib import contextmanager

import numpy as np
import pytest

import cellgate
from cellgate.cli import train_forecast, training_run
from cellgate.errors import InputError


@pytest.fixture
def trainings(tmp_path):
    """Task -> the arguments of a short training."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(120, 6, 1))
    np.savez(tmp_path / "x.npz", X=x, y=(x.mean((1, 2)) > 0).astype(int))
    (tmp_path / "t.txt").write_text(" ".join(chance.choice("to be or not".split(), 1500)))
    small = ["--hidden-size", 8, "--max-epochs", 4]
    return {
        "forecast": ["airline", "--horizon", 3, *small],
        "classify": [tmp_path / "x.npz", "--task", "classify", *small],
        "generate": [tmp_path / "t.txt", "--task", "generate", "--batch-size", 4, *small],
    }


@pytest.fixture
def ctrl_c(monkeypatch):
    """Interrupts the next training at the end of an epoch, or, for 0, before its first."""

    def at(epoch):
        @contextmanager
        def told(quiet, board=None):
            if epoch == 0:
                raise KeyboardInterrupt

            def watch(progress):
                if progress.epoch == epoch:
                    raise KeyboardInterrupt

            yield watch

        for module in (train_forecast, training_run):
            monkeypatch.setattr(module, "training_progress", told)

    return at


@pytest.mark.parametrize("task", ["forecast", "classify", "generate"])
def test_what_was_kept_is_no_error(task, call, tmp_path, trainings, ctrl_c):
    ctrl_c(2)
    code, out, err = call("train", *trainings[task], "--out", tmp_path / "m")
    assert (code, err) == (130, "")
    assert "stopped by Ctrl-C, the best so far kept" in out
    assert cellgate.load(tmp_path / "m").record_.stopped_by == "Ctrl-C"
    code, out, err = call("train", *trainings[task], "--out", tmp_path / "n", "--json")
    assert (code, err) == (130, "")
    assert json.loads(out)["training"]["stopped_by"] == "Ctrl-C"  # one object


@pytest.mark.parametrize("task", ["forecast", "classify", "generate"])
def test_nothing_kept_is_said_and_begins_again(task, call, tmp_path, trainings, ctrl_c, monkeypatch):
    out = tmp_path / "m"
    ctrl_c(0)
    code, _, err = call("train", *trainings[task], "--out", out)
    assert (code, err) == (
        130,
        f"stopped by Ctrl-C before a pass over the data was done: no model is kept; "
        f"cellgate train --resume --out {out} begins again\n",
    )
    assert [str(path.relative_to(out)) for path in out.rglob("*")] == ["checkpoint", "checkpoint/train.toml"]
    code, _, err = call("generate" if task == "generate" else "predict", out)
    assert code == 2
    assert err == (
        f"error: {out}: expected a model folder with a config.json, got a training that was cut short; "
        f"cellgate train --resume --out {out} goes on with it\n"
    )
    monkeypatch.undo()
    code, _, err = call("train", "--resume", "--out", out)
    assert (code, err) == (0, "")
    call("train", *trainings[task], "--out", tmp_path / "whole")
    for name in ("model.safetensors", "train.toml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    code, _, err = call("train", "--resume", "--out", out)
    assert code == 2
    assert "expected a training in" in err
    assert "found a finished one; leave it out" in err


@pytest.mark.parametrize("task", ["forecast", "classify", "generate"])
@pytest.mark.parametrize("stop", ["Ctrl-C", "error"])
def test_a_model_that_stays_keeps_its_options(task, stop, call, tmp_path, trainings, ctrl_c, monkeypatch):
    """`--force` over a finished model, stopped before there is anything new."""
    out = tmp_path / "m"
    assert call("train", *trainings[task], "--out", out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    if stop == "Ctrl-C":
        ctrl_c(0)
    else:
        for kind in (cellgate.Forecaster, cellgate.SequenceClassifier, cellgate.LanguageModel):
            monkeypatch.setattr(kind, "fit", refused)
    code, _, err = call("train", *trainings[task], "--seed", 7, "--out", out, "--force")
    told = f"stopped by Ctrl-C before a pass over the data was done: the model that was in {out} is still there\n"
    assert (code, err) == ((130, told) if stop == "Ctrl-C" else (2, "error: refused\n"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def refused(*_, **__):
    raise InputError("refused")


def test_ctrl_c_after_the_training_goes_on_from_the_last_save(call, tmp_path, trainings, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    out = tmp_path / "m"
    with monkeypatch.context() as patch:
        patch.setattr(train_forecast, "write_forecast_files", interrupted)
        code, _, err = call("train", *trainings["forecast"], "--out", out)
    assert code == 130
    assert err.endswith(
        f"before the model was written; cellgate train --resume --out {out} goes on from the last save\n"
    )
    assert call("train", "--resume", "--out", out)[0] == 0


def test_a_backtest_ends_and_writes_nothing(call, tmp_path, monkeypatch):
    from cellgate.cli import backtest

    begun = []

    @contextmanager
    def told(quiet, board=None):
        def watch(progress):
            begun.append(progress.epoch)
            if begun.count(1) == 3:
                raise KeyboardInterrupt

        yield watch

    monkeypatch.setattr(backtest, "training_progress", told)
    options = ["--origins", 6, "--horizon", 3, "--refit", "--max-epochs", 2, "--out", tmp_path / "x.csv"]
    code, _, err = call("backtest", "airline", *options)
    assert (code, err) == (130, "stopped by Ctrl-C in training 2 of 6 of the backtest, of which nothing is kept\n")
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("task", ["forecast", "classify", "generate"])
def test_train_toml_holds_what_was_found(task, call, tmp_path, trainings):
    options = trainings[task][:-4]  # sizes are found too
    call("train", *options, "--max-time", 0.01, "--out", tmp_path / "m")
    saved = tomllib.loads((tmp_path / "m" / "train.toml").read_text())["train"]
    model = cellgate.load(tmp_path / "m").model_
    assert saved["hidden-size"] == model.lstm.hidden_size
    assert min(saved["max-epochs"], saved["patience"]) > 1
    if task == "forecast":
        found = {"holdout": 3, "time": "Month", "target": "#Passengers", "season": 12, "level": [90.0]}
        assert found.items() <= saved.items()


@pytest.mark.parametrize(("characters", "told"), [(3600, 0.05), (2_000_000, 0.01)])
def test_train_toml_holds_the_end_of_a_text_that_stops_its_training(characters, told, call, tmp_path, trainings):
    (tmp_path / "t.txt").write_text("to be or not " * (characters // 13) + "t" * (characters % 13))
    train = ("train", tmp_path / "t.txt", "--task", "generate", "--holdout", 0, "--max-time", 0.01, "--hidden-size", 2)
    assert call(*train, "--out", tmp_path / "m")[0] == 0
    saved = tomllib.loads((tmp_path / "m" / "train.toml").read_text())["train"]["validation"]
    assert saved == told
    text = cellgate.data.text.read_text(tmp_path / "t.txt")
    assert cellgate.LanguageModel(validation=saved)._held(text) == cellgate.LanguageModel()._held(text)


@pytest.mark.parametrize(("characters", "held"), [(399, 19), (4_000_003, 20_000), (1_003_854, 20_000), (200, 0)])
def test_the_share_of_a_text_is_exact(characters, held):
    from cellgate.cli.train_generate import _share

    assert int(characters * _share(characters, held)) == held


def test_the_time_of_the_whole_run_is_told(call, tmp_path, trainings):
    _, out, _ = call("train", *trainings["forecast"], "--out", tmp_path / "m")
    told = next(line for line in out.splitlines() if line.startswith("wrote"))
    assert told.endswith(" s in all")
    _, out, _ = call("train", *trainings["forecast"], "--out", tmp_path / "n", "--json")
    facts = json.loads(out)
    assert facts["seconds"] > facts["training"]["seconds"] > 0


def test_characters_are_counted_without_the_unknown_one(call, tmp_path, trainings):
    _, out, _ = call("train", *trainings["generate"], "--holdout", 0, "--out", tmp_path / "m")
    letters = len(set((tmp_path / "t.txt").read_text()))
    assert f"{letters} different characters" in out
    _, out, _ = call("check", tmp_path / "t.txt")
    assert f"{letters} different" in out
