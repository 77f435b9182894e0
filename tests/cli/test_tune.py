"""`cellgate tune`: what is searched, what is kept, and that what is held out decides nothing."""

import csv
import json
import os
import shlex
import shutil
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest

import cellgate.errors
import cellgate.estimators

pytest.importorskip("optuna", reason="tune is Optuna's search")


QUICK = ("airline", "--horizon", 4, "--max-epochs", 2, "--trials", 3)


def test_the_best_trial_by_validation_is_kept(call, tmp_path):
    code, out, err = call("tune", *QUICK, "--out", tmp_path / "t")
    assert (code, err) == (0, "")
    assert out.startswith("searches  hidden size, layers, learning rate, batch size\n")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["model", "trials.csv"]
    rows = list(csv.DictReader((tmp_path / "t" / "trials.csv").read_text().splitlines()))
    scores = [float(row["validation"]) for row in rows]
    assert len(rows) == 3
    best = rows[int(np.argmin(scores))]
    config = json.loads((tmp_path / "t" / "model" / "config.json").read_text())
    assert config["training"]["best_score"] == pytest.approx(min(scores))
    if best["trial"] != "0":
        assert config["estimator"]["learning_rate"] == pytest.approx(float(best["learning_rate"]))
        assert f"best: trial {best['trial']}" in out
    assert "on what was held out, seasonal naive: MASE" in out
    assert "plain" not in out
    assert f"next  cellgate predict {tmp_path / 't' / 'model'}, or train again: --config" in out
    # The model is one as any other, with the options to train it again.
    cellgate.estimators.load(tmp_path / "t" / "model")
    saved = tomllib.loads((tmp_path / "t" / "model" / "train.toml").read_text())["train"]
    assert saved["horizon"] == 4
    again = call("train", "--config", tmp_path / "t" / "model" / "train.toml", "--out", tmp_path / "again")
    assert again[0] == 0
    forecasts = [(folder / "forecast.csv").read_text() for folder in (tmp_path / "t" / "model", tmp_path / "again")]
    assert forecasts[0] == forecasts[1]


def test_equal_seeds_search_alike_and_typed_options_stay(call, tmp_path):
    fixed = ("--layers", 1, "--batch-size", 16, "--learning-rate", 0.004, "--json")
    told = [json.loads(call("tune", *QUICK, *fixed, "--out", tmp_path / name)[1]) for name in "ab"]
    for one in told:
        for row in one["trials"]:
            row.pop("seconds")
            assert set(row) - {"trial", "validation"} <= {"hidden_size"}
    assert told[0]["trials"] == told[1]["trials"]
    assert told[0]["best"]["validation"] == min(row["validation"] for row in told[0]["trials"])


def test_other_tasks(call, tmp_path):
    y = np.repeat([0, 1], 80)
    np.savez(tmp_path / "w.npz", X=np.sin(np.arange(9) * (0.3 + 0.4 * y[:, None])), y=y)
    arguments = ("--task", "classify", "--max-epochs", 2, "--trials", 2, "--json", "--out", tmp_path / "t")
    told = json.loads(call("tune", tmp_path / "w.npz", *arguments)[1])
    assert "dropout" in told["trials"][1]
    assert type(cellgate.estimators.load(tmp_path / "t" / "model")).__name__ == "SequenceClassifier"


def test_without_a_validation_part_there_is_nothing_to_judge_by(call, tmp_path):
    np.savez(tmp_path / "w.npz", X=np.ones((20, 5)), y=np.repeat([0, 1], 10))
    code, _, err = call("tune", tmp_path / "w.npz", "--task", "classify", "--validation", 0, "--out", tmp_path / "t")
    assert code == 2
    assert "expected a validation part to judge by, got none; give more data, or a larger --validation" in err


def test_a_budget_ends_the_search(call, tmp_path):
    told = json.loads(call("tune", *QUICK[:-1], 99, "--budget", 1, "--json", "--out", tmp_path / "t")[1])
    assert 1 <= len(told["trials"]) < 60


def test_what_a_killed_search_leaves_is_gone_after_the_next(call, tmp_path):
    left = tmp_path / "t" / "checkpoint" / "trial"
    left.mkdir(parents=True)
    (left / "train.toml").write_text("[train]\n")
    (tmp_path / "t" / "mine.txt").write_text("dear")
    code, _, err = call("tune", *QUICK[:-1], 2, "--force", "--out", tmp_path / "t")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["mine.txt", "model", "trials.csv"]


def test_a_trial_that_diverges_is_one_that_failed(call, tmp_path, monkeypatch):
    from cellgate.estimators import Forecaster
    from cellgate.training import TrainingError

    fit = Forecaster.fit

    def sometimes(self, *arguments, **options):
        if self.hidden_size is not None:
            raise TrainingError("expected a finite loss, got nan")
        return fit(self, *arguments, **options)

    monkeypatch.setattr(Forecaster, "fit", sometimes)
    code, out, err = call("tune", *QUICK, "--out", tmp_path / "t")
    assert (code, err) == (0, "")
    assert out.count("validation failed") == 2
    assert "no trial is better than the defaults: they are kept" in out


def test_what_cannot_be_tuned(call, tmp_path, monkeypatch):
    everything = ("--layers", 1, "--batch-size", 16, "--learning-rate", 0.004, "--hidden-size", 8)
    code, _, err = call("tune", *QUICK, *everything, "--out", tmp_path / "t")
    assert code == 2
    assert "expected something to search, got every option typed" in err
    (tmp_path / "d.csv").write_text("ds,y\n2024-01-01,1\n2024-01-01,2\n")
    code, _, err = call("tune", tmp_path / "d.csv", "--out", tmp_path / "t")
    assert code == 2
    assert "expected each time once" in err
    assert not (tmp_path / "t").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call("tune", *QUICK, "--out", tmp_path / "t")
    assert code == 2
    assert "pip install 'cellgate[tune]'" in err


@pytest.mark.parametrize(
    ("task", "told"), [("classify", "predict {} --data DATA"), ("generate", "generate {} --prompt TEXT")]
)
def test_what_is_to_be_typed_next_fits_the_task(call, tmp_path, task, told):
    x = np.random.default_rng(0).normal(size=(40, 6))
    np.savez(tmp_path / "classify.npz", X=x[:, :, None], y=(x.sum(1) > 0).astype(int))
    (tmp_path / "generate").write_text("one two three four\n" * 60)
    data = tmp_path / ("classify.npz" if task == "classify" else "generate")
    code, out, _ = call("tune", data, "--task", task, "--max-epochs", 1, "--trials", 1, "--out", tmp_path / "a b")
    assert code == 0
    assert f"next  cellgate {told.format(shlex.quote(str(tmp_path / 'a b' / 'model')))}, or train again" in out


def test_it_says_whether_the_baseline_is_beaten_and_what_comes_next(call, tmp_path):
    code, out, err = call("tune", *QUICK, "--out", tmp_path / "t")
    assert (code, err) == (0, "")
    assert "seasonal naive forecast" in out.split("on what was held out, seasonal naive")[1]
    assert "on what was held out, plain" not in out
    assert f"next  cellgate predict {tmp_path / 't' / 'model'}, or train again" in out
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 60)
    few = ("--max-epochs", 1, "--trials", 1)
    out = call("tune", tmp_path / "a.txt", "--task", "generate", *few, "--out", tmp_path / "g")[1]
    assert "cellgate does NOT beat the bigram baseline here (nats per character" in out
    assert f"next  cellgate generate {tmp_path / 'g' / 'model'} --prompt TEXT, or train again" in out
    rows = [f"{k},{t},{k % 2 + t},{'ab'[k % 2]}" for k in range(60) for t in (0, 1)]
    (tmp_path / "c.csv").write_text("id,t,v,label\n" + "\n".join(rows))
    out = call("tune", tmp_path / "c.csv", "--task", "classify", *few, "--out", tmp_path / "c")[1]
    assert "the majority class baseline" in out.split("on what was held out, majority class")[1]
    assert f"next  cellgate predict {tmp_path / 'c' / 'model'} --data DATA, or train again" in out


def kept(folder):
    """The horizon of the model that a search has left, None without one, and the scores in its table."""
    scores = None
    if (folder / "trials.csv").exists():
        rows = csv.DictReader((folder / "trials.csv").read_text().splitlines())
        scores = [float(row["validation"]) for row in rows if row["validation"]]
    try:
        model = cellgate.estimators.load(folder / "model")
    except cellgate.errors.InputError as error:
        assert "got a training that was cut short; cellgate train --resume" in str(error)  # noqa: PT017 - or it loads
        return None, None, scores
    options = tomllib.loads((folder / "model" / "train.toml").read_text())["train"]
    assert model.horizon == options["horizon"] == len((folder / "model" / "forecast.csv").read_text().split()) - 1
    return model.horizon, model.record_.best_score, scores


def test_a_model_and_its_trials_belong_together_at_every_moment(call, tmp_path, killed_before):
    """`--force` over an earlier search, killed before each change of a file: never a model beside another's table."""
    few, found = ("airline", "--max-epochs", 1, "--trials", 2), []
    assert call("tune", *few, "--horizon", 4, "--out", tmp_path / "made")[0] == 0
    (tmp_path / "made" / "model" / "notes.txt").write_text("mine")

    def placed(path):
        return path.is_relative_to(out) and "checkpoint" not in path.relative_to(out).parts

    for moment in range(100):
        out = tmp_path / str(moment)
        shutil.copytree(tmp_path / "made", out)
        ended = None
        with killed_before(moment, of=placed) as changes:
            ended = call("tune", *few, "--horizon", 5, "--force", "--out", out)
        horizon, score, scores = kept(out)
        if horizon is None:
            assert scores is None or score is None
        elif scores is not None:
            assert any(score == pytest.approx(one) for one in scores)
        found.append((horizon, scores is not None))
        assert (out / "model" / "notes.txt").read_text() == "mine"
        if horizon is None:
            assert call("train", "--resume", "--out", out / "model")[0] == 0
            kept(out)
        shutil.rmtree(out)
        if ended is not None:
            break
    assert ended[0] == 0
    assert len(changes) <= moment
    # The earlier search whole, its table gone, no model for a moment, the new model, and its table.
    assert list(dict.fromkeys(found))[:5] == [(4, True), (4, False), (None, False), (5, False), (5, True)]


def test_ctrl_c_while_a_model_takes_its_place(call, tmp_path, monkeypatch):
    move = os.replace

    def interrupted(source, target):
        if Path(target) == tmp_path / "t" / "model" / "forecast.csv":
            os.kill(os.getpid(), signal.SIGINT)
        move(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    code, out, _ = call("tune", *QUICK, "--out", tmp_path / "t")
    assert code == 130
    assert "stopped by Ctrl-C after 1 training, the best so far kept" in out
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["checkpoint", "model", "trials.csv"]
    horizon, score, scores = kept(tmp_path / "t")
    assert horizon == 4
    assert scores == [pytest.approx(score)]


def test_a_search_without_a_result_leaves_that_of_an_earlier_one(call, tmp_path, monkeypatch):
    """Its table was removed, and the model beside it stayed."""
    from cellgate.estimators import Forecaster
    from cellgate.training import TrainingError

    assert call("tune", *QUICK, "--out", tmp_path)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fails(*arguments, **options):
        raise TrainingError("no")

    monkeypatch.setattr(Forecaster, "fit", fails)
    assert call("tune", *QUICK, "--force", "--out", tmp_path)[0] == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_killed_search_leaves(call, tmp_path):
    """No training to resume; its trial is no model's, and goes with the next search."""
    assert call("tune", *QUICK, "--out", tmp_path / "t")[0] == 0
    (tmp_path / "t" / "checkpoint" / "trial").mkdir(parents=True)
    (tmp_path / "t" / "checkpoint" / "trial" / "config.json").write_text("{}")
    code, _, err = call("train", "--resume", "--out", tmp_path / "t")
    assert code == 2
    assert "that was cut short, found a search (cellgate tune); leave it out" in err
    code, _, err = call("tune", *QUICK, "--out", tmp_path / "t")
    assert code == 2
    assert err.endswith("expected a new or empty folder, got one with files in it; give another, or --force\n")
    assert call("tune", *QUICK, "--force", "--out", tmp_path / "t")[0] == 0
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["model", "trials.csv"]


@pytest.mark.parametrize("name", ["model", "trials.csv", "model/config.json"])
def test_something_else_of_the_name_of_a_result_is_said_before_the_search(call, tmp_path, name):
    place = tmp_path / "t" / name
    if name == "model":
        place.parent.mkdir()
        place.write_text("mine")
    else:
        place.mkdir(parents=True)
    code, out, err = call("tune", *QUICK, "--force", "--out", tmp_path / "t")
    assert (code, out) == (2, "")
    assert f"expected {place.name} to be a" in err
    assert "rename it, or give another --out" in err
    assert place.exists()
