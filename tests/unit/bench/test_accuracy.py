"""The frame of the accuracy rows: what a row becomes, the section it is shown in, and what happens without the data."""

import json

import pytest
from benchmarks.accuracy import ROWS, __main__, find_row
from benchmarks.accuracy.row import Outcome, Row, data_file
from benchmarks.accuracy.table import BEGIN, END, put_section, section


def make(met=True, seconds=5.0):
    outcome = Outcome({"MASE": 0.5}, {"MASE": 1.25}, met, {"note": "read once"})
    return __main__.measure(Row("one", "some data", "MASE below 1", seconds, lambda: outcome))


def test_a_row_is_met_by_score_and_time():
    found = make()
    assert found["met"]
    assert found["origin"]["versions"]["torch"]
    assert not make(met=False)["met"]
    late = make(seconds=-1.0)
    assert late["score_met"]
    assert not late["time_met"]
    assert not late["met"]
    json.dumps(found)


def test_the_section_replaces_its_older_self_and_leaves_the_rest(tmp_path):
    page = tmp_path / "B.md"
    page.write_text("# Benchmarks\n\ntext\n")
    put_section(page, {"rows": {"one": make(met=False)}})
    once = page.read_text()
    assert "| some data | MASE below 1 | MASE 0.500 | MASE 1.250 |" in once
    assert "**no**" in once
    assert "- one: read once" in once
    page.write_text(once + "\n## After\n")
    put_section(page, {"rows": {"one": make()}})
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\ntext\n")
    assert text.count(BEGIN) == text.count(END) == 1
    assert "**no**" not in text
    assert text.rstrip().endswith("## After")


def test_other_tools_stand_below_the_rows_that_they_ran():
    ran = {"MASE": 0.75, "seconds": 9.6, "seconds_allowed": 10, "versions": {"tool": "1.2"}}
    peers = {"airline": {"tool": ran, "other": {"error": "no such file"}}, "m4-hourly": {"tool": ran}}
    text = section({"rows": {"airline": make()}}, peers)
    assert "| some data | cellgate | MASE 0.500 |" in text
    assert "| | tool 1.2 | MASE 0.750 | 10 (10) |" in text
    assert "| | other | failed: no such file | |" in text
    assert "Hourly" not in text
    assert "other tools" not in section({"rows": {"one": make()}}, peers)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_there_under_its_name(name):
    row = find_row(name)
    assert row.name == name
    assert row.seconds > 0


def test_a_row_without_its_data_is_left_out(monkeypatch, capsys):
    monkeypatch.delenv("CELLGATE_DATA", raising=False)
    assert data_file("taylor.csv") is None
    assert __main__.main(["taylor", "--dry"]) == 0
    assert "left out, expected taylor.csv in the folder that CELLGATE_DATA names" in capsys.readouterr().out


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["no-such-row"])
    assert "expected rows among" in capsys.readouterr().err


def test_the_stored_results_can_be_shown():
    from benchmarks.accuracy import ACCURACY_JSON

    if not ACCURACY_JSON.exists():
        pytest.skip("no accuracy row has been run into benchmarks/results yet")
    document = json.loads(ACCURACY_JSON.read_text())
    assert set(document["rows"]) <= set(ROWS)
    assert section(document).count("\n| ") == 2 + len(document["rows"])
