"""The folder of a training: one training at a time, nothing of an earlier model, nothing lost that is not its own."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from cellgate.errors import CellgateError
from cellgate.estimators import Forecaster
from cellgate.training import TrainingError

QUICK = ("airline", "--horizon", 4, "--max-epochs", 1)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("options", [(), ("--force",), ("--resume",)])
def test_two_trainings_do_not_write_to_one_folder(call, tmp_path, options):
    out = tmp_path / "model"
    out.mkdir()
    if options:
        assert call("train", *QUICK, "--force", "--out", out)[0] == 0
        (out / "checkpoint").mkdir()
    before = contents(out)
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # as another process holds it
        code, _, err = call("train", *QUICK, *options, "--out", out)
    finally:
        os.close(handle)
    assert code == 2
    assert err == (
        f"error: --out {out}: expected a folder of this training alone, got one that another is writing to; give "
        "another name, or wait for its end\n"
    )
    assert contents(out) == before
    assert (out / "checkpoint").is_dir() == bool(options)  # it is the other one's
    assert call("train", *QUICK, *options, "--out", out)[0] == 0


def test_a_training_that_ended_while_this_one_read_is_not_written_over(call, tmp_path, monkeypatch):
    out, read, made = tmp_path / "model", Forecaster.read, {}

    def slow(self, data):
        if self.seed == 5:
            assert call("train", *QUICK, "--out", out)[0] == 0
            made.update(contents(out))
        return read(self, data)

    monkeypatch.setattr(Forecaster, "read", slow)
    code, _, err = call("train", *QUICK, "--seed", 5, "--out", out)
    assert code == 2
    assert "expected a new or empty folder, got one with files in it" in err
    assert contents(out) == made


def test_nothing_of_an_earlier_model_stays(call, tmp_path):
    out, data = tmp_path / "model", tmp_path / "driven.csv"
    assert call("train", *QUICK, "--report", "--out", out)[0] == 0
    (out / "notes.txt").write_text("mine")
    assert {"forecast.csv", "forecast.svg", "report.html", "history.safetensors"} < set(contents(out))
    data.write_text("ds,y,price\n" + "".join(f"2024-01-{d:02},{d % 7},{d % 3}\n" for d in range(1, 32)))
    options = ("--target", "y", "--future", "price", "--horizon", 3, "--max-epochs", 1)
    assert call("train", data, *options, "--force", "--out", out)[0] == 0
    assert not {"forecast.csv", "forecast.svg", "report.html"} & set(contents(out))
    assert {"holdout.csv", "history.safetensors", "notes.txt"} < set(contents(out))
    text = tmp_path / "text.txt"
    text.write_text("one two three four\n" * 40)
    assert call("train", text, "--task", "generate", "--max-epochs", 1, "--force", "--out", out)[0] == 0
    assert not {"holdout.csv", "history.safetensors"} & set(contents(out))
    assert contents(out)["notes.txt"] == b"mine"


def test_a_training_that_cannot_begin_leaves_no_folder(call, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise CellgateError("no")

    monkeypatch.setattr(Forecaster, "fit", fails)
    code, _, err = call("train", *QUICK, "--out", tmp_path / "model")
    assert (code, err) == (2, "error: no\n")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TrainingError("no")], ids=["Ctrl-C", "all fail"])
def test_a_search_without_a_result_removes_nothing_that_is_not_its_own(call, tmp_path, monkeypatch, error):
    pytest.importorskip("optuna", reason="tune is Optuna's search")

    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(Forecaster, "fit", fails)
    (tmp_path / "sales.csv").write_text("mine")
    assert call("tune", *QUICK, "--trials", 2, "--force", "--out", tmp_path)[0] != 0
    assert contents(tmp_path) == {"sales.csv": b"mine"}
    assert call("tune", *QUICK, "--trials", 2, "--out", tmp_path / "new")[0] != 0
    assert not (tmp_path / "new").exists()


def test_names_that_are_no_utf8_are_no_fault(call_into_files, tmp_path, monkeypatch):
    """Disks of long ago hold such; train.toml cannot name them, everything else works with them."""
    call = call_into_files
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"caf\xe9")
    try:
        os.mkdir(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    rows = [f"c{k},{t},{k % 2 + t / 9},{'ab'[k % 2]}" for k in range(40) for t in range(3)]
    for name in ("d.csv", f"{odd}.csv"):
        Path(name).write_text("\n".join(["id,t,x,label", *rows]))
    quick = ("--task", "classify", "--max-epochs", 1, "--hidden-size", 4)
    code, _, err = call("train", f"{odd}.csv", *quick, "--out", "m")
    assert code == 2
    assert "expected a name in UTF-8, as train.toml can hold no other" in err
    assert not os.path.exists("m")
    code, out, err = call("train", "d.csv", *quick, "--out", f"{odd}/m", "--json", "--report")
    assert (code, err) == (0, "")
    assert json.loads(out)["out"] == f"{odd}/m"
    model = f"{odd}/m"
    for verb in (("predict", model, "--data"), ("evaluate", model)):
        code, out, err = call(*verb, f"{odd}.csv", "--json")
        assert (code, err, json.loads(out)["model"]) == (0, "", model)
    code, _, err = call("explain", model, f"{odd}.csv", "--out", f"{odd}.html", "--figures", "figures")
    assert (code, err) == (0, "")
    assert "Classification of caf?.csv" in Path(f"{odd}.html").read_text(encoding="utf-8")
    code, out, err = call("train", "airline", "--out", f"{odd}/f", "--max-epochs", 1, "--json")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("earlier", [False, True])
def test_nothing_is_left_to_resume_of_a_training_that_went_wrong(call, tmp_path, earlier):
    """Its saves stood in the folder, and the next training with a lower rate was told to --resume it."""
    out = tmp_path / "model"
    before = {}
    if earlier:
        assert call("train", *QUICK, "--out", out)[0] == 0
        before = contents(out)
    diverging = ("airline", "--horizon", 4, "--max-epochs", 3, "--checkpoint-every", 0, "--learning-rate", 1e5)
    code, _, err = call("train", *diverging, "--out", out, *(["--force"] if earlier else []))
    assert code == 3
    assert "lower --learning-rate" in err
    assert out.exists() == earlier
    if earlier:
        assert contents(out) == before
        assert not (out / "checkpoint").exists()
    else:
        assert call("train", *QUICK, "--out", out)[0] == 0
