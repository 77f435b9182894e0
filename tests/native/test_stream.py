"""Streams and single steps against nn.LSTM on the whole sequence."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

import cellgate
from cellgate.errors import InputError, ShapeError

T, I, H = 9, 5, 37  # noqa: E741 - the letter of the input size, as everywhere
CASES = list(itertools.product((None, 1, 2, 7), (1, 3), (0, 11), ("auto", "aten")))


def whole(module: cellgate.LSTM, x: torch.Tensor, hx=None):
    """What nn.LSTM says of the sequence."""
    sizes = module.input_size, module.hidden_size, module.num_layers
    peer = torch.nn.LSTM(*sizes, proj_size=module.proj_size, dtype=x.dtype)
    peer.load_state_dict(module.state_dict())
    with torch.no_grad():
        return peer(x, hx)


def make(layers=1, proj=0, dtype=torch.float64, **kwargs):
    torch.manual_seed(7)
    return cellgate.LSTM(I, H, layers, proj_size=proj, dtype=dtype, **kwargs)


def data(batch, dtype=torch.float64, steps=T):
    return torch.randn(*((steps, I) if batch is None else (steps, batch, I)), dtype=dtype)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("batch", "layers", "proj", "backend"), CASES)
def test_pushed_steps_equal_the_whole_sequence(batch, layers, proj, backend):
    module = make(layers, proj)
    x = data(batch)
    output, state = whole(module, x)
    with cellgate.use_backend(backend):
        stream = module.stream(batch)
        first = torch.stack([stream.push(x_t) for x_t in x[:4]])
        rest = stream.push_many(x[4:])
    torch.testing.assert_close(torch.cat([first, rest]), output, rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(stream.state, state, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_steps_are_differentiable_and_equal_the_sequence():
    module = make(2)
    x = data(3)
    state, outputs = None, []
    for x_t in x:
        h, state = module.step(x_t, state)
        outputs.append(h)
    torch.stack(outputs).square().sum().backward()
    stepped = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    module(x)[0].square().sum().backward()
    for ours, theirs in zip(stepped, module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-9, atol=1e-11)


def test_arrays_in_arrays_out():
    module = make(dtype=torch.float32)
    x = data(None, torch.float32)
    stream = module.stream()
    h = stream.push(x[0].numpy())
    assert isinstance(h, np.ndarray)
    np.testing.assert_allclose(h, whole(module, x[:1])[0][0].numpy(), atol=1e-6)
    frozen = x[1].numpy().copy()
    frozen.flags.writeable = False
    stream.push(frozen)


def test_state_is_a_copy_and_can_be_set():
    module = make()
    x = data(3)
    stream = module.stream(3)
    stream.push_many(x[:5])
    kept = stream.state
    before = kept[0].clone()
    stream.push_many(x[5:])
    assert torch.equal(kept[0], before)
    assert not torch.equal(stream.state[0], before)
    stream.state = kept
    torch.testing.assert_close(stream.push_many(x[5:]), whole(module, x)[0][5:], rtol=1e-12, atol=1e-13)


def test_reset_of_single_rows():
    module = make()
    x = data(3)
    stream = module.stream(3)
    stream.push_many(x[:5])
    stream.reset(rows=[1])
    after = stream.push_many(x[5:])
    torch.testing.assert_close(after[:, 0], whole(module, x)[0][5:, 0], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(after[:, 1], whole(module, x[5:])[0][:, 1], rtol=1e-12, atol=1e-13)


def test_forks_go_separate_ways():
    module = make()
    x = data(3)
    stream = module.stream(3)
    stream.push_many(x[:5])
    other = stream.fork()
    other.push_many(torch.zeros_like(x))
    torch.testing.assert_close(stream.push_many(x[5:]), whole(module, x)[0][5:], rtol=1e-12, atol=1e-13)


def test_results_are_the_callers_own():
    module = make()
    stream = module.stream(3)
    first = stream.push(data(3)[0])
    kept = first.clone()
    stream.push(data(3)[0])
    assert torch.equal(first, kept)


LARGE = 400  # hidden units whose weights a stream packs even for one row


@pytest.mark.parametrize("batch", [None, 2])
def test_a_large_layer_is_read_packed(batch):
    module = make(dtype=torch.float32)
    large = cellgate.LSTM(I, LARGE, 2, dtype=torch.float32)
    assert module.stream(batch)._packed is None
    assert large.stream(batch)._packed is not None
    x = data(batch, torch.float32)
    with torch.no_grad():
        output, _ = large.double()(x.double())
    stream = large.float().stream(batch)
    torch.testing.assert_close(stream.push_many(x).double(), output, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch", "hidden"), [(1, H), (8, H), (1, LARGE)])
@pytest.mark.parametrize("change", ["optimiser", "load", "copy", "replace"])
def test_changed_weights_are_seen(batch, hidden, change):
    torch.manual_seed(7)
    module, x = cellgate.LSTM(I, hidden, dtype=torch.float64), data(batch)
    stream = module.stream(batch)
    stream.push(x[0])
    other = {k: torch.randn_like(v) * 0.3 for k, v in module.state_dict().items()}
    if change == "optimiser":
        module(x)[0].sum().backward()
        torch.optim.SGD(module.parameters(), 0.5).step()
    elif change == "load":
        module.load_state_dict(other)
    elif change == "copy":
        with torch.no_grad():
            module.weight_hh_l0.copy_(other["weight_hh_l0"])
    else:
        module.weight_hh_l0 = torch.nn.Parameter(other["weight_hh_l0"])
    stream.reset()
    torch.testing.assert_close(stream.push_many(x), whole(module, x)[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("batch", "hidden"), [(8, H), (1, LARGE)])
def test_refresh_sees_writes_through_data(batch, hidden):
    torch.manual_seed(7)
    module, x = cellgate.LSTM(I, hidden, dtype=torch.float64), data(batch)
    stream = module.stream(batch)
    module.weight_hh_l0.data.mul_(2)
    stream.refresh()
    torch.testing.assert_close(stream.push_many(x), whole(module, x)[0], rtol=1e-12, atol=1e-13)


def test_dropout_does_not_apply_to_a_stream():
    module, x = make(2, dropout=0.5), data(3)
    assert module.training
    for backend in ("auto", "aten"):
        with cellgate.use_backend(backend):
            torch.testing.assert_close(module.stream(3).push_many(x), whole(module, x)[0], rtol=1e-12, atol=1e-13)


def test_what_a_stream_refuses():
    both = cellgate.LSTM(I, H, bidirectional=True)
    with pytest.raises(InputError, match="backward direction"):
        both.stream()
    with pytest.raises(InputError, match="backward direction"):
        both.step(torch.zeros(1, I))
    stream = make(dtype=torch.float32).stream(3)
    with pytest.raises(ShapeError, match=r"expected \(3, 5\), got \(2, 5\)"):
        stream.push(torch.zeros(2, I))
    with pytest.raises(cellgate.DtypeError, match=r"float32 .* got torch.float64"):
        stream.push(torch.zeros(3, I, dtype=torch.float64))
    with pytest.raises(cellgate.DtypeError, match="list"):
        stream.push([0.0] * I)
    with pytest.raises(InputError, match="batch"):
        make().stream(0)
    with pytest.raises(ShapeError, match="hx"):
        make().stream(3, (torch.zeros(1, 2, H), torch.zeros(1, 3, H)))


def test_a_copy_of_the_module_streams_by_itself():
    module, x = make(), data(8)
    twin = copy.deepcopy(module)
    stream = twin.stream(8)
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    torch.testing.assert_close(stream.push_many(x), whole(twin, x)[0], rtol=1e-12, atol=1e-13)


def test_half_precision_streams_as_the_module_runs():
    module = cellgate.LSTM(3, 5, dtype=torch.bfloat16)
    stream, x = module.stream(batch=2), torch.randn(4, 2, 3, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = module(x)[0]
    for x_t, h in zip(x, expected, strict=True):
        assert torch.allclose(stream.push(x_t), h, atol=0.02)
