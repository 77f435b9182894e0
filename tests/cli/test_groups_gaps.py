"""`cellgate train --group` and `--gaps`: whole groups are held out, times between steps are read, and it is said so."""

import json
import tomllib

import numpy as np
import pytest

import cellgate


def table(path, kind, users=8, first=0, each=6):
    random = np.random.default_rng(first)
    lines = ["user,case,step,x,label"]
    for k in range(users * each):
        x = random.normal(size=4)
        tags = [f"{'AB'[int(value > 0)]}" for value in x]
        label = {"classify": "ab"[k % 2], "regress": f"{x.sum():.3f}"}.get(kind)
        who = f"u{first + k // each}"
        lines += [f"{who},{who}c{k},{t},{v:.4f},{label or tag}" for t, (v, tag) in enumerate(zip(x, tags, strict=True))]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("kind", ["classify", "regress", "tag"])
def test_groups_are_held_out_whole_told_and_saved(kind, call, tmp_path):
    data, out = table(tmp_path / "d.csv", kind), tmp_path / "m"
    train = ("train", data, "--task", kind, "--group", "user", "--max-epochs", 1, "--hidden-size", 2)
    code, told, err = call(*train, "--out", out)
    assert (code, err) == (0, "")
    assert "columns   id = case, time = step, label = label, group = user\n" in told
    assert "groups    8 in user, of 6 sequences each: none is on both sides of a split\n" in told
    assert "held out  12 of 48 sequences in 2 of 8 groups, drawn" in told
    assert "reads     x\n" in told
    assert tomllib.loads((out / "train.toml").read_text())["train"]["group"] == "user"
    code, told, _ = call("train", "--config", out / "train.toml", "--out", tmp_path / "again", "--json")
    facts = json.loads(told)
    assert len(facts["groups"]["measured"]) == 2
    both = [*facts["groups"]["measured"], *facts["groups"]["learnt"]]
    assert sorted(both) == [f"u{k}" for k in range(8)]
    assert facts["metrics"]["sequences"] == 12
    assert cellgate.load(out).metrics_ == facts["metrics"]
    assert call("evaluate", out, data)[0] == 0


def test_groups_of_a_test_file_that_are_also_learnt_from_are_told(call, tmp_path):
    data = table(tmp_path / "d.csv", "classify")
    train = ("train", data, "--task", "classify", "--group", "user", "--max-epochs", 1, "--hidden-size", 2)
    table(tmp_path / "t.csv", "classify", 3, 6)
    _, told, _ = call(*train, "--test", tmp_path / "t.csv", "--out", tmp_path / "m")
    assert "t.csv; 2 of its 3 groups are also among those learnt from\n" in told
    table(tmp_path / "t.csv", "classify", 3, 8)
    _, told, _ = call(*train, "--test", tmp_path / "t.csv", "--out", tmp_path / "n")
    assert "t.csv\n" in told


def test_too_few_groups_are_refused_before_the_training(call, tmp_path):
    data = table(tmp_path / "d.csv", "classify", 2, each=30)
    train = ("train", data, "--task", "classify", "--group", "user", "--max-epochs", 1, "--out", tmp_path / "m")
    code, out, err = call(*train)
    assert (code, out) == (2, "")
    assert err == (
        "error: d.csv: expected 3 groups in 'user' or more, one to measure on, one to stop in time and one to learn "
        "from, got 2 (u0, u1); give more, or --holdout 0 or --validation 0\n"
    )
    assert not (tmp_path / "m").exists()
    assert call(*train, "--validation", 0)[0] == 0
    assert call(*train, "--holdout", 0, "--force")[0] == 0


def test_check_tells_of_groups(call, tmp_path):
    data = table(tmp_path / "d.csv", "classify")
    _, told, _ = call("check", data, "--task", "classify", "--group", "user")
    assert "groups   8 in user" in told
    assert "--group user --out model" in told
    _, told, _ = call("check", data, "--task", "classify", "--group", "user", "--json")
    assert json.loads(told)["columns"]["group"] == "user"
    code, _, err = call("check", data, "--task", "classify", "--group", "x1")
    assert (code, "--group x1: expected a column of d.csv" in err) == (2, True)


def test_gaps_are_echoed_saved_and_read_again(call, tmp_path):
    lines = ["id,t,x,label"]
    for k in range(40):
        lines += [f"c{k},{t},{(k * t) % 7},{'ab'[k % 2]}" for t in (1, 2, 4 + k, 90 + k)]
    data, out = tmp_path / "d.csv", tmp_path / "m"
    data.write_text("\n".join(lines))
    _, told, _ = call("check", data, "--task", "classify", "--gaps")
    assert "reads    x, gap in t\n" in told
    assert "--gaps --out model" in told
    assert "missing" not in told
    train = ("train", data, "--task", "classify", "--max-epochs", 1, "--hidden-size", 2)
    code, told, err = call(*train, "--gaps", "--out", out)
    assert (code, err) == (0, "")
    assert "reads     x, gap in t\n" in told
    assert tomllib.loads((out / "train.toml").read_text())["train"]["gaps"] is True
    assert cellgate.load(out).roles_.gap_unit == 1.0
    assert call("predict", out, "--data", data)[0] == 0
    _, told, _ = call(*train, "--out", tmp_path / "n")
    assert "only their order is read; --gaps" in told
