"""The folder of a training: one training at a time, nothing of an earlier model, nothing lost that is not its own."""

import errno
import fcntl
import json
import os
import tomllib
from pathlib import Path

import pytest

from cellgate.cli import locking, training_run
from cellgate.errors import CellgateError, InputError
from cellgate.estimators import Forecaster, load
from cellgate.training import Checkpoint, TrainingError

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


class Windows:
    """What cellgate asks of msvcrt: a range of a file locked, an error if another handle has it."""

    LK_NBLCK = 2

    @staticmethod
    def locking(handle, mode, count):
        assert (mode, count) == (Windows.LK_NBLCK, 1)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_two_trainings_do_not_write_to_one_folder_on_windows(call, tmp_path, monkeypatch, options):
    """Where there is no fcntl, and no folder can be opened."""
    monkeypatch.setattr(locking, "fcntl", None)
    monkeypatch.setattr(locking, "msvcrt", Windows)
    out, fit, told = tmp_path / "model", Forecaster.fit, []
    if options:
        assert call("train", *QUICK, "--force", "--out", out)[0] == 0

    def second(self, *arguments, **how):
        if self.seed == 5:
            told.append(call("train", *QUICK, *options, "--seed", 6, "--out", out))
        return fit(self, *arguments, **how)

    monkeypatch.setattr(Forecaster, "fit", second)
    assert call("train", *QUICK, *options, "--seed", 5, "--out", out)[0] == 0
    assert told[0][0] == 2
    assert "got one that another is writing to; give another name, or wait for its end" in told[0][2]
    assert load(out).seed == 5
    assert not (out / ".lock").exists()
    (out / ".lock").write_text("")  # what a kill leaves where files are not removed with their process
    assert call("train", *QUICK, "--force", "--out", out)[0] == 0
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".lock").write_text("")
    assert call("train", *QUICK, "--out", tmp_path / "new")[0] == 0
    assert not (tmp_path / "new" / ".lock").exists()


def test_a_system_without_locks_trains(call, tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "fcntl", None)
    monkeypatch.setattr(locking, "msvcrt", None)
    assert call("train", *QUICK, "--out", tmp_path / "model")[0] == 0


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
    assert "baseline.safetensors" in contents(out)
    assert call("train", *QUICK, "--force", "--out", out)[0] == 0
    assert "baseline.safetensors" not in contents(out)


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


def options_of(folder):
    return tomllib.loads((folder / "train.toml").read_text())["train"]


@pytest.mark.parametrize("moment", ["before the first save", "after it", *range(9)])
def test_a_model_and_its_options_belong_together_at_every_moment(call, tmp_path, monkeypatch, moment):
    """`--force` over a finished model, killed: each moment of a number is before so many files are in their place."""
    out = tmp_path / "model"
    assert call("train", *QUICK, "--out", out)[0] == 0
    before, fit, save, replace, placed = contents(out), Forecaster.fit, Checkpoint.save, os.replace, []

    def at_fit(*arguments, **options):
        if moment == "before the first save":
            raise SystemExit(9)
        return fit(*arguments, **options)

    def at_save(*arguments, **options):
        save(*arguments, **options)
        if moment == "after it":
            raise SystemExit(9)

    def at_place(source, target):
        if Path(target).parent == out:
            if len(placed) == moment:
                raise SystemExit(9)
            placed.append(Path(target).name)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Forecaster, "fit", at_fit)
        patch.setattr(Checkpoint, "save", at_save)
        patch.setattr(os, "replace", at_place)
        # Whatever a kill would not do any more is not done here either.
        patch.setattr(training_run, "write_atomic", lambda *_: None)
        patch.setattr(Path, "unlink", lambda path, **_: os.remove(path) if path.name == "config.json" else None)
        code = call("train", *QUICK, "--season", 6, "--force", "--out", out)[0]
    assert code == (0 if placed == sorted(contents(out)) else 9)
    if (out / "config.json").exists():
        assert load(out).task_.season == options_of(out).get("season")
        if not placed:
            assert contents(out) == before
    else:
        with pytest.raises(InputError, match="got a training that was cut short; cellgate train --resume"):
            load(out)
    if code:
        assert call("train", "--resume", "--out", out)[0] == 0
    assert load(out).task_.season == options_of(out)["season"] == 6
    assert not (out / "checkpoint").exists()


@pytest.mark.parametrize("name", ["report.html", "forecast.csv", "model.safetensors", "train.toml"])
def test_a_folder_with_the_name_of_a_file_is_said_before_the_training(call, tmp_path, name):
    (tmp_path / "m" / name).mkdir(parents=True)
    code, out, err = call("train", *QUICK, "--force", "--report", "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert f"expected {name} to be a file or not there, got a folder of that name; rename it" in err
    assert [path.name for path in (tmp_path / "m").iterdir()] == [name]


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
