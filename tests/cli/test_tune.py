"""`cellgate tune`: what is searched, what is kept, and that what is held out decides nothing."""

import csv
import json
import shlex
import tomllib

import numpy as np
import pytest

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
    left = tmp_path / "t" / "trial" / "checkpoint"
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
