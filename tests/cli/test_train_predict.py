"""`cellgate train` and `cellgate predict`, from the file to the files."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

import numpy as np
import pytest

import cellgate.estimators
from cellgate.cli import app as cli
from cellgate.data import bundled_path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bundled data, trained once with default settings."""
    folder = tmp_path_factory.mktemp("cli") / "model"
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "airline", "--horizon", "12", "--out", str(folder), "--json"])
    assert not left.value.code
    return folder


def test_train_says_what_it_found_how_good_it_is_and_what_it_wrote(call, tmp_path):
    code, out, err = call("train", "airline", "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert "data      airline: 1 series, 144 steps, monthly, 1949-01-01 to 1960-12-01" in out
    assert "columns   time = Month, value = #Passengers" in out
    assert "held out  the last 12 steps" in out
    scores = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert float(scores["cellgate"][1]) < 0.7
    assert scores["seasonal naive"][-3:] == ["1.571", "10.572", "47.833"]
    assert "below the seasonal naive forecast's" in out
    assert out.rstrip().endswith(f"next  cellgate predict {tmp_path / 'm'}")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {
        "README.md", "config.json", "forecast.csv", "forecast.svg", "history.safetensors", "holdout.csv",
        "metrics.json", "model.safetensors", "preprocess.json", "train.toml",
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_the_forecast_follows_the_data(trained):
    rows = rows_of(trained / "forecast.csv")
    assert list(rows[0]) == ["unique_id", "ds", "cellgate", "cellgate-lo-90", "cellgate-hi-90"]
    assert [row["ds"] for row in rows[:2]] == ["1961-01-01", "1961-02-01"]
    assert len(rows) == 12
    # The year after 1960, whose mean was 476, in a series that has grown every year.
    assert 476 < sum(float(row["cellgate"]) for row in rows) / 12 < 600


def test_the_held_out_table_gives_the_printed_scores(trained):
    rows = rows_of(trained / "holdout.csv")
    assert [row["y"] for row in rows] == "417 391 419 461 472 535 622 606 508 461 390 432".split()
    assert [row["seasonal_naive"] for row in rows] == "360 342 406 396 420 472 548 559 463 407 362 405".split()
    metrics = json.loads((trained / "metrics.json").read_text())
    error = sum(abs(float(row["y"]) - float(row["cellgate"])) for row in rows) / 12
    assert metrics["cellgate"]["MAE"] == pytest.approx(error, rel=1e-6)


def test_the_picture_is_well_formed_and_shows_both_parts(trained):
    svg = (trained / "forecast.svg").read_text()
    xml.etree.ElementTree.fromstring(svg)
    for text in ("held out from here", "now", "90 % interval", "seasonal naive", "1959"):
        assert text in svg
    assert "nan" not in svg.lower()


def test_predict_prints_what_train_wrote(trained, call, tmp_path):
    code, out, _ = call("predict", trained)
    assert code == 0
    assert out == (trained / "forecast.csv").read_text()
    code, out, _ = call("predict", trained, "--out", tmp_path / "f.csv")
    assert (code, out) == (0, "")
    assert (tmp_path / "f.csv").read_text() == (trained / "forecast.csv").read_text()
    code, _, err = call("predict", trained, "--out", tmp_path / "f.csv")
    assert code == 2
    assert "expected a new file" in err
    code, out, _ = call("predict", trained, "--json")
    assert json.loads(out)["forecast"][0]["ds"] == "1961-01-01"


def test_a_name_that_says_that_it_is_no_csv_is_refused(trained, call, tmp_path):
    for name, kind in (("f.parquet", "Parquet or Arrow"), ("f.xlsx", "a spreadsheet"), ("f.JSON", "JSON")):
        code, _, err = call("predict", trained, "--out", tmp_path / name)
        assert code == 2
        assert f"expected the name of a CSV file, got one of {kind}; end it in .csv" in err
    assert not list(tmp_path.iterdir())


def test_predict_from_newer_data(trained, call, tmp_path):
    lines = bundled_path("airline").read_text().splitlines()
    (tmp_path / "cut.csv").write_text("\n".join(lines[:-6]))
    code, out, _ = call("predict", trained, "--data", tmp_path / "cut.csv")
    assert code == 0
    assert out.splitlines()[1].startswith("#Passengers,1960-07-01,")


def test_load_gives_the_same_model(trained):
    table = cellgate.estimators.load(trained).predict()
    written = [float(row["cellgate"]) for row in rows_of(trained / "forecast.csv")]
    assert table["cellgate"].tolist() == pytest.approx(written, rel=1e-9)


def test_a_folder_with_files_in_it_is_left_alone(call, tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    code, _, err = call("train", "airline", "--out", tmp_path)
    assert code == 2
    assert "expected a new or empty folder, got one with files in it; give another, or --force" in err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    code, _, _ = call("train", "airline", "--out", tmp_path, "--force", "--max-epochs", 2)
    assert code == 0
    assert (tmp_path / "mine.txt").read_text() == "dear"


def test_bad_data_is_one_line_and_leaves_nothing_behind(call, tmp_path):
    (tmp_path / "d.csv").write_text("ds,y\n2024-01-01,1\n2024-01-02,two\n2024-01-03,3\n")
    code, out, err = call("train", tmp_path / "d.csv", "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_series_shorter_than_what_is_held_out(call, tmp_path):
    (tmp_path / "d.csv").write_text("ds,y\n" + "".join(f"2024-01-{d:02},{d}\n" for d in range(1, 11)))
    code, _, err = call("train", tmp_path / "d.csv", "--out", tmp_path / "m", "--horizon", 12)
    assert code == 2
    assert "d.csv: expected more than 13 steps in the series, of which the last 12 are held out, got 10" in err


def test_it_says_so_when_the_baseline_is_better(call, tmp_path):
    """A series that repeats itself exactly cannot be beaten by anybody."""
    (tmp_path / "d.csv").write_text("ds,y\n" + "".join(f"{k},{(7 * k) % 5}\n" for k in range(60)))
    code, out, _ = call(
        "train", tmp_path / "d.csv", "--out", tmp_path / "m", "--horizon", 5, "--season", 5, "--max-epochs", 3
    )
    assert code == 0
    assert "cellgate is level with the seasonal naive forecast here (MAE 0.000 for both)" in out


def test_several_series_at_once(call, tmp_path):
    days = np.datetime64("2024-01-01") + np.arange(80)
    lines = [
        f"{shop},{day},{5 * (k % 7) + shift}" for shop, shift in (("a", 0), ("b", 9)) for k, day in enumerate(days)
    ]
    (tmp_path / "d.csv").write_text("shop,day,sold\n" + "\n".join(lines))
    code, out, err = call("train", tmp_path / "d.csv", "--out", tmp_path / "m", "--horizon", 7, "--max-epochs", 3)
    assert code == 0, err
    assert "2 series" in out
    assert len(rows_of(tmp_path / "m" / "forecast.csv")) == 14


def test_json_output_is_one_object(call, tmp_path):
    code, out, _ = call("train", "airline", "--out", tmp_path / "m", "--max-epochs", 2, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["training"]["epochs"] == 2
    assert set(told["metrics"]) == {"steps", "series", "stretches", "cellgate", "seasonal naive", "plain", "intervals"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(call, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = call("train", "airline", "--out", tmp_path / "m", "--max-epochs", 1)
    assert code == 2
    assert "Permission denied" in err


def test_a_file_where_a_folder_should_be(call, tmp_path):
    (tmp_path / "m").write_text("")
    code, _, err = call("train", "airline", "--out", tmp_path / "m")
    assert code == 2
    assert "expected a folder, got a file" in err


def test_ctrl_c_keeps_the_best_so_far_and_exits_130(tmp_path, environment):
    out = tmp_path / "m"
    command = [sys.executable, "-c", PAUSE, "train", "airline", "--max-epochs", "99999", "--patience", "9999"]
    process = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr.readline() == "third epoch\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "stopped by Ctrl-C, the best so far kept" in stdout
    assert "Traceback" not in stderr
    assert cellgate.estimators.load(out).record_.stopped_by == "Ctrl-C"


# Says on stderr when three epochs are over, as a person would see it on the bar.
PAUSE = """
import sys
from cellgate.cli import app, console
from contextlib import contextmanager
@contextmanager
def told(quiet, board=None):
    def watch(progress):
        if progress.epoch == 3:
            print("third epoch", file=sys.stderr, flush=True)
    yield watch
console.training_progress = told
app.main(sys.argv[1:])
"""


def test_a_training_killed_at_any_moment_resumes_to_the_same_forecast(tmp_path, environment):
    """SIGKILL after ever more of the run, with a save every epoch; each time it is resumed, and it ends the same."""
    arguments = ["train", "airline", "--max-epochs", "40", "--checkpoint-every", "0", "--json"]
    command = [sys.executable, "-m", "cellgate.cli.app", *arguments]
    subprocess.run([*command, "--out", str(tmp_path / "a")], env=environment, check=True, stdout=subprocess.DEVNULL)
    out = tmp_path / "b"
    for kill in range(4):
        resume = ["--resume"] if (out / "checkpoint").is_dir() else []
        process = subprocess.Popen([*command, "--out", str(out), *resume], env=environment, stdout=subprocess.DEVNULL)
        before = saved_at(out)
        while process.poll() is None and saved_at(out) == before:
            time.sleep(0.001)
        time.sleep(0.02 * kill)
        process.kill()
        process.wait()
        if (out / "config.json").exists():
            # Killed while it was tidying up: then everything is there.
            assert (out / "forecast.csv").exists()
            cellgate.estimators.load(out)
    if (out / "checkpoint").is_dir():
        subprocess.run(
            [*command, "--out", str(out), "--resume"], env=environment, check=True, stdout=subprocess.DEVNULL
        )
    assert (out / "forecast.csv").read_text() == (tmp_path / "a" / "forecast.csv").read_text()
    assert cellgate.estimators.load(out).record_.history == cellgate.estimators.load(tmp_path / "a").record_.history
    assert not (out / "checkpoint").exists()


def saved_at(out):
    return max((path.stat().st_mtime_ns for path in (out / "checkpoint").glob("*.safetensors")), default=0)


def test_resume_without_a_training_to_resume(call, tmp_path):
    code, _, err = call("train", "airline", "--out", tmp_path / "m", "--resume")
    assert code == 2
    assert "expected a training in" in err
    code, _, err = call("train", "--out", tmp_path / "m", "--resume")  # not that the data are missing
    assert (code, err) == (
        2,
        f"error: --resume: expected a training in {tmp_path / 'm'} that was cut short, found none; leave it out\n",
    )
    (tmp_path / "m" / "checkpoint").mkdir(parents=True)
    (tmp_path / "m" / "checkpoint" / "state.safetensors").touch()
    code, _, err = call("train", "airline", "--out", tmp_path / "m")
    assert code == 2
    assert "--resume goes on with the training in it that was cut short, --force starts again" in err


def test_what_is_held_out_beyond_the_horizon_is_said_not_to_be_scored(call, tmp_path):
    options = ("--horizon", "1", "--holdout", "3", "--max-epochs", "1", "--level", "80,95")
    code, out, _ = call("train", "airline", *options, "--out", str(tmp_path / "m"))
    assert code == 0
    assert "held out  the last 3 steps, of which only the horizon of 1 is scored" in out
    assert "1 epoch in" in out
    assert "of the held-out values lie in the 95 % interval" in out


def test_what_is_held_out_does_not_tell_of_the_season(call, tmp_path):
    noise = np.random.default_rng(0).normal(size=200)
    y = np.where(np.arange(200) < 140, noise, 10 * np.sin(2 * np.pi * np.arange(200) / 6))
    (tmp_path / "y.csv").write_text("y\n" + "".join(f"{value}\n" for value in y))
    options = "--horizon", 5, "--max-epochs", 1, "--hidden-size", 4
    for tail, season, note in ((60, "none", "no season shows"), (0, "6 steps", "season of 6 steps found")):
        out = tmp_path / f"m{tail}"
        code, told, _ = call("train", tmp_path / "y.csv", *options, "--holdout", tail, "--out", out)
        assert code == 0
        assert f"season    {season}" in told or f"season   {season}" in told
        assert note in told


def test_rows_without_a_value_at_the_end_are_told_of(call, tmp_path):
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    rows = [f"{day},{k % 7 if k < 53 else ''}" for k, day in enumerate(days)]
    (tmp_path / "t.csv").write_text("\n".join(["day,y", *rows]) + "\n")
    options = "--horizon", 7, "--max-epochs", 1, "--hidden-size", 4
    code, told, _ = call("train", tmp_path / "t.csv", *options, "--out", tmp_path / "m")
    assert code == 0
    assert "no value in the last 7 steps: forecasts begin after them; where they are to be" in told
    assert "no scores, as nothing was observed in the 7 steps held out" in told
    (tmp_path / "t.csv").write_text("\n".join(["day,y", *rows[:53]]) + "\n")
    code, told, _ = call("train", tmp_path / "t.csv", *options, "--out", tmp_path / "n")
    assert (code, "no value in" in told, "no scores" in told) == (0, False, False)


def test_a_training_that_ended_no_better_than_it_began_says_so(call, tmp_path):
    options = "airline", "--horizon", 4, "--max-epochs", 3
    code, out, err = call("train", *options, "--learning-rate", 3, "--out", tmp_path / "bad")
    assert (code, err) == (0, "")
    assert "training ended no better than it began (validation score 0." in out
    assert "before it): lower --learning-rate" in out
    code, out, _ = call("train", *options, "--learning-rate", 0.05, "--out", tmp_path / "good", "--json")
    assert code == 0
    training = json.loads(out)["training"]
    assert training["best_score"] < training["start_score"]
    assert "no better" not in call("train", *options, "--learning-rate", 0.05, "--out", tmp_path / "again")[1]
    # Of a constant there is nothing to learn, which is no fault of the learning rate.
    (tmp_path / "flat.csv").write_text("\n".join(["ds,y", *(f"{k},5" for k in range(60))]))
    code, out, _ = call("train", tmp_path / "flat.csv", "--horizon", 4, "--max-epochs", 2, "--out", tmp_path / "flat")
    assert code == 0
    assert "no better" not in out


def test_a_level_beyond_what_its_name_can_say(call, tmp_path):
    """99.99999 was called 100, and its quantiles 0 and 1."""
    code, _, err = call("train", "airline", "--level", "99.99999", "--out", tmp_path / "m")
    assert code == 2
    assert "--level: expected percentages from 1 to 99.99, got '99.99999'" in err
    options = "--horizon", 3, "--max-epochs", 1, "--level", "99.99"
    assert call("train", "airline", *options, "--out", tmp_path / "m")[0] == 0
    assert (tmp_path / "m" / "forecast.csv").read_text().startswith("unique_id,ds,cellgate,cellgate-lo-99.99,cellgate-")
