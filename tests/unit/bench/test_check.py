"""Every contender computes the same thing, and one that does not is found and not timed."""

import dataclasses

import pytest
import torch

from cellgate.bench import Cell, Row, Shape
from cellgate.bench.case import make_case
from cellgate.bench.check import Red, check, error_of
from cellgate.bench.contenders import OURS, line_up
from cellgate.bench.measure import measure
from cellgate.bench.timing import Plan

# A remark of nn.LSTM about itself, once a process, that it takes the slow way.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

SHORT = Plan(block=0.0005, rounds=1, seconds=0.0, patience=0.0, least=1, settle=0.0)
SHAPES = [
    Shape(6, 3, 5, 8),
    Shape(5, 1, 2, 17, L=2),
    Shape(4, 2, 3, 6, L=2, D=2),
    Shape(7, 4, 3, 6, bias=False),
    Shape(9, 5, 3, 6, ragged=True),
    Shape(9, 5, 3, 6, L=2, D=2, ragged=True),
    Shape(6, 3, 4, 8, P=3),
    Shape(6, 3, 4, 8, dtype="float64"),
    Shape(6, 3, 4, 8, dtype="bfloat16"),
    Shape(12, 3, 4, 8, D=2, reset=True),
]


# nn.LSTM itself is a contender, and announces once that it is slow with projections.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_contenders_agree(shape, mode):
    cell = Cell(Row(shape, "test", loop=True, keep=True), mode, 1)
    case = make_case(cell.row)
    contenders, absent = line_up(case, cell)
    assert contenders[0].name == OURS
    report = check(case, mode, contenders)
    assert set(report) == {contender.name for contender in contenders}
    assert not set(report) & set(absent)
    assert all(found["error"] <= found["bound"] for found in report.values())


@pytest.mark.parametrize("shape", [Shape(1, 1, 4, 8), Shape(1, 3, 4, 8, L=2)], ids=str)
def test_all_streams_agree(shape):
    cell = Cell(Row(shape, "test", ("stream",)), "stream", 1)
    case = make_case(cell.row)
    contenders, _ = line_up(case, cell)
    assert {OURS, "nn.LSTM"} <= set(check(case, "stream", contenders))


def spoil(contender, key, amount):
    """The same contender with one number of one result moved by a part of the largest."""

    def read(honest=contender.read):
        results = honest()
        value = results[key].clone()
        value.view(-1)[0] += amount * value.abs().max()
        return {**results, key: value}

    return dataclasses.replace(contender, read=read)


@pytest.mark.parametrize("key", ["output", "dx", "dweight_ih_l0", "dweight_hh_l0", "dbias_ih_l0", "dbias_hh_l0"])
def test_one_wrong_number_in_any_result_is_red(key):
    cell = Cell(Row(Shape(6, 3, 5, 8), "test"), "training", 1)
    case = make_case(cell.row)
    contenders, _ = line_up(case, cell)
    spoiled = [spoil(contenders[0], key, 1e-4), *contenders[1:]]
    with pytest.raises(Red, match=f"{OURS}: {key} deviates by"):
        check(case, "training", spoiled)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_red(value):
    cell = Cell(Row(Shape(6, 3, 5, 8), "test"), "inference", 1)
    case = make_case(cell.row)
    contenders, _ = line_up(case, cell)
    with pytest.raises(Red, match="output deviates by inf"):
        check(case, "inference", [contenders[0], spoil(contenders[1], "output", value)])


def test_a_missing_result_is_red():
    cell = Cell(Row(Shape(6, 3, 5, 8), "test"), "training", 1)
    case = make_case(cell.row)
    contenders, _ = line_up(case, cell)
    without = dataclasses.replace(contenders[0], read=lambda: {"output": contenders[0].read()["output"]})
    with pytest.raises(Red, match="expected a result named dx"):
        check(case, "training", [without, *contenders[1:]])


def test_nothing_is_timed_after_a_red_check(monkeypatch):
    calls = []

    def wrong(case, cell):
        contenders, absent = line_up(case, cell)
        spoiled = dataclasses.replace(spoil(contenders[0], "output", 1e-3), call=lambda: calls.append(1))
        return [spoiled, *contenders[1:]], absent

    monkeypatch.setattr("cellgate.bench.measure.line_up", wrong)
    cell = Cell(Row(Shape(6, 3, 5, 8), "test"), "inference", 1)
    record = measure(cell, make_case(cell.row), SHORT)
    assert record["red"].startswith("cellgate: output deviates by")
    assert not {"times", "ratios"} & set(record)
    assert not calls


def test_a_green_cell_has_times_and_ratios_of_every_peer():
    cell = Cell(Row(Shape(6, 3, 5, 8), "test", loop=True), "inference", 1)
    record = measure(cell, make_case(cell.row), SHORT)
    assert set(record["times"]) == set(record["check"])
    assert set(record["ratios"][OURS]) == {name for name in record["times"] if not name.startswith(OURS)}
    assert {"nn.LSTM", "Python loop"} <= set(record["ratios"][OURS])
    assert record["backend"] in ("cpu", "aten")


def test_an_absent_peer_is_named_with_its_reason(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    cell = Cell(Row(Shape(6, 3, 5, 8), "test"), "inference", 1)
    _, absent = line_up(make_case(cell.row), cell)
    assert "pip install" in absent["onnxruntime"]


def test_the_same_seed_draws_the_same_case():
    row = Row(Shape(6, 3, 5, 8), "test")
    one, two = make_case(row), make_case(row)
    assert torch.equal(one.x, two.x)
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)


def test_error_is_relative_to_the_largest_and_infinite_for_another_shape():
    true = torch.tensor([1.0, -4.0], dtype=torch.float64)
    assert error_of(torch.tensor([1.0, -3.0]), true) == 0.25
    assert error_of(torch.tensor([1.0]), true) == float("inf")
