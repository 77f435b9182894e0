"""`cellgate tune --resume`: a search that was cut short ends as one that was not."""

import csv
import json
import os
import shutil
import signal

import pytest

import cellgate.cli.tune
import cellgate.estimators
from cellgate.training.checkpoint import Checkpoint

pytest.importorskip("optuna", reason="tune is Optuna's search")

SEARCH = ("airline", "--horizon", 4, "--max-epochs", 1, "--trials", 3, "--seed", 3)  # whose best trial is the second


def result(out):
    """What a search that is done has left: its table without the times, and the files of its model."""
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    for row in rows:
        row.pop("seconds")
    assert sorted(path.name for path in out.iterdir()) == ["model", "trials.csv"]
    cellgate.estimators.load(out / "model")
    timed = {"config.json", "README.md"}  # they have the seconds that the training took
    return rows, {path.name: path.read_bytes() for path in (out / "model").iterdir() if path.name not in timed}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from cellgate.cli import app

    out = tmp_path_factory.mktemp("whole") / "t"
    with pytest.raises(SystemExit) as left:
        app.main([str(word) for word in ("tune", *SEARCH, "--json", "--out", out)])
    assert not left.value.code
    rows, files = result(out)
    assert min(rows, key=lambda row: float(row["validation"]))["trial"] == "1"
    return rows, files


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(call, tmp_path, killed_before, whole):
    began = 0
    for moment in range(0, 400, 5):
        out = tmp_path / str(moment)
        ended = None
        with killed_before(moment, of=lambda path, out=out: path.is_relative_to(out)):
            ended = call("tune", *SEARCH, "--out", out)
        if ended is not None:
            break
        if not (out / "checkpoint" / "tune.toml").exists():  # nothing was done: it begins, or is all but done
            began += 1
            shutil.rmtree(out / "checkpoint", ignore_errors=True)
            if (out / "trials.csv").exists():
                assert result(out) == whole
            continue
        code, _, err = call("tune", "--resume", "--out", out)
        assert (code, err) == (0, ""), moment
        assert result(out) == whole, moment
        shutil.rmtree(out)
    assert ended is not None
    assert moment > 60
    assert began <= 3


def test_a_model_on_its_way_to_its_place_is_not_lost(call, tmp_path, killed_before, whole):
    """Whose training, limited by time, might come out worse when it is done again."""
    out = tmp_path / "t"
    places = []

    def of(path):
        if path.parent == out / "model":
            places.append(path.name)
        return path.parent == out / "model" and places.count("config.json") > 2 and path.name == "holdout.csv"

    with killed_before(0, of=of):  # while the second model takes the place of the first
        call("tune", *SEARCH, "--out", out)
    assert not (out / "model" / "config.json").exists()
    tried = json.loads((out / "checkpoint" / "search.json").read_text())
    assert [row["trial"] for row in tried["rows"]] == [0, 1]
    assert "holdout.csv" in tried["placing"]
    call("--version")  # reads what the killed one has printed
    told = call("tune", "--resume", "--out", out)[1]
    assert "resumed  2 trainings done before" in told
    assert "trial 0 " not in told
    assert "trial 1 " not in told
    assert "trial 2 " in told
    assert result(out) == whole


def test_a_training_that_was_killed_goes_on_from_its_last_save(call, tmp_path, killed_before, monkeypatch, whole):
    out, loaded = tmp_path / "t", []
    with killed_before(
        0, of=lambda path: path == out / "checkpoint" / "trial" / "checkpoint" / "model" / "config.json"
    ):
        call("tune", *SEARCH, "--out", out)
    assert not (out / "model").exists()
    assert list((out / "checkpoint" / "trial" / "checkpoint").glob("*.safetensors"))
    code, _, err = call("tune", *SEARCH, "--out", out)
    assert code == 2
    assert "--resume goes on with the search in it that was cut short, --force starts again" in err
    load = Checkpoint.load
    monkeypatch.setattr(Checkpoint, "load", lambda self, *given: loaded.append(load(self, *given)) or loaded[-1])
    assert call("tune", "--resume", "--out", out)[0] == 0
    assert loaded[:2] == [True, True]  # the search for its epochs, and the model on everything
    assert not any(loaded[2:])
    assert result(out) == whole


def test_after_ctrl_c_it_goes_on_and_may_go_further(call, tmp_path, monkeypatch, whole):
    out, tried = tmp_path / "t", cellgate.cli.tune._try

    def interrupted(trained, parameters, chosen, search):
        if len(search.rows) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return tried(trained, parameters, chosen, search)

    with monkeypatch.context() as patch:
        patch.setattr(cellgate.cli.tune, "_try", interrupted)
        code, told, _ = call("tune", *SEARCH, "--out", out)
    assert code == 130
    assert "stopped by Ctrl-C after 2 trainings, the best so far kept" in told
    assert f"cellgate tune --resume --out {out} goes on" in told
    cellgate.estimators.load(out / "model")  # which can be used meanwhile
    assert call("tune", "--resume", "--trials", 1, "--out", tmp_path / "none")[0] == 2
    assert call("tune", "--resume", "--out", out)[0] == 0
    assert result(out) == whole


def test_more_trials_than_the_search_began_with(call, tmp_path, killed_before, whole):
    out = tmp_path / "t"
    fewer = [2 if word == 3 and SEARCH[k - 1] == "--trials" else word for k, word in enumerate(SEARCH)]
    assert call("tune", *fewer, "--out", out)[0] == 0
    assert "found a finished one" in call("tune", "--resume", "--out", out)[2]
    with killed_before(0, of=lambda path: path == out / "trials.csv" and not path.exists()):
        call("tune", *fewer, "--force", "--out", out)
    call("--version")  # reads what the killed one has printed
    told = call("tune", "--resume", "--trials", 3, "--json", "--out", out)
    assert told[0] == 0
    assert [row["trial"] for row in json.loads(told[1])["trials"]] == [0, 1, 2]
    assert result(out) == whole


def test_what_cannot_be_resumed(call, tmp_path, killed_before):
    data = tmp_path / "d.csv"
    data.write_text("ds,y\n" + "".join(f"2024-{1 + k // 28:02}-{1 + k % 28:02},{k % 7}\n" for k in range(112)))
    search = (data, "--horizon", 3, "--max-epochs", 1, "--trials", 3)
    out = tmp_path / "t"
    assert "found none; leave it out" in call("tune", "--resume", "--out", out)[2]
    assert not out.exists()
    with killed_before(1, of=lambda path: path == out / "checkpoint" / "search.json"):
        call("tune", *search, "--out", out)
    assert (out / "checkpoint" / "search.json").is_file()
    before = (out / "checkpoint" / "tune.toml").read_bytes()

    def refused(*options, out=out):
        code, _, err = call("tune", "--resume", *options, "--out", out)
        assert code == 2
        return err

    assert "got other --horizon; leave them out (only --trials and --budget may change)" in refused("--horizon", 4)
    assert "got other --hidden-size; leave them out" in refused("--hidden-size", 8)
    data.write_text(data.read_text().replace(",3\n", ",4\n"))
    assert "got other data; leave them out" in refused()
    data.write_text(data.read_text().replace(",4\n", ",3\n"))
    assert "found a search (cellgate tune); leave it out" in call("train", "--resume", "--out", out)[2]
    state = json.loads((out / "checkpoint" / "search.json").read_text())
    assert [row["trial"] for row in state["rows"]] == [0]
    assert (out / "checkpoint" / "tune.toml").read_bytes() == before
    (out / "checkpoint" / "search.json").write_text("{")
    assert "expected what a search has tried, got a damaged file" in refused()
    training = tmp_path / "training"
    (training / "checkpoint").mkdir(parents=True)
    (training / "checkpoint" / "train.toml").write_text("[train]\n")
    assert "expected a search in" in (told := refused(out=training))
    assert "found a training; leave it out" in told


def test_choices_that_come_out_otherwise_are_not_mixed_with_the_first(call, tmp_path, killed_before):
    out = tmp_path / "t"
    with killed_before(3, of=lambda path: path == out / "checkpoint" / "search.json"):
        call("tune", *SEARCH, "--out", out)
    path = out / "checkpoint" / "search.json"
    state = json.loads(path.read_text())
    assert len(state["rows"]) == 2
    state["rows"][1]["hidden_size"] = 7
    path.write_text(json.dumps(state))
    code, _, err = call("tune", "--resume", "--out", out)
    assert code == 2
    assert "expected trial 1 of the search in" in err
    assert "another version of Optuna?" in err
