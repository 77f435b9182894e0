"""`-` in the place of data is standard input; where a verb has no such place, it says what to do."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from cellgate.data import files


@pytest.fixture
def run(call, tmp_path, monkeypatch):
    """The command in this process with `rows` in a pipe, whose bytes can be read once, as its standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "_standard_input", functools.cache(files.STANDARD_INPUT.read_bytes))

    def run(*arguments, rows=""):
        reads, writes = os.pipe()
        with os.fdopen(writes, "w") as pipe:
            pipe.write(rows)  # less than a pipe holds, or this would wait for ever
        files._standard_input.cache_clear()  # as of a new process
        before = os.dup(0)
        os.dup2(reads, 0)
        try:
            return call(*arguments)
        finally:
            os.dup2(before, 0)
            os.close(before)
            os.close(reads)

    return run


def test_a_process_of_its_own_reads_a_pipe(environment, tmp_path):
    command = [sys.executable, "-m", "cellgate", "check", "-"]
    done = subprocess.run(command, input=months(), capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stdin: 1 series, 60 steps, monthly" in done.stdout


def months(steps=60, first=2015):
    y = 100 + 10 * np.sin(np.arange(steps) * 2 * np.pi / 12) + np.random.default_rng(0).normal(0, 1, steps)
    rows = [f"{first + k // 12}-{k % 12 + 1:02}-01,{value:.3f}" for k, value in enumerate(y)]
    return "\n".join(["ds,y", *rows, ""])


def test_a_forecaster_lives_on_standard_input(run, tmp_path):
    rows = months()
    (tmp_path / "sales.csv").write_text(rows)
    options = "--horizon", 4, "--max-epochs", 1
    code, _, err = run("train", "-", *options, "--out", "model", rows=rows)
    assert (code, err) == (0, "")
    assert run("train", "sales.csv", *options, "--out", "other")[0] == 0
    assert (tmp_path / "model" / "forecast.csv").read_bytes() == (tmp_path / "other" / "forecast.csv").read_bytes()
    # The file that repeats it reads standard input again.
    assert run("train", "--config", "model/train.toml", "--out", "again", rows=rows)[0] == 0
    assert (tmp_path / "again" / "forecast.csv").read_bytes() == (tmp_path / "other" / "forecast.csv").read_bytes()
    newer = months(30, 2018)
    (tmp_path / "newer.csv").write_text(newer)
    for verb in (("predict", "model", "--data"), ("evaluate", "model"), ("backtest", "model", "--data")):
        code, out, err = run(*verb, "-", rows=newer)
        assert (code, err) == (0, "")
        assert out == run(*verb, "newer.csv")[1].replace("newer.csv", "stdin")


def test_check_tries_a_pipe_as_other_data_too(run):
    code, out, _ = run("check", "-", rows=months())
    assert code == 0
    assert "stdin: 1 series, 60 steps, monthly" in out
    # Sequences are tried after series: what was read of the pipe is still there.
    rows = "".join(f"{name},{k % 2},{k}\n" for k, name in enumerate("abcdefgh") for _ in range(2))
    code, out, _ = run("check", "-", rows="id,label,x\n" + rows)
    assert code == 0
    assert "stdin: 8 sequences of 2 steps" in out
    code, _, err = run("check", "-")
    assert code == 2
    assert "stdin: expected rows, got an empty file" in err


def test_a_file_of_that_name_goes_before(run, tmp_path):
    (tmp_path / "-").write_text(months(48))
    code, out, _ = run("check", "-", rows=months(60))
    assert code == 0
    assert "48 steps" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("predict", "model", "-"), "(-); data are given as --data FILE. See cellgate predict --help."),
        (("backtest", "model", "new.csv"), "(new.csv); data are given as --data FILE. See"),
        (("stream", "model", "-"), "(-); rows come on standard input, as in: cellgate stream MODEL < FILE. See"),
        (("info", "model"), "(model). See cellgate info --help."),
    ],
)
def test_data_where_a_verb_has_no_place_for_them(call, arguments, told):
    code, _, err = call(*arguments)
    assert code == 2
    assert told in err
