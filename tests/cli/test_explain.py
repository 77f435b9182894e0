"""`cellgate explain` and `train --report` for every kind of model."""

import json

import numpy as np
import pytest


def write_data(folder, task):
    if task == "forecast":
        return "airline"
    if task == "generate":
        (folder / "d.txt").write_text("one two three, four five six.\n" * 40)
        return folder / "d.txt"
    if task == "tag":
        (folder / "d.conll").write_text("Ann PER\nsees O\nOslo LOC\n\nBob PER\nruns O\n\n" * 30)
        return folder / "d.conll"
    random = np.random.default_rng(0)
    lines = ["case,step,x,label"]
    for k in range(60):
        x = random.normal(size=6)
        label = f"{x.sum():.4f}" if task == "regress" else "over" if x.sum() > 0 else "under"
        lines += [f"c{k},{t},{value:.5f},{label}" for t, value in enumerate(x)]
    (folder / "d.csv").write_text("\n".join(lines))
    return folder / "d.csv"


@pytest.mark.parametrize("task", ["forecast", "classify", "regress", "tag", "generate"])
def test_train_reports_and_explain_opens(task, call, tmp_path):
    data = write_data(tmp_path, task)
    code, out, err = call(
        "train",
        data,
        "--task",
        task,
        "--out",
        tmp_path / "m",
        "--max-epochs",
        1,
        "--hidden-size",
        5,
        "--report",
    )
    assert (code, err) == (0, "")
    assert "report.html" in out
    html = (tmp_path / "m" / "report.html").read_text()
    assert 'id="training"' in html
    assert "may flatter" not in html  # it is of what was held out

    page, figures = tmp_path / "page.html", tmp_path / "figures"
    code, out, err = call(
        "explain", tmp_path / "m", data, "--out", page, "--figures", figures, "--json"
    )  # fmt: skip
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["bytes"] == page.stat().st_size
    assert said["findings"]
    assert said["distance"] < 1e-4
    assert (figures / "network.svg").is_file()
    code, _, err = call("explain", tmp_path / "m", data, "--out", page)
    assert code == 2
    assert "--force" in err


def test_without_data_only_a_forecaster_can_be_explained(call, tmp_path):
    data = write_data(tmp_path, "classify")
    call("train", data, "--task", "classify", "--out", tmp_path / "m", "--max-epochs", 1)
    code, _, err = call("explain", tmp_path / "m", "--out", tmp_path / "r.html")
    assert code == 2
    assert "give them after the folder" in err
    assert not (tmp_path / "m" / "report.html").exists()


def test_a_forecaster_whose_drivers_are_not_known_ahead(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    days = [f"2024-{1 + k // 28:02}-{k % 28 + 1:02}" for k in range(84)]
    rows = [f"{day},{3 + 5 * (k % 3 == 0)},{k % 3 == 0:d}" for k, day in enumerate(days)]
    (tmp_path / "d.csv").write_text("\n".join(["day,y,promo", *rows[:80]]))
    # The usual name of the time column will do here as elsewhere.
    (tmp_path / "coming.csv").write_text("\n".join(["ds,promo", *(row[:11] + row[-1] for row in rows[80:])]))
    options = "--target", "y", "--future", "promo", "--horizon", 4, "--max-epochs", 1
    call("train", "d.csv", *options, "--out", "m")
    code, out, err = call("explain", "m")
    assert (code, err) == (0, "")
    told = "promo is not known for the 4 steps after the end: opened 4 steps before it; --future-data "
    assert told in out
    code, out, err = call("explain", "m", "--future-data", "coming.csv", "--out", "ahead.html")
    assert (code, err) == (0, "")
    assert "not known" not in out
    assert (tmp_path / "ahead.html").read_text() != (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("holdout", [2, 6])
def test_a_holdout_of_other_length_than_the_horizon_with_drivers(call, tmp_path, monkeypatch, holdout):
    monkeypatch.chdir(tmp_path)
    days = [f"2024-{1 + k // 28:02}-{k % 28 + 1:02}" for k in range(84)]
    rows = [f"{day},{3 + 5 * (k % 3 == 0)},{k % 3 == 0:d}" for k, day in enumerate(days)]
    (tmp_path / "d.csv").write_text("\n".join(["ds,y,promo", *rows]))
    options = "--target", "y", "--future", "promo", "--horizon", 4, "--max-epochs", 1, "--holdout", holdout
    code, _, err = call("train", "d.csv", *options, "--report", "--out", "m")
    assert (code, err) == (0, "")
    assert len((tmp_path / "m" / "holdout.csv").read_text().splitlines()) == 1 + min(holdout, 4)
    assert (tmp_path / "m" / "report.html").exists()
    code, out, err = call("evaluate", "m", "d.csv", "--holdout", min(holdout, 4), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["metrics"]["steps"] == min(holdout, 4)


def test_future_data_is_of_forecasters(call, tmp_path):
    data = write_data(tmp_path, "classify")
    call("train", data, "--task", "classify", "--out", tmp_path / "m", "--max-epochs", 1)
    code, _, err = call(
        "explain", tmp_path / "m", data, "--future-data", data, "--out", tmp_path / "r.html"
    )  # fmt: skip
    assert code == 2
    assert "--future-data: expected a forecaster, got a SequenceClassifier; leave it out" in err
