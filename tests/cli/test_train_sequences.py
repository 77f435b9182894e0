"""`cellgate train --task classify` and `regress`, then predict and evaluate: from the file to the folder and back."""

import csv
import io
import json
import re

import numpy as np
import pytest

import cellgate
from cellgate.cli.sequence_run import Score, say_scores


def write_table(path, kind, count=80):
    random = np.random.default_rng(0)
    lines = ["case,step,x,label"]
    for k in range(count):
        x = random.normal(size=random.integers(4, 9))
        label = f"{x.sum():.4f}" if kind == "regress" else "over" if x.sum() > 0 else "under"
        lines += [f"c{k},{t},{value:.5f},{label}" for t, value in enumerate(x)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(params=["classify", "regress"])
def kind(request):
    return request.param


@pytest.fixture
def table(kind, tmp_path):
    return write_table(tmp_path / "d.csv", kind)


def test_train_says_what_it_found_how_good_it_is_and_what_it_wrote(kind, table, call, tmp_path):
    code, out, err = call("train", table, "--task", kind, "--out", tmp_path / "m", "--hidden-size", 16)
    assert (code, err) == (0, "")
    assert "data      d.csv: 80 sequences of 4 to 8 steps" in out
    assert "columns   id = case, time = step, label = label" in out
    assert "held out  16 of 80 sequences" in out
    assert "on 16 sequences" in out
    baseline = "majority class" if kind == "classify" else "mean"
    assert f"that of the {baseline} baseline" in out
    assert {p.name for p in (tmp_path / "m").iterdir()} == {
        "README.md", "config.json", "metrics.json", "model.safetensors", "preprocess.json", "train.toml",
    }  # fmt: skip

    code, out, _ = call("predict", tmp_path / "m", "--data", table)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["unique_id"] for row in rows] == [f"c{k}" for k in range(80)]
    expected = cellgate.load(tmp_path / "m").predict(table)
    if kind == "classify":
        assert [row["prediction"] for row in rows] == expected.tolist()
        assert all(float(row["p(over)"]) + float(row["p(under)"]) == pytest.approx(1) for row in rows)
    else:
        assert [float(row["prediction"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-9)

    code, out, _ = call("evaluate", tmp_path / "m", table, "--json")
    assert json.loads(out)["metrics"]["sequences"] == 80
    one = [line for line in table.read_text().split("\n") if line[:3] in ("cas", "c1,")]
    (tmp_path / "one.csv").write_text("\n".join(one))
    assert call("evaluate", tmp_path / "m", tmp_path / "one.csv")[1].startswith("on 1 sequence ")


def test_predict_needs_no_labels(kind, table, call, tmp_path):
    call("train", table, "--task", kind, "--out", tmp_path / "m", "--max-epochs", 1)
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(line.rsplit(",", 1)[0] for line in table.read_text().splitlines()))
    code, out, err = call("predict", tmp_path / "m", "--data", bare)
    assert (code, err) == (0, "")
    assert out == call("predict", tmp_path / "m", "--data", table)[1]
    code, _, err = call("evaluate", tmp_path / "m", bare)
    assert code == 2
    assert "bare.csv: expected a" in err
    code, _, err = call("predict", tmp_path / "m")
    assert code == 2
    assert "--data: expected sequences to predict for" in err


def test_a_test_file_of_its_own(kind, table, call, tmp_path):
    test = write_table(tmp_path / "t.csv", kind, 30)
    code, out, _ = call(
        "train", table, "--task", kind, "--test", test, "--out", tmp_path / "m", "--max-epochs", 1, "--json"
    )
    assert code == 0
    assert json.loads(out)["metrics"]["sequences"] == 30


def test_a_test_file_that_cannot_be_measured_on_is_refused_before_the_training(kind, table, call, tmp_path):
    def refused(rows):
        (tmp_path / "test.csv").write_text(rows)
        arguments = ("train", table, "--task", kind, "--test", tmp_path / "test.csv", "--out", tmp_path / "m")
        code, _, err = call(*arguments)
        assert not (tmp_path / "m").exists()
        assert code == 2
        return err

    assert "expected labels to measure by, found none" in refused("case,step,x\na,0,1.5\na,1,0.5\n")
    # Read as the training's table was: x is a column of numbers.
    assert "line 2: expected a number in 'x', got 'high'" in refused("case,step,x,label\na,0,high,1\nb,0,low,2\n")
    several = refused("case,step,x,label\na,0,1,1\na,1,2,2\n")
    assert "in 'label', as in training, got several within a sequence; correct them" in several
    if kind == "regress":
        assert "expected numbers as labels, got words" in refused("case,step,x,label\na,0,1,much\nb,0,2,little\n")


def test_a_text_too_short_to_be_measured_on_is_refused_before_the_training(call, tmp_path):
    (tmp_path / "t.txt").write_text("to be or not " * 300 + "z" * 1000)
    (tmp_path / "one.txt").write_text("a")
    for options, told in (
        (["--test", tmp_path / "one.txt"], "one.txt: expected a text of two characters or more to score, got 1;"),
        (["--units", "words"], "the end of t.txt: expected a text of two words or more to score, got 1;"),
    ):
        arguments = ("train", tmp_path / "t.txt", "--task", "generate", *options, "--out", tmp_path / "m")
        code, _, err = call(*arguments)
        assert (code, told in err) == (2, True), err
        assert not (tmp_path / "m").exists()


def test_it_says_so_when_the_baseline_is_as_good(call, tmp_path):
    """Labels that have nothing to do with the sequences, nine in ten of them alike."""
    random = np.random.default_rng(3)
    lines = ["label,a,b,c"]
    lines += [f"{int(k % 10 == 0)},{','.join(f'{v:.4f}' for v in random.normal(size=3))}" for k in range(100)]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    code, out, _ = call(
        "train", tmp_path / "d.csv", "--task", "classify", "--wide", "--out", tmp_path / "m", "--max-epochs", 3
    )
    assert code == 0
    assert "cellgate is no better and no worse than the majority class baseline" in out


def test_equal_seeds_write_equal_models(kind, table, call, tmp_path):
    for name in ("a", "b"):
        call("train", table, "--task", kind, "--out", tmp_path / name, "--max-epochs", 2)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "clasify"], "--task: expected one of forecast, classify, regress"),
        (["--task", "classify", "--id", "cse"], "--id cse: expected a column of d.csv, which has 'case', 'step'"),
        (["--task", "classify", "--target", "lbl"], "expected a column of labels, found none; name it with --target"),
        (["--task", "classify", "--horizon", "3"], "No such option"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(arguments, message, call, tmp_path):
    table = write_table(tmp_path / "d.csv", "classify")
    code, out, err = call("train", table, *arguments, "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_what_only_the_fit_refuses_leaves_no_training_to_go_on_with(call, tmp_path):
    table, out = write_table(tmp_path / "d.csv", "regress"), tmp_path / "m"
    code, _, err = call("train", table, "--task", "classify", "--out", out)
    assert (code, "Unknown label type: continuous" in err) == (2, True)
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    call("train", table, "--task", "classify", "--out", out, "--force")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


ACCURACY = Score("accuracy", True)


@pytest.mark.parametrize(
    ("ours", "theirs", "said", "second"),
    [
        ((0.75, 0.72), (0.5, 0.69), "cellgate's accuracy is 0.7500, that of", "but its probabilities are worse than"),
        ((0.75, 0.65), (0.5, 0.69), "cellgate's accuracy is 0.7500, that of", None),
        (
            (0.5, 0.72),
            (0.5, 0.69),
            "no better and no worse than the majority class baseline",
            "probabilities are worse",
        ),
        ((0.5, 0.69304), (0.50001, 0.69301), "no better and no worse than the majority class baseline", None),
        ((0.4, 0.6), (0.5, 0.69), "does NOT beat", "but its probabilities are better than the baseline's"),
        ((0.4, 0.8), (0.5, 0.69), "does NOT beat", None),
    ],
)
def test_the_verdict_is_on_what_can_be_seen_and_on_probabilities_too(ours, theirs, said, second, capsys):
    metrics = {
        "sequences": 40,
        "cellgate": {"accuracy": ours[0], "log loss": ours[1]},
        "majority class": {"accuracy": theirs[0], "log loss": theirs[1]},
    }
    say_scores(metrics, ACCURACY)
    lines = capsys.readouterr().out.splitlines()[3:]
    assert said in lines[0]
    assert len(lines) == (1 if second is None else 2)
    assert second is None or second in lines[1]


def test_the_verdict_of_one_score_alone(capsys):
    say_scores({"sequences": 3, "cellgate": {"RMSE": 1.0}, "mean": {"RMSE": 1.0}}, Score("RMSE", False))
    assert (
        "cellgate is no better and no worse than the mean baseline here (RMSE 1.0000 of both)"
        in capsys.readouterr().out
    )


def test_few_sequences_are_trained_in_folds_and_it_says_so(call, tmp_path):
    table = write_table(tmp_path / "d.csv", "classify")
    code, out, _ = call(
        "train", table, "--task", "classify", "--out", tmp_path / "m", "--max-epochs", 8, "--hidden-size", 8
    )
    assert code == 0
    assert re.search(r"8 epochs in .* best was (\d) by 5 folds, then \1 on everything", out)
    code, out, _ = call(
        "train", table, "--task", "classify", "--out", tmp_path / "n", "--max-epochs", 3, "--validation", 0
    )
    assert "(all epochs done), the last kept, as nothing was held back" in out


def test_names_with_line_ends_do_not_break_what_is_printed(call, tmp_path):
    lines = [f'{k},0,{k},"wal\nk\x1b[2J"\nz{k},0,{k},run' for k in range(30)]
    (tmp_path / "d.csv").write_text("\n".join(["id,t,x,label", *lines]))
    for verb in (("check",), ("train", "--max-epochs", 1, "--hidden-size", 2, "--out", tmp_path / "m")):
        _, out, _ = call(verb[0], tmp_path / "d.csv", "--task", "classify", *verb[1:])
        told = next(line for line in out.splitlines() if line.startswith("labels"))
        assert told.split(None, 1)[1] == r"2 different: run (30), wal\nk\x1b[2J (30)"
    rows = list(csv.reader(io.StringIO(call("predict", tmp_path / "m", "--data", tmp_path / "d.csv")[1])))
    assert rows[0][-1] == "p(wal\nk\x1b[2J)"  # a table has them as they are
    code, _, err = call("train", tmp_path / "no\nsuch.csv", "--task", "classify", "--out", tmp_path / "n")
    assert (code, err.count("\n")) == (2, 1)
