"""Every odd set of sequences, tagged file and text is read as it should be, or refused in one line."""

from pathlib import Path

import pytest
from tests.odd_inputs import sequences
from tests.odd_inputs.case import Odd

from cellgate.cli import check_sequences
from cellgate.data.text import read_text

KINDS = {"classify": {**sequences.TABLES, **sequences.ARRAYS}, "tag": sequences.TAGGED, "generate": sequences.TEXTS}
CASES = [(task, name) for task, odd in KINDS.items() for name in odd]


def read(task: str, path: Path, odd: Odd):
    if task == "generate":
        return read_text(path)
    return check_sequences.read(str(path), None, None, None, (), odd.options.get("wide", False), None)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_an_odd_input(call, tmp_path, task, name):
    odd = KINDS[task][name]
    path = tmp_path / odd.name
    path.write_bytes(odd.content)
    options = [f"--{option}" if value is True else f"--{option}={value}" for option, value in odd.options.items()]
    code, out, err = call("check", path, "--task", task, *options)
    if odd.refused:
        assert (code, out) == (2, "")
        assert odd.refused in err
        assert err.count("\n") == 1
        assert odd.name in err or err.startswith(("error: --", "error: steps"))
        return
    # Some texts are read well and are too short to learn from.
    short = task == "generate" and path.stat().st_size < 200
    assert (code, err) == (2 if short else 0, "")
    made = read(task, path, odd)
    assert odd.holds is not None
    assert odd.holds(made), made
    assert odd.noted in "\n".join(made.notes)
