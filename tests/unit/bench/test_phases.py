"""Where the time goes: shares that make a whole, of phases that the work has, and reasons for goals that are missed."""

import copy
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from benchmarks import GRID_JSON, shortfalls
from benchmarks.goals import verdicts

from cellgate.backends import cpu
from cellgate.bench import Row, load, parse_shape
from cellgate.bench import phases as phases_module
from cellgate.bench.case import make_case
from cellgate.bench.contenders import line_up
from cellgate.bench.grid import Cell
from cellgate.bench.phases import PHASES, measure_phases

native_only = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core tells its phases")


def told(shape, mode, threads=2, contender="cellgate"):
    row = Row(parse_shape(shape), "", (mode,), keep=True)
    case = make_case(row)
    with torch.set_grad_enabled(mode == "training"):
        contenders, _ = line_up(case, Cell(row, mode, threads, "quiet"))
        return measure_phases(next(c for c in contenders if c.name == contender), threads, seconds=0.0)


@native_only
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("shape", "mode", "contender", "phases"),
    [
        ("T9 B24 I40 H48", "inference", "cellgate", {"products", "cells", "weights"}),
        ("T9 B16 I200 H200 L2", "inference", "cellgate", {"products", "cells", "weights", "input"}),
        ("T9 B24 I40 H48 L2", "training", "cellgate", {"products", "cells", "dx", "dweights"}),
        ("T9 B24 I40 H48 D2 P8", "training", "cellgate", {"products", "cells", "dx", "dweights"}),
        ("T9 B24 I40 H48 float64", "training", "cellgate minimal", {"products", "cells", "again", "dx", "dweights"}),
        ("T1 B1 I16 H16", "stream", "cellgate", {"products", "cells"}),
    ],
)
def test_shares_make_a_whole_of_what_the_work_has(shape, mode, contender, phases, threads):
    found = told(shape, mode, threads, contender)
    assert found is not None
    assert set(found) <= set(PHASES)
    assert phases <= set(found)
    assert ("again" in found) == ("again" in phases)
    assert ("dweights" in found) == (mode == "training")
    assert sum(found.values()) == pytest.approx(1.0)
    assert all(0 < share <= 1 for share in found.values())


def test_calls_during_which_something_else_happened_do_not_count(monkeypatch):
    told = [(10, {"products": 8}), (500, {"products": 8}), (12, {"products": 9}), (900, {"products": 9})]
    calls = []

    class Core:
        begin_phases = staticmethod(lambda: None)
        end_phases = staticmethod(lambda: told[len(calls) - 1])

    contender = type("Contender", (), {"between": None, "call": staticmethod(lambda: calls.append(1))})
    monkeypatch.setattr(phases_module, "native_core", lambda: Core)
    monkeypatch.setattr(phases_module.time, "perf_counter", lambda: float(len(calls)))
    found = measure_phases(contender, 1, seconds=4.0)
    assert len(calls) == 4
    assert found == pytest.approx({"products": 17 / 22, "outside": 5 / 22})


@native_only
def test_nothing_is_told_unless_asked():
    native = cpu.native()
    native.begin_phases()
    native.end_phases()
    lstm = __import__("cellgate").LSTM(8, 8)
    lstm(torch.randn(5, 4, 8))
    elapsed, at = native.end_phases()
    assert elapsed > 0
    assert not any(at.values())


@native_only
def test_telling_changes_no_bit():
    import cellgate

    torch.manual_seed(0)
    lstm, x = cellgate.LSTM(33, 47, 2), torch.randn(20, 24, 33)
    want = lstm(x)[0]
    cpu.native().begin_phases()
    try:
        got = lstm(x)[0]
    finally:
        cpu.native().end_phases()
    assert torch.equal(got, want)


@native_only
def test_what_was_under_way_when_telling_ended_does_not_count_later():
    import cellgate

    native, before = cpu.native(), torch.get_num_threads()
    torch.set_num_threads(1)
    lstm, long, short = cellgate.LSTM(64, 256), torch.randn(4000, 32, 64), torch.randn(2, 4, 64)
    with torch.no_grad(), ThreadPoolExecutor(1) as other:
        try:
            native.begin_phases()
            call = other.submit(torch.no_grad()(lstm), long)
            time.sleep(0.05)
            _, at = native.end_phases()
            assert not call.done()
            assert at["products"] > 0
            call.result()
            time.sleep(0.3)
            native.begin_phases()
            other.submit(torch.no_grad()(lstm), short).result()
            elapsed, at = native.end_phases()
        finally:
            torch.set_num_threads(before)
    assert 0 < sum(at.values()) <= elapsed


def test_a_peer_has_no_phases():
    assert told("T9 B24 I40 H48", "inference", contender="nn.LSTM") is None


@pytest.fixture(scope="module")
def recorded():
    return load(GRID_JSON)


def numbers(text):
    return [float(value) for value in re.findall(r"\d+(?:\.\d+)?", text)]


def test_every_missed_goal_has_a_reason_and_no_other(recorded):
    document = copy.deepcopy(recorded)
    for record in document["cells"]:
        record.setdefault("phases", {"products": 0.9, "cells": 0.1})
    missed = [v.goal for v in verdicts(document) if v.met is False]
    text = shortfalls.section(document, None)
    for beginning, title in (
        ("a streamed step, times nn.LSTM", "**A streamed step beside nn.LSTM.**"),
        ("inference, share of the FMA peak", "**Inference below"),
        ("training, share of the FMA peak", "**Training below"),
        ("training, times nn.LSTM, every", "**Training beside nn.LSTM"),
        ("three trainings side by side", "**Three trainings side by side.**"),
    ):
        assert any(goal.startswith(beginning) for goal in missed) == (title in text)


def test_the_most_that_a_stream_can_reach_is_its_peer_over_the_machine(recorded):
    document = copy.deepcopy(recorded)
    streams = [r for r in document["cells"] if (r["mode"], r["threads"], r["load"]) == ("stream", 2, "quiet")]
    for record in streams:
        record["times"]["nn.LSTM"]["median"] = 40e-6
        record["limit"] = {"seconds": 5e-6, "bound": "L2"}
        record["ratios"]["cellgate"]["nn.LSTM"]["ratio"] = 4.0
    text = shortfalls.section(document, None)
    assert text.count("| 4.0 | 8.0 | reading the weights from L2 |") == len(streams) > 0
    assert "Geometric mean of the most: 8.0" in text
    for record in streams:
        record["ratios"]["cellgate"]["nn.LSTM"]["ratio"] = 16.0
    assert "A streamed step" not in shortfalls.section(document, None)


def test_shares_of_the_peak_are_taken_apart(recorded):
    document = copy.deepcopy(recorded)
    quiet = [r for r in document["cells"] if (r["mode"], r["threads"], r["load"]) == ("training", 2, "quiet")]
    for record in quiet:
        record["share"] = {"cellgate": 0.6, "nn.LSTM": 0.5}
        record["phases"] = {"products": 0.5, "dweights": 0.3, "cells": 0.1, "waiting": 0.04, "outside": 0.06}
    text = shortfalls.section(document, None)
    lines = text[text.index("**Training below") :].splitlines()
    line = next(line for line in lines if line.startswith("| T784 B128 I1 H128 |"))
    # 0.6 / 0.8, 0.6 / 0.9, 0.6 / (0.2 + 0.6)
    assert numbers(line.split("H128 |")[1]) == [60, 80, 10, 4, 0, 6, 75, 67, 75]
