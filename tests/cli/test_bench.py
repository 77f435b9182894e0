"""`cellgate bench` from the command line: its tables, its JSON, its refusals. No test here looks at a time."""

import json

import pytest
import torch
from torch import nn

from cellgate.bench import load, validate
from cellgate.bench.timing import Plan

SHORT = Plan(block=0.0005, rounds=1, seconds=0.0, patience=0.0, least=1, settle=0.0)


@pytest.fixture(autouse=True)
def _short(monkeypatch, environment):
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    monkeypatch.setattr("cellgate.bench.session.THOROUGH", SHORT)
    monkeypatch.setattr("cellgate.bench.session.QUICK_PLAN", SHORT)


def test_an_own_shape_makes_a_table(call):
    code, out, err = call("bench", "--config", "T6 B2 I3 H5", "--mode", "inference", "--mode", "training")
    assert code == 0, err
    assert "T6 B2 I3 H5" in out
    assert "vs nn.LSTM" in out
    assert "inference" in out
    assert "training" in out
    assert "limits with" in out
    assert "T6 B2 I3 H5 / inference" in err  # a line for every cell where there is no screen to draw on


def test_json_is_a_whole_document_and_nothing_else(call):
    code, out, _ = call("bench", "--config", "6,2,3,5", "--mode", "inference", "--json")
    assert code == 0
    document = json.loads(out)
    validate(document)
    (cell,) = document["cells"]
    assert cell["check"]["cellgate"]["error"] <= cell["check"]["cellgate"]["bound"]
    assert document["versions"]["torch"] == torch.__version__


def test_an_own_model_is_timed_with_its_own_weights(call, tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LSTM(4, 6, bidirectional=True)
            self.decoder = nn.LSTM(12, 5)

    torch.save(Model().state_dict(), tmp_path / "model.pt")
    code, out, err = call(
        "bench", "--mine", tmp_path / "model.pt", "--steps", 7, "--batch", 2, "--mode", "inference", "--json"
    )
    assert code == 0, err
    cells = json.loads(out)["cells"]
    assert [c["id"].split(" / ")[0] for c in cells] == ["encoder: T7 B2 I4 H6 D2", "decoder: T7 B2 I12 H5"]
    assert all("times" in c for c in cells)


def test_out_holds_the_run_and_resume_goes_on(call, tmp_path):
    first = ("--config", "6,2,3,5", "--mode", "inference", "--out", tmp_path)
    assert call("bench", *first)[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["bench.json"]
    code, _, err = call("bench", *first)
    assert code == 2
    assert "add --resume" in err
    assert call("bench", "--config", "6,2,3,5", "--mode", "training", "--out", tmp_path, "--resume")[0] == 0
    assert [c["mode"] for c in load(tmp_path / "bench.json")["cells"]] == ["inference", "training"]


def test_a_wrong_layer_leaves_with_an_error_and_without_a_time(call, monkeypatch):
    def wrong(self, cell, plan):
        return {**cell_head(cell), "red": "cellgate: output deviates by 1.00e-01 of its largest value"}

    def cell_head(cell):
        shape = cell.row.shape
        return {"id": cell.id, "row": str(shape), "title": "", "mode": cell.mode, "threads": cell.threads,
                "load": cell.load, "shape": shape.as_dict(), "absent": {}}  # fmt: skip

    monkeypatch.setattr("cellgate.bench.session._Worker.measure", wrong)
    code, out, err = call("bench", "--config", "6,2,3,5", "--mode", "inference")
    assert code == 1
    assert "WRONG" in out
    assert "not timed: cellgate: output deviates" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "6,2"), "expected T, B, I and H"),
        (("--config", "6,2,3,5", "--mode", "flying"), "--mode: expected one of"),
        (("--config", "T6 B2 I3 H5 D2", "--mode", "stream"), "expected one direction"),
        (("--resume",), "expected --out"),
        (("--mine", "no-such-file.pt"), "no-such-file.pt"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(call, arguments, message):
    code, _, err = call("bench", *arguments)
    assert code == 2
    assert message in err


def test_quick_is_the_quick_rows(call, monkeypatch):
    asked = []
    monkeypatch.setattr("cellgate.bench.session.run", lambda cells, *_, **__: asked.extend(cells) or 0)
    assert call("bench", "--quick", "--threads", "1", "--json")[0] == 0
    from cellgate.bench import QUICK

    assert {cell.row for cell in asked} == set(QUICK)
    assert {(cell.threads, cell.load) for cell in asked} == {(1, "quiet")}
