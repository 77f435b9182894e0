"""`cellgate backtest` and `cellgate stream`: what they print, and what they say to a row that is no good."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from cellgate.cli.app import main
from cellgate.estimators import Forecaster, load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    Forecaster(4, max_epochs=2).fit("airline").save(folder)
    return folder


def call(capsys, monkeypatch, *arguments, rows=""):
    monkeypatch.setattr(sys, "stdin", io.StringIO(rows))
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


# ---------------------------------------------------------------- stream


def test_a_row_in_gives_a_forecast_out(model, capsys, monkeypatch):
    rows = "Month,#Passengers\n1961-01,450\n1961-02,430\n"
    code, out, err = call(capsys, monkeypatch, "stream", model, "--steps", 2, rows=rows)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "unique_id,ds,cellgate,cellgate-lo-90,cellgate-hi-90"
    assert [line.split(",")[1] for line in lines[1:]] == ["1961-02-01", "1961-03-01", "1961-03-01", "1961-04-01"]
    stream = load(model).stream()
    stream.push(450.0)
    expected = stream.push(430.0).median[0, :2]
    np.testing.assert_allclose([float(line.split(",")[2]) for line in lines[3:]], expected, rtol=1e-6)


def test_json_rows(model, capsys, monkeypatch):
    rows = '{"ds": "1961-01", "y": 450}\n\n{"ds": "1961-03", "y": null}\n'
    code, out, err = call(capsys, monkeypatch, "stream", model, "--json", rows=rows)
    assert (code, err) == (0, "")
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["after"] == "1961-01-01"
    assert first["ds"] == ["1961-02-01", "1961-03-01", "1961-04-01", "1961-05-01"]
    assert len(first["cellgate"]) == len(first["cellgate-lo-90"]) == 4
    assert second["after"] == "1961-03-01"  # February has no row, March no value: both are missing


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1961-02,many", "row 3: expected a number in '#Passengers', got 'many'; correct it"),
        ("1961-02", "row 3: expected 2 cells (Month, #Passengers), got 1; correct it"),
        ("1961-01,3", "row 3: time: expected 1961-02-01 or a later step of a monthly series, got 1961-01-01"),
        ("1961-02,-5", "row 3: value: expected a positive one, as in training, got -5; correct it"),
        ("soon,3", "row 3: "),
    ],
)
def test_a_bad_row_is_named_and_passed_over(model, capsys, monkeypatch, row, message):
    rows = f"Month,#Passengers\n1961-01,450\n{row}\n1961-02,430\n"
    code, out, err = call(capsys, monkeypatch, "stream", model, "--steps", 1, rows=rows)
    assert code == 2
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["1961-02-01", "1961-03-01"]


def test_bad_json_is_named_and_passed_over(model, capsys, monkeypatch):
    rows = '{"y": 450\n[1]\n{"z": 3}\n{"y": 450}\n'
    code, out, err = call(capsys, monkeypatch, "stream", model, "--json", rows=rows)
    assert code == 2
    assert [line.split(":")[0] for line in err.splitlines()] == ["row 1", "row 2", "row 3"]
    assert len(out.splitlines()) == 1


def test_every_row_is_answered_before_the_next_one_comes(model):
    """A pipe that stays open: the answer must not wait for its end."""
    command = [sys.executable, "-m", "cellgate.cli.app", "stream", str(model), "--steps", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("Month,#Passengers\n1961-01,450\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("unique_id,ds")
        assert ",1961-02-01," in process.stdout.readline()
        process.stdin.write("1961-02,430\n")
        process.stdin.flush()
        assert ",1961-03-01," in process.stdout.readline()
        process.stdin.close()
        assert process.wait(20) == 0


# ---------------------------------------------------------------- backtest


def test_backtest_of_a_model_says_what_it_had_seen(model, capsys, monkeypatch, tmp_path):
    out_file = tmp_path / "b.csv"
    code, out, err = call(capsys, monkeypatch, "backtest", model, "--origins", 3, "--step", 2, "--out", out_file)
    assert (code, err) == (0, "")
    assert "over 3 moments   MASE" in out
    assert "the weights were trained on what followed 3 of the 3 moments: these flatter them" in out
    lines = out_file.read_text().splitlines()
    assert lines[0].startswith("unique_id,cutoff,ds,y,cellgate,")
    assert len(lines) == 1 + 3 * 4
    code, _, err = call(capsys, monkeypatch, "backtest", model, "--out", out_file)
    assert code == 2
    assert "expected a new file" in err


def test_backtest_of_a_table_trains_first(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = "backtest", "airline", "--horizon", 3, "--origins", 2, "--max-epochs", 2, "--json"
    code, out, err = call(capsys, monkeypatch, *arguments)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["metrics"]["fits"] == 1
    assert found["metrics"]["seen"] == 0
    assert len(found["by_step"]["cellgate"]) == 3
    assert not list(tmp_path.iterdir())  # nothing is left on disk


def test_predict_takes_drivers_from_a_file_of_their_own(capsys, monkeypatch, tmp_path):
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    rng = np.random.default_rng(0)
    promo = rng.integers(0, 2, len(days))
    table = tmp_path / "sales.csv"
    table.write_text("ds,y,promo\n" + "".join(f"{d},{3 + 5 * p},{p}\n" for d, p in zip(days, promo, strict=True)))
    options = "--target", "y", "--horizon", 2, "--max-epochs", 1, "--future", "promo"
    code, out, err = call(capsys, monkeypatch, "train", table, *options, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert "no forecast yet: promo known for 0 of 2 steps after the end" in out
    code, out, err = call(capsys, monkeypatch, "predict", tmp_path / "m")
    assert code == 2
    assert "expected 'promo' for the 2 steps after its end, got none at 2024-03-01" in err
    coming = tmp_path / "coming.csv"
    coming.write_text("ds,promo\n2024-03-01,1\n2024-03-02,0\n")
    code, out, err = call(capsys, monkeypatch, "predict", tmp_path / "m", "--future-data", coming)
    assert (code, err) == (0, "")
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["2024-03-01", "2024-03-02"]


# ---------------------------------------------------------------- what the training found


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """Three shops with dates of the American kind; neither was said in training."""
    folder = tmp_path_factory.mktemp("shops")
    days = np.arange("2024-01-01", "2024-04-30", dtype="datetime64[D]").astype(object)
    rows = [
        f"{shop},{day:%m/%d/%Y},{k % 7 + day.month}"
        for shop in ("north", "south", "west")
        for k, day in enumerate(days)
    ]
    (folder / "three.csv").write_text("\n".join(["shop,day,sold", *rows]) + "\n")
    (folder / "north.csv").write_text("\n".join(["shop,day,sold", *rows[: len(days)]]) + "\n")
    (folder / "few.csv").write_text("shop,day,sold,price\nsouth,05/01/2024,1,8\nsouth,05/02/2024,2,9\n")
    Forecaster(4, max_epochs=1, hidden_size=4).fit(folder / "three.csv").save(folder / "m")
    return folder


@pytest.mark.parametrize(("table", "shop", "first"), [("north", "north", "2024-04-30"), ("few", "south", "2024-05-03")])
def test_predict_reads_newer_tables_as_the_training_was_read(shops, capsys, monkeypatch, table, shop, first):
    code, out, err = call(capsys, monkeypatch, "predict", shops / "m", "--data", shops / f"{table}.csv")
    assert (code, err) == (0, "")
    assert [line.split(",")[:2] for line in out.splitlines()[1:2]] == [[shop, first]]


def test_evaluate_reads_them_so_too(shops, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "evaluate", shops / "m", shops / "north.csv", "--json")
    assert (code, err) == (0, "")
    panel = load(shops / "m").read(shops / "north.csv")
    assert panel.ids == ("north",)
    head, tail = panel.split(4)
    expected = load(shops / "m").evaluate(tail, head)["cellgate"]["MAE"]
    assert json.loads(out)["metrics"]["cellgate"]["MAE"] == pytest.approx(expected)


def test_stream_reads_dates_as_the_training_did(shops, capsys, monkeypatch):
    rows = "shop,day,sold\nsouth,04/30/2024,1\nsouth,05/01/2024,2\n"
    code, out, err = call(capsys, monkeypatch, "stream", shops / "m", "--steps", 1, rows=rows)
    assert (code, err) == (0, "")
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["2024-05-01", "2024-05-02"]
