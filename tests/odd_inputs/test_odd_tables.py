"""Every odd table is read as it should be, or refused in one line that names the file and what to do."""

import json
import math

import pytest
from tests.odd_inputs import files, times
from tests.odd_inputs.case import Odd

from cellgate.data import DataError, Roles, read_panel

TEXT = {**files.NO_TABLES, **files.DRESS, **files.NUMBERS, **times.TIMES, **times.SERIES}


def check(odd: Odd, tmp_path) -> None:
    path = tmp_path / odd.name
    path.write_bytes(odd.content)
    roles = Roles(**odd.options)
    if odd.refused:
        with pytest.raises(DataError) as caught:
            read_panel(path, roles)
        message = str(caught.value)
        assert odd.refused in message
        assert "\n" not in message
        assert odd.name in message or message.startswith("--")
        assert (
            ";" in message
            or "such as" in message
            or "which has" in message
            or "got none" in message
            or "empty file" in message
        )
        assert len(message) < 500
        return
    panel = read_panel(path, roles)
    assert odd.holds is not None
    assert odd.holds(panel), panel
    assert odd.noted in "\n".join(panel.notes)
    # What was read says itself, however odd.
    assert all("\n" not in label for label, _ in panel.summary())


@pytest.mark.parametrize("name", TEXT)
def test_an_odd_table(name, tmp_path):
    check(TEXT[name], tmp_path)


def test_odd_arrow_files(tmp_path, subtests):
    pytest.importorskip("pyarrow", reason="writes Parquet and Feather files to damage them")
    for name, odd in files.arrow_files().items():
        with subtests.test(name):
            check(odd, tmp_path)


@pytest.mark.parametrize("name", [name for name, odd in TEXT.items() if not odd.options])
def test_check_says_the_same_on_the_command_line(name, call, tmp_path):
    odd = TEXT[name]
    (tmp_path / odd.name).write_bytes(odd.content)
    code, out, err = call("check", tmp_path / odd.name)
    if odd.refused:
        assert (code, out) == (2, "")
        assert odd.refused in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    else:
        told = json.loads(call("check", tmp_path / odd.name, "--json")[1])
        assert told["series"][0]["steps"] > 0
        # Some are read well and are too short to learn from.
        assert (code, err) == (0 if told["usable"] else 2, "")
        assert bool(told["usable"]) == (max(series["steps"] for series in told["series"]) >= 4)


@pytest.mark.parametrize("name", times.TRAINABLE)
def test_a_training_survives_an_odd_series(name, call, tmp_path):
    (tmp_path / "t.csv").write_bytes(times.TRAINABLE[name])
    arguments = ("--horizon", 3, "--max-epochs", 2, "--seed", 1, "--json")
    code, out, err = call("train", tmp_path / "t.csv", "--out", tmp_path / "m", *arguments)
    assert (code, err) == (0, ""), out
    code, out, err = call("predict", tmp_path / "m", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["forecast"]
    for row in rows:
        low, middle, high = (row[f"cellgate{side}"] for side in ("-lo-90", "", "-hi-90"))
        assert all(value is not None and math.isfinite(value) for value in (low, middle, high)), row
        assert low <= middle <= high
