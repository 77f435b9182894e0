"""Ragged batches: PackedSequence as nn.LSTM takes it, and ``lengths=`` equal to it in values and gradients."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
import torch
from tests.parity.compare import (
    Case,
    Expected,
    assert_within,
    budget,
    dense_call,
    dense_inputs,
    measure,
    only,
    quiet_nn_lstm,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import cellgate

FLAGS = list(itertools.product((1, 2), (False, True), (False, True), (False, True), (False, True)))
LENGTHS = {
    "falling": [7, 5, 5, 2, 1],
    "shuffled": [2, 7, 1, 5, 5],
    "equal": [7, 7, 7, 7, 7],
    "short": [3, 1, 2, 3, 3],
}


def ragged_case(flags: tuple, dtype: torch.dtype = torch.float32, h: int = 17) -> Case:
    layers, batch_first, bidirectional, projected, hx = flags
    return Case(7, 5, 4, h, layers, True, batch_first, bidirectional, 5 if projected else 0, hx, dtype)


def packed_call(module: nn.Module, case: Case, lengths: list[int], *, enforce_sorted: bool = False):
    """Return a call over padded tensors that goes through a PackedSequence and comes back padded to T."""

    def call(x: Tensor, h0: Tensor | None = None, c0: Tensor | None = None):
        packed = pack_padded_sequence(x, torch.tensor(lengths), case.batch_first, enforce_sorted)
        output, (h_n, c_n) = module(packed, None if h0 is None else (h0, c0))
        assert isinstance(output, PackedSequence)
        for ours, theirs in zip(output[1:], packed[1:], strict=True):
            assert ours is theirs or torch.equal(ours, theirs)
        padded, back = pad_packed_sequence(output, case.batch_first, total_length=case.T)
        assert back.tolist() == lengths
        return {"output": padded, "h_n": h_n, "c_n": c_n}

    return call


def packed_truth(case: Case, lengths: list[int], device: str, **kwargs) -> Expected:
    numbers = []
    with quiet_nn_lstm():
        for dtype in (torch.float64, torch.float32):
            peer = case.peer(device, dtype)
            inputs = dense_inputs(case, device, dtype, case.I)
            numbers.append(measure(peer, packed_call(peer, case, lengths, **kwargs), inputs))
    return budget(*numbers, sum(lengths))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_packed_equals_nn_lstm(flags: tuple, lengths: list[int], backend: str, device: str):
    case = ragged_case(flags)
    ours = case.ours(device)
    with only(backend):
        got = measure(ours, packed_call(ours, case, lengths), dense_inputs(case, device, case.dtype, case.I))
    assert_within(got, packed_truth(case, lengths, device), case.dtype)


@pytest.mark.parametrize("flags", FLAGS[::5], ids=str)
def test_packed_sorted_by_the_caller(flags: tuple, backend: str, device: str, dtype: torch.dtype):
    case = ragged_case(flags, dtype)
    ours = case.ours(device, torch.float32).to(dtype)
    with only(backend):
        call = packed_call(ours, case, LENGTHS["falling"], enforce_sorted=True)
        got = measure(ours, call, dense_inputs(case, device, dtype, case.I))
    assert_within(got, packed_truth(case, LENGTHS["falling"], device, enforce_sorted=True), dtype)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_lengths_equal_packed(flags: tuple, lengths: list[int], backend: str, device: str):
    case = ragged_case(flags)
    ours = case.ours(device)
    with only(backend):
        got = measure(ours, dense_call(ours, lengths=lengths), dense_inputs(case, device, case.dtype, case.I))
    assert_within(got, packed_truth(case, lengths, device), case.dtype)


@pytest.mark.parametrize("flags", FLAGS[::5], ids=str)
def test_lengths_equal_packed_in_float64_and_other_sizes(flags: tuple, backend: str, device: str):
    for h in (1, 33, 100):
        case = ragged_case((*flags[:3], flags[3] and h > 5, flags[4]), torch.float64, h)
        ours = case.ours(device, torch.float32).double()
        with only(backend):
            inputs = dense_inputs(case, device, torch.float64, case.I)
            got = measure(ours, dense_call(ours, lengths=LENGTHS["shuffled"]), inputs)
        assert_within(got, packed_truth(case, LENGTHS["shuffled"], device), torch.float64)


@pytest.mark.parametrize("flags", FLAGS[::3], ids=str)
def test_empty_sequences_keep_their_state_and_touch_nothing_else(flags: tuple, backend: str, device: str):
    """nn.LSTM refuses length 0, so the rows that have steps are compared with a batch of their own."""
    case = ragged_case(flags)
    lengths = [0, 7, 0, 3, 1]
    some = [b for b, n in enumerate(lengths) if n]
    ours = case.ours(device)
    inputs = dense_inputs(case, device, case.dtype, case.I)
    tensors = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    with only(backend):
        values = dense_call(ours, lengths=lengths)(**tensors)
    output = values["output"] if not case.batch_first else values["output"].transpose(0, 1)
    assert torch.count_nonzero(output[:, [0, 2]]) == 0
    for got, start in (("h_n", "h0"), ("c_n", "c0")):
        want = tensors[start] if case.hx else torch.zeros_like(values[got])
        torch.testing.assert_close(values[got][:, [0, 2]], want[:, [0, 2]], rtol=0, atol=0)

    batch = 0 if case.batch_first else 1
    peer = case.peer(device)
    fewer = {k: v.index_select(batch if k == "x" else 1, torch.tensor(some, device=device)) for k, v in inputs.items()}
    with quiet_nn_lstm():
        want = packed_call(peer, case, [lengths[b] for b in some])(**fewer)
    for name, tensor in want.items():
        torch.testing.assert_close(
            values[name].index_select(batch if name == "output" else 1, torch.tensor(some)), tensor
        )

    (values["output"].sum() + values["h_n"].sum() + values["c_n"].sum()).backward()
    dx = tensors["x"].grad if not case.batch_first else tensors["x"].grad.transpose(0, 1)
    for b, n in enumerate(lengths):
        assert torch.count_nonzero(dx[n:, b]) == 0
        assert n == 0 or torch.count_nonzero(dx[:n, b]) > 0
    if case.hx:
        assert (tensors["h0"].grad[:, [0, 2]] == 1).all()
        assert (tensors["c0"].grad[:, [0, 2]] == 1).all()


def test_a_batch_of_nothing_but_empty_sequences(backend: str):
    lstm = cellgate.LSTM(3, 8, 2, bidirectional=True)
    h0, c0 = torch.randn(4, 2, 8, requires_grad=True), torch.randn(4, 2, 8, requires_grad=True)
    x = torch.full((5, 2, 3), float("nan"))
    with only(backend):
        output, (h_n, c_n) = lstm(x, (h0, c0), lengths=[0, 0])
    assert torch.equal(output, torch.zeros(5, 2, 16))
    assert torch.equal(h_n, h0)
    assert torch.equal(c_n, c0)
    (output.sum() + h_n.sum()).backward()  # as a training loop would, on whatever batch comes
    assert all(torch.count_nonzero(p.grad) == 0 for p in lstm.parameters() if p.grad is not None)
    with torch.no_grad():
        h_n.add_(1)
    assert not torch.equal(h_n, h0), "the final state must not share memory with the initial one"


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("padding", [float("nan"), float("inf"), -1e30])
def test_padding_may_hold_anything(padding: float, grad: bool, backend: str, device: str):
    case = Case(7, 5, 4, 17, 2, bidirectional=True)
    lengths = [2, 7, 0, 5, 5]
    ours = case.ours(device)
    clean = dense_inputs(case, device, case.dtype, case.I)
    dirty = {k: v.clone() for k, v in clean.items()}
    for b, n in enumerate(lengths):
        clean["x"][n:, b] = 0
        dirty["x"][n:, b] = padding
    call = dense_call(ours, lengths=lengths)
    with only(backend):
        if grad:
            want, got = measure(ours, call, clean), measure(ours, call, dirty)
        else:
            with torch.no_grad():
                want, got = call(**clean), call(**dirty)
    for name, tensor in want.items():
        assert got[name].isfinite().all(), name
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)


FORMS = {
    "list": lambda n: n,
    "tuple": tuple,
    "numpy": np.array,
    "numpy uint16": lambda n: np.array(n, np.uint16),
    "list of numpy": lambda n: [np.int32(k) for k in n],
    "list of tensors": lambda n: [torch.tensor(k) for k in n],
    "not contiguous": lambda n: torch.tensor([n, n]).T[:, 0],
    **{str(d): lambda n, d=d: torch.tensor(n, dtype=d) for d in (torch.uint8, torch.int8, torch.int16, torch.int32)},
    **{
        str(d): lambda n, d=d: torch.tensor(n, dtype=d) for d in (torch.int64, torch.uint16, torch.uint32, torch.uint64)
    },
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_lengths_in_any_form(form, backend: str, device: str):
    lstm = cellgate.LSTM(4, 6, device=device)
    x = torch.randn(7, 5, 4, device=device)
    want = lstm(x, lengths=torch.tensor(LENGTHS["shuffled"]))
    given = form(LENGTHS["shuffled"])
    with only(backend):
        got = lstm(x, lengths=given.to(device) if isinstance(given, Tensor) else given)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("form", [int, np.int64, torch.tensor, lambda n: [n], lambda n: torch.tensor([n])])
def test_length_of_an_unbatched_sequence(form, backend: str):
    lstm = cellgate.LSTM(4, 6, bidirectional=True)
    x = torch.randn(7, 4)
    with only(backend):
        output, (h_n, c_n) = lstm(x, lengths=form(5))
        want, (h_want, c_want) = lstm(x[:5])
    torch.testing.assert_close(output[:5], want)
    assert torch.count_nonzero(output[5:]) == 0
    torch.testing.assert_close((h_n, c_n), (h_want, c_want))


def test_the_order_of_sequences_does_not_matter(backend: str):
    lstm = cellgate.LSTM(4, 17, 2, bidirectional=True)
    x, lengths = torch.randn(7, 5, 4), torch.tensor(LENGTHS["shuffled"])
    order = torch.tensor([3, 0, 4, 1, 2])
    with only(backend):
        output, (h_n, c_n) = lstm(x, lengths=lengths)
        permuted, (h_permuted, c_permuted) = lstm(x[:, order], lengths=lengths[order])
    torch.testing.assert_close(permuted, output[:, order])
    torch.testing.assert_close(h_permuted, h_n[:, order])
    torch.testing.assert_close(c_permuted, c_n[:, order])


def test_each_sequence_is_as_alone(backend: str):
    """Whoever shares the batch, a sequence's numbers are its own."""
    lstm = cellgate.LSTM(4, 17, 2, bidirectional=True, batch_first=True)
    x = torch.randn(5, 7, 4)
    with only(backend):
        output, (h_n, _) = lstm(x, lengths=LENGTHS["shuffled"])
        for b, n in enumerate(LENGTHS["shuffled"]):
            alone, (h_alone, _) = lstm(x[b, :n])
            torch.testing.assert_close(output[b, :n], alone)
            torch.testing.assert_close(h_n[:, b], h_alone)


def test_packed_data_without_unsorted_indices(backend: str):
    """As older code builds it, from data and batch sizes alone."""
    lstm, peer = cellgate.LSTM(4, 6), nn.LSTM(4, 6)
    peer.load_state_dict(lstm.state_dict())
    packed = PackedSequence(torch.randn(6, 4), torch.tensor([3, 2, 1]))
    with only(backend):
        got = lstm(packed)
    torch.testing.assert_close(got, peer(packed))


def test_packed_data_whose_batch_sizes_end_in_zeros(backend: str):
    """nn.LSTM takes them: steps that no sequence reaches."""
    lstm, peer = cellgate.LSTM(4, 6, bidirectional=True), nn.LSTM(4, 6, bidirectional=True)
    peer.load_state_dict(lstm.state_dict())
    packed = PackedSequence(torch.randn(5, 4), torch.tensor([3, 2, 0, 0]))
    found = []
    for module in (lstm, peer):
        with only(backend) if module is lstm else contextlib.nullcontext():
            output, state = module(packed)
        assert output.batch_sizes.tolist() == [3, 2, 0, 0]
        found.append((output.data, state, torch.autograd.grad(output.data.square().sum(), list(module.parameters()))))
    torch.testing.assert_close(*found)
    for wrong in ([3, 2, -1], [0, 0], [3, 0, 2]):
        with pytest.raises(cellgate.ShapeError, match="batch_sizes fall from above 0"):
            lstm(PackedSequence(torch.randn(5, 4), torch.tensor(wrong)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("graph", [False, True], ids=["once", "recorded"])
@pytest.mark.parametrize("way", ["packed", "lengths", "reset", "both"])
@pytest.mark.parametrize("cell", ["lstm", "peephole"])
def test_what_the_caller_writes_after_forward_leaves_backward_alone(cell, way, graph, dtype):
    """Backward reads lengths, batch sizes and resets again."""
    lstm = cellgate.LSTM(4, 6, cell=cell, dtype=dtype)
    x, dy = torch.randn(5, 3, 4, dtype=dtype), torch.randn(5, 3, 6, dtype=dtype)

    def gradients(written: bool):
        lengths, reset = torch.tensor([5, 4, 2]), torch.eye(5, 3, dtype=torch.bool)
        if way == "packed":
            packed = pack_padded_sequence(x, lengths)
            output = lstm(packed)[0].data
            changed = packed.batch_sizes
        else:
            given = {"lengths": lengths} if way != "reset" else {}
            given |= {"reset": reset} if way != "lengths" else {}
            output, changed = lstm(x, **given)[0].flatten(0, 1), lengths
        if written:
            changed.fill_(1)
            reset.fill_(True)
        return torch.autograd.grad(output, list(lstm.parameters()), dy.flatten(0, 1)[: len(output)], create_graph=graph)

    for got, want in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(got, want)
