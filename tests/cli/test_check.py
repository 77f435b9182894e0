"""`cellgate check`: what it says of good, odd and broken tables."""

import json
import shlex

import pytest


def test_a_good_table(call):
    code, out, err = call("check", "airline")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "data     airline: 1 series, 144 steps, monthly, 1949-01-01 to 1960-12-01",
        "columns  time = Month, value = #Passengers",
        "season   12 steps",
        "usable   yes: cellgate train airline --out model",
    ]


def test_what_is_odd_is_said_by_name(call, tmp_path):
    rows = [("ds", "still", "gappy", "spike", "good")]
    for d in range(1, 29):
        gappy = "" if d % 3 == 0 or d == 28 else d % 7 + 1
        rows.append((f"2024-01-{d:02}", 5, gappy, 10_000 if d == 9 else d % 7 + 1, d % 7 + 1))
    path = tmp_path / "d.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    code, out, _ = call("check", path, "--wide")
    assert code == 0
    assert "1 of 4 series that never change: predicted as they are (still)" in out
    assert "1 of 4 series with a tenth or more of the values missing (gappy)" in out
    assert "1 of 4 series ending without a value: the forecast starts from a filled-in one (gappy)" in out
    assert "1 of 4 series with values more than ten usual spreads away: check for wrong units (spike)" in out
    assert "good" not in out.split("odd")[1]
    told = json.loads(call("check", path, "--wide", "--json")[1])
    assert told["series"][1] == {"id": "gappy", "start": "2024-01-01", "end": "2024-01-28", "steps": 28, "missing": 10}
    assert len(told["odd"]) == 4


def test_a_broken_table(call, tmp_path):
    (tmp_path / "d.csv").write_text("ds,y\n2024-01-01,1\n2024-01-01,2\n")
    code, out, err = call("check", tmp_path / "d.csv")
    assert (code, out) == (2, "")
    assert err.startswith("error: d.csv, line 3: expected each time once, got 2024-01-01 again (first at line 2)")


def test_a_name_with_a_comma_is_quoted_as_in_csv(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{k},{k % 7},{k % 5},{k % 3}" for k in range(60)]
    (tmp_path / "d.csv").write_text("\n".join(['ds,y,"wind, gusts",sun', *rows]))
    code, out, _ = call("check", "d.csv", "--target", "y", "--past", '"wind, gusts",sun')
    assert code == 0
    assert "past     wind, gusts, sun: up to the last step" in out
    told = next(line for line in out.splitlines() if line.startswith("usable")).partition("yes: cellgate ")[2]
    assert call(*shlex.split(told), "--max-epochs", 1, "--hidden-size", 4)[0] == 0
    assert call("train", "--config", "model/train.toml", "--out", "again")[0] == 0


def test_columns_beside_the_target_are_looked_at(call, tmp_path):
    rows = [f"{shop},{k},{k % 7},{5},{k if k % 3 else ''},x" for shop in "ab" for k in range(30)]
    (tmp_path / "d.csv").write_text("\n".join(["unique_id,ds,y,still,gappy,kind", *rows]))
    options = ("--past", "still", "--future", "gappy", "--static", "kind")
    code, out, _ = call("check", tmp_path / "d.csv", *options)
    assert code == 0
    assert "past     still: up to the last step" in out
    assert "future   gappy: known for 0 steps after the last value" in out
    assert "still never changes: nothing can be learnt from it" in out
    assert "gappy is missing in 33% of the steps" in out
    assert "kind is the same in every series: nothing can be learnt from it" in out
    assert "no row after the last value says gappy: to predict, give them with --future-data" in out


def days(count, values=lambda k: k % 7 + 1):
    return [f"2024-{1 + k // 28:02}-{k % 28 + 1:02},{values(k)}" for k in range(count)]


@pytest.mark.parametrize("steps", [4, 5, 6, 9, 13, 14, 18, 24, 30])
def test_the_proposed_training_runs(call, tmp_path, monkeypatch, steps):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short one.csv").write_text("\n".join(["ds,y", *days(steps)]))
    told = json.loads(call("check", "short one.csv", "--json")[1])
    assert call(*shlex.split(told["usable"])[1:], "--max-epochs", 1)[0::2] == (0, "")
    assert any("too few for the usual horizon of 12" in line for line in told["odd"]) == (steps < 18)


def test_what_cannot_be_trained_on_is_not_usable(call, tmp_path):
    (tmp_path / "d.csv").write_text("\n".join(["ds,y", *days(3)]))
    code, out, err = call("check", tmp_path / "d.csv")
    assert (code, err) == (2, "")
    assert "data     d.csv: 1 series, 3 steps, daily" in out
    assert out.splitlines()[-1].startswith("usable   no: d.csv: expected a series of at least 4 steps")
    code, out, _ = call("check", tmp_path / "d.csv", "--json")
    assert (code, json.loads(out)["usable"]) == (2, None)
    assert "at least 4 steps" in json.loads(out)["why_not"]


def test_one_short_series_is_named_with_what_it_allows(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{shop},{day}" for shop, steps in (("north", 40), ("west", 5)) for day in days(steps)]
    (tmp_path / "d.csv").write_text("\n".join(["shop,ds,y", *rows]))
    code, out, _ = call("check", "d.csv")
    assert code == 0
    assert "series 'west' has 5 steps: too few for the usual horizon of 12 and as many held out; with the last 3" in out
    assert out.splitlines()[-1] == "usable   yes: cellgate train d.csv --horizon 3 --out model"
    assert call("train", "d.csv", "--horizon", 3, "--max-epochs", 1, "--out", "model")[0::2] == (0, "")


def test_the_proposed_command_has_the_options_that_were_typed(call, tmp_path):
    rows = [f"{day},{k},x" for k, day in enumerate(days(40))]
    (tmp_path / "d.csv").write_text("\n".join(["when,sold,temp,price", *rows]))
    options = ("--target", "sold", "--past", "temp", "--season", "7", "--time-format", "%Y-%m-%d")
    code, out, _ = call("check", tmp_path / "d.csv", *options)
    assert code == 0
    proposed = shlex.split(out.splitlines()[-1].partition("yes: ")[2])
    assert proposed[:3] == ["cellgate", "train", str(tmp_path / "d.csv")]
    assert sorted(proposed[3:]) == sorted([*options, "--out", "model"])


def test_short_series_alone_learn_no_season(call, tmp_path):
    (tmp_path / "d.csv").write_text("\n".join(["ds,y", *days(10)]))
    assert "1 of 1 series shorter than two seasons: none is learnt (y)" in call("check", tmp_path / "d.csv")[1]


def test_counts_of_one_are_singular(call, tmp_path):
    lines = ["ds,y", *days(28)]
    lines[10] = lines[10].partition(",")[0] + ","
    (tmp_path / "d.csv").write_text("\n".join(lines))
    assert "missing  1 step without a value: left out" in call("check", tmp_path / "d.csv")[1]


@pytest.mark.parametrize("kind", ["past", "future"])
def test_the_only_column_of_numbers_given_another_role(call, tmp_path, kind):
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(["ds,y,mood", *(f"2024-01-{k:02},{k % 6},fair" for k in range(1, 31))]))
    code, _, err = call("check", path, f"--{kind}", "y")
    assert code == 2
    assert f"expected a column of numbers to predict beside --{kind} y, found none; leave --{kind} out if 'y'" in err
