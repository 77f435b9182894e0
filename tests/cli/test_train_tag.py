"""`cellgate train --task tag` on a CoNLL file, then predict and evaluate."""

import csv
import io
import json


def test_from_the_file_to_the_tags(call, tmp_path):
    (tmp_path / "s.conll").write_text("Ann B-PER\nsees O\nOslo B-LOC\n\nBob B-PER\nruns O\n\n" * 30)
    code, out, err = call(
        "train", tmp_path / "s.conll", "--task", "tag", "--out", tmp_path / "m", "--max-epochs", 40,
        "--hidden-size", 8,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "data      s.conll: 60 sequences of 2 to 3 steps" in out
    assert "labels    3 different: B-PER (60), O (60), B-LOC (30)" in out
    assert "held out  12 of 60 sequences" in out
    assert "span F1" in out
    assert (
        "cellgate is no better and no worse than the most frequent tag baseline here (accuracy 1.0000 of both)" in out
    )
    (tmp_path / "new.conll").write_text("Bob\nsees\nOslo\n\nAnn\nruns\n")
    code, out, err = call("predict", tmp_path / "m", "--data", tmp_path / "new.conll")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["prediction"] for row in rows] == ["B-PER", "O", "B-LOC", "B-PER", "O"]
    assert [(row["unique_id"], row["step"], row["token"]) for row in rows][-1] == ("1", "1", "runs")
    code, out, _ = call("evaluate", tmp_path / "m", tmp_path / "s.conll", "--json")
    assert json.loads(out)["metrics"]["cellgate"]["accuracy"] == 1.0


def test_predictions_have_the_times_of_the_table(call, tmp_path):
    rows = [f"m{k},2024-01-{d:02} 0{d}:00,{d % 2},{'on' if d % 2 else 'off'}" for k in range(30) for d in (3, 1, 2)]
    (tmp_path / "d.csv").write_text("\n".join(["machine,when,v,state", *rows]))
    columns = ("--id", "machine", "--target", "state")
    train = ("train", tmp_path / "d.csv", "--task", "tag", *columns, "--max-epochs", 1, "--hidden-size", 2)
    assert call(*train, "--out", tmp_path / "m")[0] == 0
    _, out, _ = call("predict", tmp_path / "m", "--data", tmp_path / "d.csv")
    made = list(csv.DictReader(io.StringIO(out)))
    assert list(made[0]) == ["unique_id", "step", "ds", "prediction", "p"]
    assert [(row["unique_id"], row["ds"]) for row in made[:3]] == [("m0", f"2024-01-0{d} 0{d}:00") for d in (1, 2, 3)]
    _, out, _ = call("predict", tmp_path / "m", "--data", tmp_path / "d.csv", "--json")
    assert json.loads(out)["predictions"][0]["ds"] == "2024-01-01 01:00"
