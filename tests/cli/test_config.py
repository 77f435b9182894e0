"""--config: options from a TOML file, what is typed before them, and the file that repeats a training."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate.cli import config


@pytest.fixture
def sales(tmp_path):
    lines = ["day,shop,sold", *(f"2024-01-{d:02},{s},{d % 7 + 1}" for s in "ab" for d in range(1, 29))]
    (tmp_path / "sales.csv").write_text("\n".join(lines))
    return tmp_path / "sales.csv"


def test_a_file_gives_options_and_the_command_line_goes_before_it(call, tmp_path, sales):
    (tmp_path / "c.toml").write_text(
        f'[check]\ndata = "{sales}"\nid = "shop"\ntarget = "sold"\nseason = 7\njson = true\n'
    )
    told = json.loads(call("check", "--config", tmp_path / "c.toml")[1])
    assert (told["season"], len(told["series"])) == (7, 2)
    told = json.loads(call("check", f"--config={tmp_path / 'c.toml'}", "--season", 5)[1])
    assert told["season"] == 5


def test_a_file_without_tables_is_all_for_the_verb(call, tmp_path, sales):
    (tmp_path / "c.toml").write_text("season = 3\ntime_format = '%Y-%m-%d'\n")
    assert "season   3 steps" in call("check", sales, "--config", tmp_path / "c.toml")[1]


def test_lists_are_options_given_again_and_again(call, tmp_path):
    text = "ds,y,a,b\n" + "\n".join(f"{k},{k % 3},{k},{k}" for k in range(30))
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "c.toml").write_text('past = ["a", "b"]')
    assert "past     a, b: up to the last step" in call("check", tmp_path / "t.csv", "--config", tmp_path / "c.toml")[1]


@pytest.mark.parametrize("shape", ["wide", "by rows"])
def test_so_is_one_of_series_side_by_side(call, tmp_path, shape):
    wide = ["ds,a,b", *(f"2024-{1 + k // 28:02}-{k % 28 + 1:02},{k % 7},{k % 5}" for k in range(84))]
    values = [[f"s{j}", *((k * j) % 7 for k in range(60))] for j in (1, 2)]
    rows = [",".join(f"V{k}" for k in range(1, 62)), *(",".join(map(str, row)) for row in values)]
    (tmp_path / "t.csv").write_text("\n".join(wide if shape == "wide" else rows))
    typed = ["--wide"] if shape == "wide" else []
    options = "--horizon", 2, "--max-epochs", 1, "--hidden-size", 4
    code, _, err = call("train", tmp_path / "t.csv", *typed, *options, "--out", tmp_path / "a")
    assert (code, err) == (0, "")
    code, _, err = call("train", "--config", tmp_path / "a" / "train.toml", "--out", tmp_path / "b")
    assert (code, err) == (0, "")
    assert (tmp_path / "a" / "forecast.csv").read_text() == (tmp_path / "b" / "forecast.csv").read_text()
    saved = tomllib.loads((tmp_path / "b" / "train.toml").read_text())["train"]
    assert {name: saved[name] for name in ("time", "target", "id", "wide") if name in saved} == (
        {"time": "ds", "wide": True} if shape == "wide" else {}
    )


def test_a_training_is_repeated_by_the_file_that_it_saves(call, tmp_path, sales, monkeypatch):
    monkeypatch.chdir(sales.parent)
    first = ["--max-epochs", 2, "--horizon", 3, "--level", 80, "--level", 95, "--seed", 4, "--target", "sold"]
    assert call("train", "sales.csv", "--out", "a", *first)[0] == 0
    saved = tomllib.loads((tmp_path / "a" / "train.toml").read_text())["train"]
    assert saved["data"] == str(sales)
    assert (saved["horizon"], saved["level"], saved["seed"], saved["learning-rate"]) == (3, [80.0, 95.0], 4, 0.005)
    assert "out" not in saved
    monkeypatch.chdir("/")
    code, _, err = call("train", "--config", tmp_path / "a" / "train.toml", "--out", tmp_path / "b")
    assert code == 0, err
    for name in ("forecast.csv", "train.toml", "metrics.json"):  # levels are the same numbers in both
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()


def test_an_option_that_has_the_name_of_a_file_is_written_as_it_is(call, tmp_path, sales, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sold").write_text("a file called as the column is")
    options = ["--target", "sold", "--horizon", 3, "--max-epochs", 1]
    assert call("train", sales.name, *options, "--out", "a")[0] == 0
    saved = tomllib.loads((tmp_path / "a" / "train.toml").read_text())["train"]
    assert (saved["target"], saved["data"]) == ("sold", str(sales))
    code, _, err = call("train", "--config", "a/train.toml", "--out", "b")
    assert (code, err) == (0, "")


def test_resume_takes_the_options_of_the_training_that_was_cut_short(call, tmp_path, monkeypatch):
    from cellgate.training import loop

    save = loop.Checkpoint.save

    def killed(checkpoint, *state):
        save(checkpoint, *state)
        record = next(part for part in state if isinstance(part, loop.TrainingRecord))
        if record.epochs == 2:
            raise SystemExit(9)

    options = ["airline", "--horizon", 4, "--max-epochs", 4, "--checkpoint-every", 0]
    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoint, "save", killed)
        call("train", *options, "--out", tmp_path / "m")
    assert (tmp_path / "m" / "checkpoint").is_dir()
    code, out, err = call("train", "--resume", "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert "4 epochs" in out
    call("train", *options, "--out", tmp_path / "whole")
    assert (tmp_path / "m" / "forecast.csv").read_text() == (tmp_path / "whole" / "forecast.csv").read_text()


@pytest.mark.parametrize("mistake", [("--seed", 8), ("--hidden-size", 8)])
def test_a_refused_resume_leaves_the_options_that_go_with_the_checkpoint(call, tmp_path, monkeypatch, mistake):
    from cellgate.training import loop

    save = loop.Checkpoint.save

    def killed(checkpoint, *state):
        save(checkpoint, *state)
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoint, "save", killed)
        call("train", "airline", "--max-epochs", 3, "--checkpoint-every", 0, "--out", tmp_path / "m")
    options = (tmp_path / "m" / "checkpoint" / "train.toml").read_bytes()
    code, _, err = call("train", "--resume", "--out", tmp_path / "m", *mistake)
    assert code == 2
    assert "expected a checkpoint of the same data and options" in err
    assert (tmp_path / "m" / "checkpoint" / "train.toml").read_bytes() == options
    code, out, err = call("train", "--resume", "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert "3 epochs" in out


def test_what_a_kill_before_the_first_save_leaves_is_no_obstacle(call, tmp_path):
    (tmp_path / "m" / "checkpoint").mkdir(parents=True)
    (tmp_path / "m" / "train.toml").write_text("")  # where 0.1.0 wrote it
    for folder in (tmp_path / "m", tmp_path / "m" / "checkpoint"):
        (folder / ".train.toml.abc_123z.tmp").write_text("")
    (tmp_path / "m" / "checkpoint" / "train.toml").write_text("")
    code, _, err = call("train", "airline", "--max-epochs", 1, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert not [path for path in (tmp_path / "m").iterdir() if path.name.startswith(".")]
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / ".mine.tmp").write_text("")  # somebody's own
    assert call("train", "airline", "--max-epochs", 1, "--out", tmp_path / "n")[0] == 2
    assert call("train", "airline", "--max-epochs", 1, "--out", tmp_path / "n", "--force")[0] == 0
    assert (tmp_path / "n" / ".mine.tmp").exists()


MISTAKES = {
    "horzon = 3": "expected an option of `cellgate train`, got 'horzon'; did you mean 'horizon'?",
    "max_epoch = 3": "got 'max_epoch'; did you mean 'max-epochs'?",
    "xyz = 3": "got 'xyz'; known are",
    "[trian]\nhorizon = 3": "expected a table for a verb, got [trian]; did you mean [train]?",
    "seed = 1\n[train]\nhorizon = 3": "expected 'seed' in a table, as there are tables for verbs; put it under [train]",
    "wide = 1": "expected true or false for 'wide', got 1",
    "horizon = true": "expected a value for 'horizon', got true",
    "horizon = [1, 2]": "expected one value for 'horizon', got [1, 2]",
    "horizon = 'soon'": "Invalid value for '--horizon'",
    "horizon = 0": "(that is from the --config file)",
    "horizon = ": "expected TOML, got a mistake in it: ",
    "a.b = 3": "expected a table for a verb, got [a]",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_in_a_file(call, tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    code, out, err = call("train", "airline", "--out", tmp_path / "m", "--config", tmp_path / "c.toml")
    assert (code, out) == (2, "")
    assert MISTAKES[text] in err
    assert not (tmp_path / "m").exists()


def test_files_that_are_none(call, tmp_path):
    (tmp_path / "latin.toml").write_bytes("id = 'Größe'".encode("latin-1"))
    for arguments, message in (
        ((tmp_path / "none.toml",), "expected a TOML file, found none"),
        ((tmp_path,), "got a folder"),
        ((tmp_path / "latin.toml",), "expected TOML in UTF-8"),
        ((), "--config: expected a TOML file, got nothing after it"),
    ):
        code, _, err = call("check", "airline", "--config", *arguments)
        assert code == 2
        assert message in err


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.lists(TEXT), st.booleans()))
def test_what_is_written_is_read_back(value):
    assert tomllib.loads(f"x = {config._toml(value)}")["x"] == value


def test_the_file_in_the_documentation_is_right(call, tmp_path, monkeypatch):
    """It is of a table with the columns that the page names."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    (tmp_path / "options.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    days = [f"2024-{1 + k // 28:02}-{k % 28 + 1:02}" for k in range(80)]
    rows = [
        f"{shop},{day},{k % 7 + 1},{k % 5},{8 + k % 3},{'yes' if k % 7 == 6 else 'no'},{shop}land"
        for shop in ("north", "south")
        for k, day in enumerate(days)
    ]
    (tmp_path / "sales.csv").write_text("\n".join(["shop,day,sold,visitors,price,holiday,region", *rows]))
    code, out, err = call("check", "--config", "options.toml")
    assert (code, err) == (0, "")
    assert "columns  id = shop, time = day, value = sold" in out
    code, _, err = call("train", "--config", "options.toml", "--max-epochs", "1", "--out", "m")
    assert (code, err) == (0, "")


def test_the_data_of_a_config_are_the_table_of_a_backtest(call, tmp_path, monkeypatch):
    """They were taken for newer history of a model, and the table was said to be missing, or to be too much."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "options.toml"
    path.write_text('[backtest]\ndata = "airline"\nhorizon = 4\norigins = 2\nmax-epochs = 1\n')
    code, out, err = call("backtest", "--config", path)
    assert (code, err) == (0, "")
    assert "airline: 1 series" in out
    (tmp_path / "own.csv").write_text("\n".join(["ds,y", *(f"{k},{k % 6}" for k in range(60))]))
    code, out, _ = call("backtest", "own.csv", "--config", path)  # what is typed goes before the file
    assert code == 0
    assert "own.csv: 1 series" in out
    code, _, err = call("backtest", "own.csv", "--data", "airline")
    assert code == 2
    assert "--data: expected a model's folder before it, got a table" in err
    code, _, err = call("backtest")
    assert code == 2
    assert "expected a model's folder or a table, got none; name it: cellgate backtest sales.csv" in err
    # Of a model they are the history to go through.
    call("train", "airline", "--horizon", 4, "--max-epochs", 1, "--out", "model")
    path.write_text('[backtest]\ndata = "airline"\norigins = 2\n')
    assert call("backtest", "model", "--config", path)[0] == 0
