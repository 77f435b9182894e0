"""`cellgate check` on other data than series: labelled sequences, arrays, texts; told by the data or by --task."""

import json

import numpy as np
import pytest


@pytest.fixture
def gestures(tmp_path):
    lines = ["case,step,x,still,label"]
    for case in range(30):
        lines += [f"{case},{step},{np.sin(case + step):.3f},1,{'ABa'[case % 3]}" for step in range(5 + case % 3)]
    (tmp_path / "g.csv").write_text("\n".join(lines))
    return tmp_path / "g.csv"


def test_a_table_of_labelled_sequences_is_known_for_one(call, gestures):
    for more in ((), ("--task", "classify")):
        code, out, err = call("check", gestures, *more)
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "data     g.csv: 30 sequences of 5 to 7 steps",
            "reads    x, still",
            "columns  id = case, time = step, label = label",
            "labels   3 different: A (10), B (10), a (10)",
            "odd      still is 1 throughout: nothing can be learnt from it",
            "         'A' and 'a' differ in case or spaces only: one class, or two?",
            f"usable   yes: cellgate train {gestures} --task classify --out model",
        ]


def test_what_the_training_refuses_of_the_features_is_not_usable(call, tmp_path):
    lines = [f"{k // 4},{k % 4},remark {k},{'ab'[k // 4 % 2]}" for k in range(160)]
    (tmp_path / "r.csv").write_text("id,t,remark,label\n" + "\n".join(lines))
    code, out, err = call("check", tmp_path / "r.csv", "--task", "classify")
    assert (code, err) == (2, "")
    told = "r.csv: expected at most 100 different words in 'remark', got 160; name the other columns with --features"
    assert f"usable   no: {told}" in out
    code, _, err = call("train", tmp_path / "r.csv", "--task", "classify", "--out", tmp_path / "m")
    assert code == 2
    assert "100 different words in 'remark'" in err


def test_values_far_off_all_others_are_told(call, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6, 2))
    x[7, 2, 1] = 9e20
    np.savez(tmp_path / "a.npz", X=x, y=np.arange(40) % 2)
    odd = json.loads(call("check", tmp_path / "a.npz", "--json")[1])["odd"]
    assert odd == ["x1 has 1 value far off all others, such as 9e+20: no measure?"]
    y = np.random.default_rng(1).normal(size=40)
    y[3] = -1e9
    np.savez(tmp_path / "b.npz", X=np.clip(x, -9, 9), y=y)
    odd = json.loads(call("check", tmp_path / "b.npz", "--task", "regress", "--json")[1])["odd"]
    assert odd == ["1 label far off all others, such as -1e+09: answers will be, too"]


def test_arrays(call, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6, 2))
    x[7] = x[3]
    x[:, :, 1][x[:, :, 0] > 0] = np.nan
    np.savez(tmp_path / "a.npz", X=x, y=np.array(["yes"] * 38 + ["no"] * 2))
    told = json.loads(call("check", tmp_path / "a.npz", "--json")[1])
    assert (told["task"], told["sequences"], told["features"]) == ("classify", 40, ["x0", "x1"])
    assert told["labels"] == {"no": 2, "yes": 38}
    odd = "\n".join(told["odd"])
    assert "x1 is missing in" in odd
    assert "95% of the labels are 'yes': accuracy says little" in odd
    assert "1 of 2 classes have fewer than 5 examples (no)" in odd
    assert "1 sequence is there more than once" in odd


def test_numbers_as_labels_are_for_regression(call, tmp_path):
    np.savez(tmp_path / "a.npz", X=np.arange(60.0).reshape(10, 6), y=np.linspace(0, 1, 10))
    out = call("check", tmp_path / "a.npz")[1]
    assert "labels  numbers from 0 to 1" in out
    assert "--task regress --out model" in out


def test_a_text(call, tmp_path):
    (tmp_path / "t.txt").write_text("To be, or not to be.\n" * 40 + "x" * 12_000)
    code, out, _ = call("check", tmp_path / "t.txt")
    assert code == 0
    assert "data    t.txt: 12,840 characters, 41 lines" in out
    assert "reads   12,840 characters, 12 different" in out
    assert "odd     the longest line has 12,000 characters: is it plain text?" in out
    told = json.loads(call("check", tmp_path / "t.txt", "--task", "generate", "--units", "words", "--json")[1])
    assert (told["units"], told["task"]) == ("words", "generate")
    assert told["tokens"] == 9 * 40 + 1
    assert "361 words are few" in told["odd"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("g.csv", "--task", "clasify"),
            "expected one of forecast, classify, regress, tag, generate, got 'clasify'",
        ),
        (("g.csv", "--task", "forecast"), "expected one column of numbers to predict, found 3"),
        (("g.csv", "--task", "classify", "--target", "moon"), "expected a column of labels"),
        (("none.npz",), "expected a file, found none"),
        (("none.txt",), "none.txt: expected a file, found none"),
        (("none.txt", "--task", "generate"), "none.txt: expected a text file, found none"),
    ],
)
def test_what_is_not_usable(call, gestures, monkeypatch, arguments, message):
    monkeypatch.chdir(gestures.parent)
    code, out, err = call("check", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def write_labelled(path, columns, label):
    lines = [f"id,t,{columns},label"]
    for case in range(12):
        lines += [f"{case},{step},{case + step},{step},{label(case)}" for step in range(30)]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("columns", ["x,y", "x,z"])
def test_a_column_of_labels_makes_sequences_whatever_the_others_are_called(call, tmp_path, columns):
    path = write_labelled(tmp_path / "d.csv", columns, lambda case: "ab"[case % 2])
    told = json.loads(call("check", path, "--json")[1])
    assert (told["task"], told["sequences"], told["features"]) == ("classify", 12, columns.split(","))
    told = json.loads(call("check", path, "--json", "--task", "forecast", "--target", columns[-1])[1])
    assert (told["task"], len(told["series"])) == ("forecast", 12)


def test_labels_that_cannot_be_learnt_are_not_usable(call, tmp_path):
    path = write_labelled(tmp_path / "d.csv", "x,z", lambda case: "a")
    code, out, err = call("check", path, "--task", "classify")
    assert (code, err) == (2, "")
    assert out.splitlines()[-1].startswith("usable   no: expected two classes or more, got 1 class ('a')")
    code, out, _ = call("check", path, "--task", "regress", "--json")
    assert code == 2
    assert "expected numbers as labels, got words" in json.loads(out)["why_not"]


def test_the_proposed_command_keeps_the_options(call, gestures):
    code, out, _ = call("check", gestures, "--task", "classify", "--id", "case", "--features", "x")
    assert code == 0
    assert out.splitlines()[-1].endswith(f"train {gestures} --task classify --id case --features x --out model")


@pytest.mark.parametrize(("length", "ending"), [(240, "--task generate --out model"), (215, "--holdout 0 --out model")])
def test_a_short_text_is_usable_as_far_as_it_can_be_trained_on(call, tmp_path, monkeypatch, length, ending):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("To be, or not to be. " * 50)
    (tmp_path / "t.txt").write_text((tmp_path / "t.txt").read_text()[:length])
    out = call("check", "t.txt", "--task", "generate")[1]
    assert out.splitlines()[-1].endswith(ending)
    command = out.splitlines()[-1].partition("cellgate ")[2].split()
    assert call(*command, "--max-epochs", 1)[0::2] == (0, "")


def test_a_text_too_short_to_learn_is_not_usable(call, tmp_path):
    (tmp_path / "t.txt").write_text("To be.")
    code, out, err = call("check", tmp_path / "t.txt", "--task", "generate")
    assert (code, err) == (2, "")
    assert "usable  no: t.txt: expected 200 characters or more to learn, got 6" in out
