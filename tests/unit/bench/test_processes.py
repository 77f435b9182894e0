"""Measuring in other processes: the worker, its busy copies, a crash, a slice and its continuation, memory."""

import json
import os
import time
from pathlib import Path

import pytest

from cellgate.bench import Cell, Row, Shape, cells_of, new_document, run, validate
from cellgate.bench.machine import describe
from cellgate.bench.memory import measure_memory
from cellgate.bench.session import _Worker
from cellgate.bench.timing import Plan

SHORT = Plan(block=0.0005, rounds=1, seconds=0.0, patience=0.0, least=1, settle=0.0)
ROWS = [Row(Shape(4, 2, 3, 5), "tiny"), Row(Shape(3, 1, 2, 4), "smaller")]


@pytest.fixture(autouse=True)
def importable(environment, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])


@pytest.fixture
def environment():
    from pathlib import Path

    import cellgate

    source = str(Path(cellgate.__file__).parents[1])
    return {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}


def test_a_run_stops_at_its_budget_and_goes_on_where_it_stopped():
    document, cells, steps = new_document(describe()), cells_of(ROWS, [1]), []
    first = run(cells[:1], document, plan=SHORT)
    assert first == 0
    assert run(cells, document, plan=SHORT, budget=-1.0) == 3
    before = dict(document["cells"][0])
    left = run(cells, document, plan=SHORT, tell=lambda step, record: steps.append((step, record is not None)))
    assert left == 0
    assert [c["id"] for c in document["cells"]] == [c.id for c in cells]
    assert document["cells"][0]["times"] == before["times"]
    assert [step for step, done in steps if done] == [c.id for c in cells[1:]]
    assert [entry["threads"] for entry in document["limits"]] == [1]
    assert all(record["share"] and record["limit"]["seconds"] > 0 for record in document["cells"])
    validate(document)


def test_a_busy_cell_is_timed_beside_two_copies():
    document = new_document(describe())
    assert run([Cell(ROWS[0], "training", 1, "busy"), Cell(ROWS[1], "inference", 1, "busy")], document) == 0
    assert all("nn.LSTM" in record["times"] for record in document["cells"]), document["cells"]
    validate(document)


def test_a_worker_that_dies_costs_one_cell(monkeypatch):
    document, told = new_document(describe()), []
    honest = _Worker.measure

    def deadly(self, cell, plan):
        if cell.mode == "inference":
            self._process.kill()
        return honest(self, cell, plan)

    monkeypatch.setattr(_Worker, "measure", deadly)
    run(cells_of(ROWS[:1], [1]), document, plan=SHORT, tell=lambda step, record: told.append(record))
    killed, timed = document["cells"]
    assert "ended with -9" in killed["red"]
    assert "times" in timed
    validate(document)


def test_an_exception_in_a_cell_makes_it_red():
    row = Row(Shape(4, 2, 3, 5), "missing", weights=os.path.join(os.sep, "no", "such", "model.pt"), prefix="lstm")
    document = new_document(describe())
    run([Cell(row, "inference", 1)], document, plan=SHORT)
    assert "FileNotFoundError" in document["cells"][0]["red"]


@pytest.mark.parametrize("name", ["cellgate", "nn.LSTM"])
def test_memory_grows_by_at_least_what_backward_needs(name):
    entry = measure_memory(name, Shape(400, 16, 32, 64), threads=1)
    # The output and the cells alone are two floats for each of T*B*H.
    assert entry["floats"] > 2.0
    assert entry["bytes"] == pytest.approx(entry["floats"] * 4 * 400 * 16 * 64)
    json.dumps(entry)


def test_closing_a_worker_leaves_no_process():
    worker = _Worker(1)
    pid = worker._process.pid
    worker.close()
    time.sleep(0.01)
    assert worker._process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process alone")
def test_memory_is_not_that_of_the_process_which_asked():
    large = bytearray(1 << 29)
    large[:: 1 << 12] = b"x" * (1 << 17)  # every page of it, more than a child ever has
    del large
    assert measure_memory("cellgate", Shape(20, 4, 8, 8), threads=1)["bytes"] < 100 << 20
