"""A stream as a sensor feeds it: dropouts, rows twice, rows too late, and a process that is killed and begun again."""

import io
import sys

import numpy as np
import pytest

from cellgate.cli.app import main
from cellgate.data import DataError
from cellgate.estimators import Forecaster

MINUTES = np.arange("2024-05-01T00:00", "2024-05-01T04:00", dtype="datetime64[m]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sensor") / "m"
    values = 20 + np.sin(np.arange(len(MINUTES)) / 9) + np.random.default_rng(0).normal(0, 0.1, len(MINUTES))
    Forecaster(3, max_epochs=2, hidden_size=8, season=1).fit({"time": MINUTES, "temp": values}).save(folder)
    return folder


def stream(capsys, monkeypatch, model, rows, *arguments):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*rows, ""])))
    with pytest.raises(SystemExit) as stop:
        main(["stream", str(model), "--steps", "1", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return stop.value.code, captured.out.splitlines(), captured.err.splitlines()


def row(minute, value="20.5"):
    return f"{np.datetime64('2024-05-01T04:00') + minute},{value}"


def test_a_stream_that_was_killed_goes_on_after_its_log(model, tmp_path, capsys, monkeypatch):
    rows = ["time,temp", *(row(minute, f"{20 + minute / 7 % 2:.3f}") for minute in range(50))]
    _, uninterrupted, _ = stream(capsys, monkeypatch, model, rows)
    log = tmp_path / "log.csv"
    log.write_text("\n".join([*rows[:20], rows[0], *rows[20:31], ""]))  # begun twice, so with two headers
    code, out, err = stream(capsys, monkeypatch, model, [rows[0], *rows[31:]], "--after", log)
    assert (code, err) == (0, [])
    assert out == [uninterrupted[0], *uninterrupted[31:]]
    # Without its log it would have forecast from a state that has not seen those thirty minutes.
    _, without, told = stream(capsys, monkeypatch, model, [rows[0], *rows[31:]])
    assert without[1] != out[1]
    assert told == ["row 2: 30 steps before 2024-05-01 04:30 without a row, taken as missing"]


def test_what_cannot_be_used_of_a_log_is_named_with_its_file(model, tmp_path, capsys, monkeypatch):
    log = tmp_path / "log.csv"
    log.write_bytes(f"time,temp\n{row(0)}\n{row(1, 'ERR')}\n{row(2)}\n2024-05".encode() + b"\xff")
    code, out, err = stream(capsys, monkeypatch, model, [row(3)], "--after", log)
    assert code == 2
    assert [line.partition(": ")[0] for line in err] == [f"{log}, row 3", f"{log}, row 4", f"{log}, row 5"]
    assert [line.split(",")[1] for line in out[1:]] == ["2024-05-01 04:04"]


def test_a_log_that_is_not_there_is_an_error(model, tmp_path, capsys, monkeypatch):
    code, out, _ = stream(capsys, monkeypatch, model, [row(0)], "--after", tmp_path / "none.csv")
    assert (code, out) == (2, [])


def test_dropouts_are_told(model, capsys, monkeypatch):
    code, out, err = stream(capsys, monkeypatch, model, [row(0), row(1), row(4), row(5)])
    assert (code, len(out)) == (0, 5)
    assert err == ["row 3: 2 steps before 2024-05-01 04:04 without a row, taken as missing"]


def test_many_dropouts_are_counted(model, capsys, monkeypatch):
    code, _, err = stream(capsys, monkeypatch, model, [row(2 * k) for k in range(31)])
    assert code == 0
    assert len(err) == 21
    assert err[-1] == "30 steps without a row in 30 gaps"


def test_rows_that_come_twice_are_passed_over_and_counted(model, capsys, monkeypatch):
    rows = [row(0), row(1), row(1), row(0), row(2), row(1, 7)]
    code, out, err = stream(capsys, monkeypatch, model, rows)
    assert [line.split(",")[1][-5:] for line in out[1:]] == ["04:01", "04:02", "04:03"]
    assert err == [
        "row 3: 2024-05-01 04:01 came before, with the same value; such rows are passed over",
        "row 6: time: expected 2024-05-01 04:03 or a later step (every minute), got 2024-05-01 04:01; rows come in the "
        "order of time, each step once",
        "passed over 2 values that came twice",
    ]
    assert code == 2  # for the sixth row, which says something else


def test_a_stamp_beside_the_steps_is_called_that(model):
    feed = Forecaster.load(model).stream()
    feed.push(20.0, time=np.datetime64("2024-05-02T00:00"))
    assert feed.skipped == 20 * 60
    with pytest.raises(DataError, match=r"got 2024-05-02 00:01:30, which is beside the steps; correct the time stamp"):
        feed.push(20.0, time=np.datetime64("2024-05-02T00:01:30"))
    with pytest.raises(
        DataError, match=r"expected 2024-05-02 00:01 or a later step \(.*\), got 2024-05-02 00:00; rows"
    ):
        feed.push(20.0, time=np.datetime64("2024-05-02T00:00"))
    feed.push(20.0)
    assert feed.skipped == 0
    kept = feed.taken()
    assert kept is not None
    assert kept.times(0)[-1] == np.datetime64("2024-05-02T00:01")
    assert repr(feed) == "<ForecastStream of 1 series, 1 begun>"
