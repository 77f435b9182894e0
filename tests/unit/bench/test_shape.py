"""Shapes: how they are read and written, and how much work they are."""

import pytest
import torch
from torch import nn

from cellgate.bench import GRID, QUICK, Shape, cells_of, parse_shape
from cellgate.bench.grid import Cell
from cellgate.bench.limits import least_seconds
from cellgate.errors import InputError

LIMITS = {
    "threads": 2,
    "fma_f32": 100e9,
    "fma_f64": 50e9,
    "activations": 1e9,
    "read": {
        "L1": {"bytes": 48 << 10, "rate": 400e9},
        "L2": {"bytes": 1 << 20, "rate": 200e9},
        "DRAM": {"bytes": 1 << 62, "rate": 10e9},
    },
}


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("100,32,64,128", Shape(100, 32, 64, 128)),
        ("100,32,64,128,2,2,16", Shape(100, 32, 64, 128, 2, 2, 16)),
        ("T100 B32 I64 H128 L2 float64 ragged", Shape(100, 32, 64, 128, 2, dtype="float64", ragged=True)),
        ("t=5, b=1, i=0, h=3, resets", Shape(5, 1, 0, 3, reset=True)),
    ],
)
def test_shapes_are_read_as_people_write_them(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize("row", GRID, ids=lambda row: str(row.shape))
def test_a_label_reads_back_as_its_shape(row):
    assert parse_shape(str(row.shape)) == row.shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100,32,64", "expected T, B, I and H, got no H"),
        ("100,32,64,128,1,1,0,9", "at most 7"),
        ("T100 B32 I64 H128 purple", "got 'purple'"),
        ("100,32,64,128,1,3", "D: expected 1 or 2 directions, got 3"),
        ("T10 B2 I3 H4 P4", "P: expected less than H = 4, got 4"),
        ("0,1,1,1", "T: expected an integer of at least 1, got 0"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_with_the_reason(text, message):
    with pytest.raises(InputError, match=message):
        parse_shape(text)


def test_flops_are_those_of_the_products():
    shape = Shape(5, 3, 7, 11, L=2, D=2)
    lstm = nn.LSTM(7, 11, 2, bidirectional=True)
    multiply_adds = sum(w.numel() for name, w in lstm.named_parameters() if name.startswith("weight"))
    assert shape.flops() == 2 * multiply_adds * 5 * 3
    assert shape.flops(training=True) == 3 * shape.flops()


def test_ragged_lengths_spread_evenly_and_are_not_sorted():
    lengths = Shape(100, 32, 16, 64, ragged=True).lengths
    assert min(lengths) == 25
    assert max(lengths) == 100
    assert len(lengths) == 32
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)
    assert Shape(4, 1, 1, 1, ragged=True).lengths == [1]


def test_cells_survive_the_way_to_another_process():
    cells = cells_of(GRID, [2, 1], ["quiet", "busy"])
    assert len({cell.id for cell in cells}) == len(cells)
    assert [Cell.from_dict(cell.as_dict()) for cell in cells] == cells


def test_the_grid_has_every_row_that_was_promised():
    labels = {str(row.shape) for row in GRID}
    promised = """T100 B1 I32 H64; T30 B32 I8 H32; T36 B128 I1 H128 L2; T100 B32 I16 H64; T100 B32 I64 H128;
        T48 B64 I32 H128 L2; T784 B128 I1 H128; T35 B20 I200 H200 L2; T35 B20 I650 H650 L2; T100 B64 I512 H512;
        T3 B1 I20 H100; T3 B32 I20 H100; T3 B1 I20 H100 L2; T3 B32 I20 H100 L2; T3 B1 I20 H100 D2; T3 B32 I20 H100 D2;
        T1 B1 I128 H128; T1 B1 I512 H512; T1 B16 I512 H512; T100 B32 I16 H64 ragged; T100 B32 I16 H64 D2 ragged;
        T100 B32 I16 H64 P32; T100 B32 I16 H64 float64; T100 B32 I16 H64 bfloat16"""
    assert {" ".join(label.split()) for label in promised.split(";")} <= labels
    assert set(QUICK) <= set(GRID)
    assert len(QUICK) == 10


def test_the_limit_is_arithmetic_or_reading_and_activations_on_top():
    large = least_seconds(Shape(10, 64, 100, 100), "inference", LIMITS)
    assert large["bound"] == "arithmetic"
    assert large["seconds"] == pytest.approx(8 * 100 * 200 * 640 / 100e9 + 5 * 640 * 100 / 1e9)
    # One sequence: the recurrent weights, 160 KB, half a core each, come from L2 at every step.
    single = least_seconds(Shape(1000, 1, 1, 100), "inference", {**LIMITS, "fma_f32": 400e9})
    assert single["bound"] == "L2"
    assert single["seconds"] == pytest.approx((160e3 * 1000 + 1600) / 200e9 + 5 * 1000 * 100 / 1e9)
    assert least_seconds(Shape(2, 2, 2, 2, dtype="bfloat16"), "training", LIMITS) is None


def test_a_streamed_step_reads_all_weights_once():
    step = least_seconds(Shape(1, 1, 512, 512), "stream", LIMITS)
    assert step["bound"] == "DRAM"
    assert step["seconds"] == pytest.approx(4 * 512 * 1024 * 4 / 10e9 + 5 * 512 / 1e9)


def test_double_precision_has_its_own_peak():
    shape = Shape(10, 64, 100, 100, dtype="float64")
    expected = 8 * 100 * 200 * 640 / 50e9 + 2 * 5 * 640 * 100 / 1e9
    assert least_seconds(shape, "inference", LIMITS)["seconds"] == pytest.approx(expected)


def test_torch_knows_every_dtype_of_a_shape():
    for dtype in ("float32", "float64", "bfloat16"):
        assert getattr(torch, Shape(1, 1, 1, 1, dtype=dtype).dtype).is_floating_point
