"""Every message that checks.py can give: expected, got, fix; and the classes that code in the wild catches."""

# ruff: noqa: E501 - a table of one case a line is read across

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import cellgate

X = torch.zeros(5, 3, 4)
H = torch.zeros(2, 3, 6)


def lstm(**kwargs) -> cellgate.LSTM:
    return cellgate.LSTM(4, 6, 2, **kwargs)


CALLS = [
    (lambda: lstm()(5), cellgate.DtypeError, "input: expected a Tensor or a PackedSequence, got int"),
    (lambda: lstm()(X[0, 0]), cellgate.ShapeError, r"input: expected \(T, B, I\) or unbatched \(T, I\), got 1-D \(4,\): add the feature"),
    (lambda: lstm(batch_first=True)(X[None]), cellgate.ShapeError, r"expected \(B, T, I\) or unbatched \(T, I\), got 4-D"),
    (lambda: lstm()(X[..., :3]), cellgate.ShapeError, r"input: expected 4 features in .*, got \(5, 3, 3\)"),
    (lambda: lstm()(X.movedim(-1, 0)), cellgate.ShapeError, r"got \(4, 5, 3\): the features must be the last dimension"),
    (lambda: lstm()(X.double()), cellgate.DtypeError, r"input: expected dtype torch.float32 .* got torch.float64: input.to\(torch.float32\), or model.to\(torch.float64\)"),
    (lambda: lstm()(X.to("meta")), cellgate.InputError, r"input: expected device cpu .* got meta: input.to\('cpu'\)"),
    (lambda: lstm()(X.to_sparse()), cellgate.InputError, r"expected a dense tensor, got layout torch.sparse_coo: use input.to_dense"),
    (lambda: lstm()(X, H), cellgate.ShapeError, r"hx: expected a pair \(h_0, c_0\), got one tensor \(2, 3, 6\): an LSTM has two states"),
    (lambda: lstm()(X, (H,)), cellgate.ShapeError, r"hx: expected a pair .* got tuple of 1"),
    (lambda: lstm()(X, (H, H.transpose(0, 1))), cellgate.ShapeError, r"hx\[1\]: expected \(2, 3, 6\), got \(3, 2, 6\): batch_first never applies to hx, pass hx\[1\].transpose"),
    (lambda: lstm()(X, (H[:, :2], H)), cellgate.ShapeError, r"hx\[0\]: expected \(2, 3, 6\), got \(2, 2, 6\): this input has batch 3"),
    (lambda: lstm()(X, (H[0], H)), cellgate.ShapeError, r"hx\[0\]: expected \(2, 3, 6\), got \(3, 6\): the input is batched, so the state must be too"),
    (lambda: lstm()(X[:, 0], (H, H)), cellgate.ShapeError, r"hx\[0\]: expected \(2, 6\), got \(2, 3, 6\): the input is unbatched"),
    (lambda: lstm()(X, (H.double(), H)), cellgate.DtypeError, r"hx\[0\]: expected dtype torch.float32 .* got torch.float64: hx\[0\].to\(input.dtype\)"),
    (lambda: lstm()(X, (H, H.to("meta"))), cellgate.InputError, r"hx\[1\]: expected device cpu .* got meta"),
    (lambda: cellgate.LSTM(4, [6, 5])(X, (H, H)), cellgate.InputError, r"hx\[0\]: expected 2 tensors, one a layer, because the layers differ in size, got one tensor \(2, 3, 6\)"),
    (lambda: lstm()(X, lengths=[1, 2]), cellgate.ShapeError, r"lengths: expected \(3,\), one length a sequence, got \(2,\)"),
    (lambda: lstm()(X, lengths=[1.0, 2.0, 3.0]), cellgate.DtypeError, r"lengths: expected integers, got torch.float32: a length counts steps, use lengths.long"),
    (lambda: lstm()(X, lengths=[1, 2, 6]), cellgate.InputError, r"lengths\[2\]: expected 0 to 5 \(the steps of the input\), got 6"),
    (lambda: lstm()(X, lengths=[1, -1, 5]), cellgate.InputError, r"lengths\[1\]: expected 0 to 5 .* got -1"),
    (lambda: lstm()(X, lengths="abc"), cellgate.DtypeError, "lengths: expected a list or tensor of 3 integers, got 'abc'"),
    (lambda: lstm()(X, reset=torch.zeros(5, 3)), cellgate.DtypeError, r"reset: expected dtype torch.bool, got torch.float32: use reset.bool"),
    (lambda: lstm()(X, reset=torch.zeros(3, 5).bool()), cellgate.ShapeError, r"reset: expected \(5, 3\), \(T, B\) as in the input, got \(3, 5\): reset has the layout of the input, pass reset.T"),
    (lambda: lstm()(X, reset=object()), cellgate.DtypeError, r"reset: expected a bool tensor of \(5, 3\), got <object"),
    (lambda: lstm()(pack_sequence([X[:, 0]]), lengths=[5]), cellgate.InputError, "lengths: expected None with a PackedSequence"),
    (lambda: lstm()(pack_sequence([X[:, 0]]), reset=torch.zeros(5, 1).bool()), cellgate.InputError, "reset: expected None with a PackedSequence"),
    (lambda: lstm()(PackedSequence(X[:, 0], torch.tensor([2, 2]))), cellgate.ShapeError, r"batch_sizes fall from above 0 and add up to its 5 rows, got \[2, 2\]: make it with"),
    (lambda: cellgate.LSTMCell(4, 6)(X), cellgate.ShapeError, r"input: expected \(B, I\) or unbatched \(I,\), got \(5, 3, 4\): a cell takes one step, use cellgate.LSTM"),
    (lambda: cellgate.LSTMCell(4, 6)(X[0], (H[0], H[0, :2])), cellgate.ShapeError, r"hx\[1\]: expected \(3, 6\), got \(2, 6\)"),
]  # fmt: skip


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(("call", "kind", "words"), CALLS, ids=[words[:40] for *_, words in CALLS])
def test_calls(call, kind, words, grad: bool):
    with torch.set_grad_enabled(grad), pytest.raises(cellgate.InputError, match=words) as caught:
        call()
    assert type(caught.value) is kind
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, TypeError) is (kind is cellgate.DtypeError)


CONSTRUCTORS = [
    ((-1, 6), {}, ValueError, "input_size: expected 0 or more, got -1"),
    ((4.0, 6), {}, TypeError, "input_size: expected an int, got float 4.0"),
    ((4, 0), {}, ValueError, "hidden_size: expected more than 0, got 0"),
    ((4, "6"), {}, TypeError, "hidden_size: expected an int, got str '6'"),
    ((4, []), {}, ValueError, "hidden_size: expected at least one layer, got an empty list"),
    ((4, [6, 3], 3), {}, ValueError, "hidden_size: expected 3 sizes because num_layers=3, got 2: leave num_layers out"),
    ((4, [6, 3]), {"proj_size": [2]}, ValueError, "expected lists of one length, got 2 and 1"),
    ((4, 6, 0), {}, ValueError, "num_layers: expected more than 0, got 0"),
    ((4, 6, 2.0), {}, TypeError, "num_layers: expected an int, got float 2.0"),
    ((4, 6, 2, 1), {}, TypeError, "bias: expected a bool, got int 1"),
    ((4, 6, 2, True, "no"), {}, TypeError, "batch_first: expected a bool, got str 'no'"),
    ((4, 6, 2), {"dropout": 1.5}, ValueError, r"dropout: expected a number in \[0, 1\], the probability of a zero, got 1.5"),
    ((4, 6, 2), {"dropout": True}, ValueError, "dropout: expected a number"),
    ((4, 6), {"proj_size": -1}, ValueError, r"proj_size: expected 0 \(no projection\) or more, got -1"),
    ((4, 6), {"proj_size": 6}, ValueError, "proj_size: expected less than hidden_size=6, got 6"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs", "kind", "words"), CONSTRUCTORS, ids=[w[:40] for *_, w in CONSTRUCTORS])
def test_constructors(args, kwargs, kind, words):
    with pytest.raises(cellgate.CellgateError, match=words) as caught:
        cellgate.LSTM(*args, **kwargs)
    assert isinstance(caught.value, kind)


@pytest.mark.parametrize("grad", [False, True])
def test_replaced_weights(grad: bool):
    for name, value, words in (
        ("weight_hh_l0", torch.zeros(2, 2), r"weight_hh_l0: expected \(24, 6\) by the sizes of the layer, got \(2, 2\)"),
        ("bias_hh_l1", torch.zeros(24).double(), "bias_hh_l1: expected dtype torch.float32 like weight_ih_l0, got torch.float64"),
        ("weight_ih_l1", torch.zeros(24, 6, device="meta"), "weight_ih_l1: expected device cpu like weight_ih_l0, got meta"),
    ):  # fmt: skip
        module = lstm()
        setattr(module, name, torch.nn.Parameter(value))
        with torch.set_grad_enabled(grad), pytest.raises(cellgate.InputError, match=words):
            module(X)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(
    "layer",
    [
        cellgate.LSTM(3, 4),
        cellgate.LSTMCell(3, 4),
        cellgate.convert(torch.nn.LSTM(3, 4)),
        cellgate.convert(torch.nn.LSTM(3, 4), keep_type=False),
        cellgate.convert(torch.nn.LSTMCell(3, 4)),
    ],
    ids=lambda layer: type(layer).__qualname__,
)
def test_scripting_is_refused_with_what_to_do(layer: torch.nn.Module) -> None:
    model = torch.nn.ModuleDict({"layer": layer})
    for one in (layer, model):
        with pytest.raises(cellgate.InputError, match=r"use cellgate\.revert\(model\) first"):
            torch.jit.script(one)


def test_a_stream_of_a_layer_without_numbers() -> None:
    stream = cellgate.LSTM(3, 4, device="meta").stream(2)
    assert stream.push(torch.empty(2, 3, device="meta")).shape == (2, 4)


@pytest.mark.parametrize("rows", [5, [True, False], "first", torch.tensor([0.5])], ids=repr)
def test_a_stream_has_no_such_rows(rows: object) -> None:
    stream = cellgate.LSTM(3, 4).stream(3)
    stream.push(torch.randn(3, 3))
    before = stream.state
    with pytest.raises(cellgate.InputError, match="rows: expected an index or a mask of 3 sequences"):
        stream.reset(rows=rows)
    assert torch.equal(stream.state[0], before[0])
