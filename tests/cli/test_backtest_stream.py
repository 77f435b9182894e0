"""`cellgate backtest` and `cellgate stream`: what they print, and what they say to a row that is no good."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cellgate.cli.app import main
from cellgate.data.panel import show_times
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
    assert (code, err) == (0, "row 3: 1 step before 1961-03-01 without a row, taken as missing\n")
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
        ("1961-01,3", "row 3: time: expected 1961-02-01 or a later step (monthly), got 1961-01-01"),
        ("1961-02,-5", "row 3: value: expected a positive one, as in training, got -5; correct it"),
        (
            "soon,3",
            "row 3: expected a time stamp in 'Month', written as in training or as 1961-01-01, got 'soon'; correct",
        ),
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


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (
            "when,many",
            "error: expected a first line that names the columns, '#Passengers' among them, or rows of Month, ",
        ),
        ("1", "got '1'; put the header before the rows"),
    ],
)
def test_a_first_line_that_is_no_header_and_no_row_is_said_once(model, capsys, monkeypatch, first, told):
    code, out, err = call(capsys, monkeypatch, "stream", model, rows=f"{first}\n" + "2\n" * 1000)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert told in err


def test_rows_without_a_header_have_the_order_of_the_training(model, capsys, monkeypatch):
    with_header = call(capsys, monkeypatch, "stream", model, rows="Month,#Passengers\n1961-01,450\n")
    assert call(capsys, monkeypatch, "stream", model, rows="1961-01,450\n") == with_header
    assert call(capsys, monkeypatch, "stream", model, rows="1961-01;450;\n") == with_header
    assert with_header[0] == 0


def test_rows_that_the_history_has_are_passed_over_and_counted(model, capsys, monkeypatch):
    code, out, err = call(
        capsys, monkeypatch, "stream", model, rows="1960-10,461\n1960-11,390\n1960-12,5\n1961-01,450\n"
    )
    assert code == 0
    assert [line.split(",")[1] for line in out.splitlines()[1:]][:1] == ["1961-02-01"]
    assert len(out.splitlines()) == 5
    assert err.splitlines() == [
        "row 1: the model's history goes up to 1960-12-01; rows up to there are passed over",
        "passed over 3 values of steps that the history has, 1 of them other than there",
    ]


def test_rows_that_are_never_of_use_end_the_stream(model, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "stream", model, "--json", rows="7\n" * 1000)
    assert code == 2
    assert len(err.splitlines()) == 20
    assert "got 20 that cannot be used and no other" in out


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """Models of two shops, from a long table and from a wide one, with days written the American way."""
    folder = tmp_path_factory.mktemp("shops")
    days = [f"{m:02}/{d:02}/2024" for m in (1, 2) for d in range(1, 30)]
    long = [
        f"{shop},{day},{10 + k % 7 + 3 * (shop == 'west')}" for shop in ("east", "west") for k, day in enumerate(days)
    ]
    kept = [row for row in long if "01/30" not in row and "01/31" not in row]
    (folder / "long.csv").write_text("\n".join(["shop,day,sold", *kept]) + "\n")
    wide = [f"{day},{10 + k % 7},{13 + k % 7}" for k, day in enumerate(days)]
    (folder / "wide.csv").write_text("\n".join(["day,east,west", *wide]) + "\n")
    Forecaster(2, max_epochs=1, hidden_size=4, id="shop").fit(folder / "long.csv").save(folder / "long")
    Forecaster(2, max_epochs=1, hidden_size=4, wide=True).fit(folder / "wide.csv").save(folder / "wide")
    return folder


def test_the_end_of_a_growing_table_is_a_stream(shops, capsys, monkeypatch):
    """`tail -f` of the table that was trained on, which other rows are then written to."""
    tail = (shops / "long.csv").read_text().splitlines()[-10:]
    code, out, err = call(
        capsys,
        monkeypatch,
        "stream",
        shops / "long",
        "--steps",
        1,
        rows="\n".join([*tail, "west,03/01/2024,15", "east,03/01/2024,12"]),
    )
    assert code == 0
    assert [line.split(",")[:2] for line in out.splitlines()[1:]] == [["west", "2024-03-02"], ["east", "2024-03-02"]]
    assert "passed over 10 values" in err


def test_a_row_of_a_wide_table_is_a_value_of_every_series(shops, capsys, monkeypatch):
    for rows in ("03/01/2024,12,15\n", "day,west,east\n03/01/2024,15,12\n"):
        code, out, err = call(capsys, monkeypatch, "stream", shops / "wide", "--steps", 1, rows=rows)
        assert (code, err) == (0, "")
        assert sorted(line.split(",")[0] for line in out.splitlines()[1:]) == ["east", "west"]
        assert {line.split(",")[1] for line in out.splitlines()[1:]} == {"2024-03-02"}


def test_json_cells_of_other_kinds_are_read_or_named(tmp_path, capsys, monkeypatch):
    days = np.arange("2024-01-01", "2024-02-20", dtype="datetime64[D]").astype(str)
    table = {"ds": days, "y": np.arange(50) % 7.0, "heat": np.arange(50.0), "promo": np.arange(50) % 2}
    options = {"max_epochs": 1, "hidden_size": 4}
    Forecaster(1, target="y", past="heat", future="promo", **options).fit(table).save(tmp_path / "m")
    rows = [
        {"ds": "2024-02-20", "y": 1, "heat": [1], "promo": [0, 1]},
        {"ds": "2024-02-20", "y": 1, "heat": 1, "promo": [[0], [1]]},
        {"ds": "2024-02-20", "y": 1, "heat": 1, "promo": [False, True]},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    code, out, err = call(capsys, monkeypatch, "stream", tmp_path / "m", "--json", rows=lines)
    assert (code, json.loads(out)["ds"]) == (2, ["2024-02-21"])
    assert "row 1: heat: expected a finite number for each step, got [1.0]; correct it" in err
    assert "row 2: promo: expected a finite number for each step, got [0]; correct it" in err
    assert "row 3" not in err
    code, out, err = call(capsys, monkeypatch, "stream", tmp_path / "m", "--steps", 2)
    assert (code, out) == (2, "")
    assert "--steps 2: expected at most the model's horizon of 1; give fewer, or leave it out" in err


def test_steps_ask_for_the_drivers_of_so_many_steps(tmp_path, capsys, monkeypatch):
    days = np.arange("2024-01-01", "2024-02-20", dtype="datetime64[D]").astype(str)
    table = {"ds": days, "y": np.arange(50) % 7.0, "promo": np.arange(50) % 2}
    Forecaster(5, target="y", future="promo", max_epochs=1, hidden_size=4).fit(table).save(tmp_path / "m")
    row = json.dumps({"ds": "2024-02-20", "y": 1, "promo": [0, 1]})
    code, out, err = call(capsys, monkeypatch, "stream", tmp_path / "m", "--json", "--steps", 1, rows=row)
    assert (code, err, json.loads(out)["ds"]) == (0, "", ["2024-02-21"])
    code, _, err = call(capsys, monkeypatch, "stream", tmp_path / "m", "--json", "--steps", 2, rows=row)
    assert code == 2
    assert "expected 'promo' for the 2 steps after its end, got none at 2024-02-22" in err


def test_numbers_are_written_as_in_training(tmp_path, capsys, monkeypatch):
    rows = [f"{day:02}.01.2024;{9000 + 100 * (day % 7)},5" for day in range(1, 29)]
    (tmp_path / "de.csv").write_text("\n".join(["Tag;Umsatz", *rows]))
    Forecaster(1, max_epochs=1, hidden_size=4).fit(tmp_path / "de.csv").save(tmp_path / "m")
    made = [
        call(capsys, monkeypatch, "stream", tmp_path / "m", rows=f"29.01.2024;{cell}\n") for cell in ("9.100", "9100")
    ]
    assert made[0] == made[1]
    rows = '{"Tag": "29.01.2024", "Umsatz": 9.100}\n{"Tag": "30.01.2024", "Umsatz": "9.100"}\n'
    code, out, _ = call(capsys, monkeypatch, "stream", tmp_path / "m", "--json", rows=rows)
    stream = load(tmp_path / "m").stream()
    expected = [stream.push(value).median.tolist()[0] for value in (9.1, 9100.0)]
    assert (code, [json.loads(line)["cellgate"] for line in out.splitlines()]) == (0, expected)


def test_times_in_fractions_are_placed_by_the_time_that_they_say(tmp_path, capsys, monkeypatch):
    lines = [f"{k / 2:.1f},{k % 4}" for k in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["t,y", *lines]) + "\n")
    Forecaster(2, season=4, max_epochs=1, hidden_size=4).fit(tmp_path / "t.csv").save(tmp_path / "m")
    rows = "40.0,0\n40.5,1\n41,2\n41.6,3\n"  # 39.5 was the last; 40 is not step 40
    code, out, err = call(capsys, monkeypatch, "stream", tmp_path / "m", "--steps", 1, rows=rows)
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["81", "82", "83"]
    expected = "row 4: expected a time stamp in 't', written as in training (steps of 0.5 from 0.0), got '41.6'"
    assert (code, err) == (2, f"{expected}; correct it\n")


def test_a_header_without_the_series_is_refused(shops, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "stream", shops / "long", rows="day,sold\n03/01/2024,15\n" * 3)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "expected a column 'shop' that says which of the 2 series a row is of, got day, sold" in err


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


def test_backtest_takes_the_options_of_a_training(capsys, monkeypatch):
    arguments = "backtest", "airline", "--horizon", 3, "--origins", 2, "--max-epochs", 1, "--max-time", 5, "--json"
    code, out, _ = call(capsys, monkeypatch, *arguments, "--level", "80,95", "--hidden-size", 4, "--layers", 2)
    assert code == 0
    few = json.loads(out)["metrics"]
    assert {"coverage-80", "coverage-95"} <= set(few["cellgate"])
    other = json.loads(call(capsys, monkeypatch, *arguments, "--level", 80, "--level", 95, "--hidden-size", 9)[1])
    assert other["metrics"]["cellgate"] != few["cellgate"]
    code, _, err = call(capsys, monkeypatch, "backtest", "airline", "--level", "80,high")
    assert code == 2
    assert "--level: expected percentages from 1 to 99.99, got 'high'; write --level 80,95" in err


@pytest.mark.parametrize("option", ["--hidden-size", "--horizon", "--level", "--max-time"])
def test_a_trained_model_takes_no_options_of_a_training(model, capsys, monkeypatch, option):
    code, out, err = call(capsys, monkeypatch, "backtest", model, option, "4")
    assert (code, out) == (2, "")
    assert f"{option}: expected a table to train on before it, got the model" in err


@pytest.mark.parametrize("verb", ["backtest", "predict"])
def test_where_nothing_can_be_written_is_said_before_the_work(model, capsys, monkeypatch, tmp_path, verb):
    monkeypatch.setattr("cellgate.cli.backtest.training_progress", None)  # it must not come to that
    code, out, err = call(capsys, monkeypatch, verb, model, "--out", tmp_path / "none" / "x.csv")
    assert (code, out) == (2, "")
    assert "expected a folder that is there" in err
    readable = os.access
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK and readable(path, mode))
    code, out, err = call(capsys, monkeypatch, verb, model, "--out", tmp_path / "x.csv")
    assert (code, out) == (2, "")
    assert "expected a place that can be written to, got one that cannot; give another" in err


@pytest.mark.parametrize("options", [["backtest", "--origins", 2], ["predict", "--json"]])
def test_the_file_is_written_though_the_reader_has_left(model, capsys, monkeypatch, tmp_path, options):
    class Closed(io.StringIO):
        def write(self, text):
            if "MASE" in text or "forecast" in text:
                raise BrokenPipeError

    verb, *rest = options
    monkeypatch.setattr(sys, "stdout", Closed())
    code, _, err = call(capsys, monkeypatch, verb, model, *rest, "--out", tmp_path / "x.csv")
    assert (code, err) == (0, "")
    assert (tmp_path / "x.csv").read_text().startswith("unique_id,")


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
    assert f"next  cellgate predict {tmp_path / 'm'} --future-data FILE" in out.splitlines()
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
def three_shops(tmp_path_factory):
    """Three shops with dates of the American kind; neither was said in training."""
    folder = tmp_path_factory.mktemp("three")
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
def test_predict_reads_newer_tables_as_the_training_was_read(three_shops, capsys, monkeypatch, table, shop, first):
    code, out, err = call(capsys, monkeypatch, "predict", three_shops / "m", "--data", three_shops / f"{table}.csv")
    assert (code, err) == (0, "")
    assert [line.split(",")[:2] for line in out.splitlines()[1:2]] == [[shop, first]]


def test_predict_of_some_series(three_shops, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "predict", three_shops / "m", "--series", "west, north")
    assert (code, err) == (0, "")
    assert list(dict.fromkeys(line.split(",")[0] for line in out.splitlines()[1:])) == ["north", "west"]
    code, out, err = call(capsys, monkeypatch, "predict", three_shops / "m", "--series", "nowhere")
    assert (code, out) == (2, "")
    assert "expected names of the series, north, south, west, got 'nowhere'; correct them" in err


def test_evaluate_reads_them_so_too(three_shops, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "evaluate", three_shops / "m", three_shops / "north.csv", "--json")
    assert (code, err) == (0, "")
    panel = load(three_shops / "m").read(three_shops / "north.csv")
    assert panel.ids == ("north",)
    head, tail = panel.split(4)
    expected = load(three_shops / "m").evaluate(tail, head)["cellgate"]["MAE"]
    assert json.loads(out)["metrics"]["cellgate"]["MAE"] == pytest.approx(expected)


def test_stream_reads_dates_as_the_training_did(three_shops, capsys, monkeypatch):
    # ISO 8601, which nobody reads in two ways, will always do.
    rows = "shop,day,sold\nsouth,04/30/2024,1\nsouth,2024-05-01,2\n"
    code, out, err = call(capsys, monkeypatch, "stream", three_shops / "m", "--steps", 1, rows=rows)
    assert (code, err) == (0, "")
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["2024-05-01", "2024-05-02"]


# ---------------------------------------------------------------- times, as other programs read them


def test_stamps_of_a_column_are_written_in_one_form(tmp_path, capsys, monkeypatch):
    """Midnights stood without their hour beside others with it, and pandas took the column for text."""
    pd = pytest.importorskip("pandas")
    hours = np.arange("2024-01-01T00", "2024-01-07T20", dtype="datetime64[h]")
    lines = [f"{hour}:00,{k % 24}" for k, hour in enumerate(hours)]
    (tmp_path / "d.csv").write_text("\n".join(["ds,y", *lines, ""]))
    options = ("--horizon", 8, "--max-epochs", 1)
    model = tmp_path / "m"
    assert call(capsys, monkeypatch, "train", tmp_path / "d.csv", *options, "--out", model)[0] == 0
    back = ("backtest", tmp_path / "d.csv", *options, "--origins", 2, "--step", 9, "--out", tmp_path / "b.csv")
    assert call(capsys, monkeypatch, *back)[0] == 0
    code, out, _ = call(capsys, monkeypatch, "predict", model)
    assert code == 0
    (tmp_path / "p.csv").write_text(out)
    coming = pd.date_range("2024-01-07 20:00", periods=8, freq="h").tolist()
    for path, expected in (
        (tmp_path / "p.csv", coming),
        (model / "forecast.csv", coming),
        (model / "holdout.csv", pd.to_datetime(hours[-8:]).tolist()),
        (tmp_path / "b.csv", None),
    ):
        read = pd.read_csv(path, parse_dates=["ds"])["ds"]
        assert read.dtype.kind == "M", path
        assert expected is None or read.tolist() == expected
    told = json.loads(call(capsys, monkeypatch, "predict", model, "--json")[1])["forecast"]
    assert [row["ds"] for row in told] == [f"{stamp:%Y-%m-%d %H:%M}" for stamp in coming]
    # A single midnight has its hour, as the row before it and the one after.
    rows = "".join(f"{hour},5\n" for hour in pd.date_range("2024-01-07 20:00", periods=5, freq="h"))
    out = call(capsys, monkeypatch, "stream", model, "--steps", 1, rows="ds,y\n" + rows)[1]
    assert [line.split(",")[1] for line in out.splitlines()[1:]][-2:] == ["2024-01-08 00:00", "2024-01-08 01:00"]
    told = call(capsys, monkeypatch, "stream", model, "--json", rows='{"y": 5, "ds": "2024-01-07 20:00"}\n')[1]
    assert json.loads(told)["after"] == "2024-01-07 20:00"
    assert json.loads(told)["ds"][2:5] == ["2024-01-07 23:00", "2024-01-08 00:00", "2024-01-08 01:00"]


@pytest.mark.parametrize(
    ("stamps", "shown"),
    [
        (["2024-01-01", "2024-01-02"], ["2024-01-01", "2024-01-02"]),
        (["2024-01-01", "NaT", "2024-01-01T00:00:30"], ["2024-01-01 00:00:00", "NaT", "2024-01-01 00:00:30"]),
        (["2024-01-01T00:00:00.5", "2024-01-01T00:00:01"], ["2024-01-01 00:00:00.500", "2024-01-01 00:00:01.000"]),
    ],
)
def test_the_shortest_form_that_says_each_stamp(stamps, shown):
    assert show_times(np.array(stamps, dtype="datetime64[us]")) == shown
