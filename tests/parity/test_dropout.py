"""Dropout between layers: nn.LSTM's numbers from the same seed, and the same on every backend."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.parity.compare import Case, only, quiet_nn_lstm
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import cellgate

FLAGS = list(itertools.product((2, 3), (False, True), (False, True), (False, True)))


def pair(flags: tuple, p: float, dtype: torch.dtype = torch.float32) -> tuple[cellgate.LSTM, nn.LSTM]:
    layers, batch_first, bidirectional, projected = flags
    case = Case(7, 5, 4, 17, layers, True, batch_first, bidirectional, 5 if projected else 0)
    ours, peer = case.ours(dtype=torch.float32).to(dtype), case.peer(dtype=dtype)
    ours.dropout = peer.dropout = p
    return ours, peer


@pytest.mark.parametrize("p", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_the_same_seed_drops_what_nn_lstm_drops(flags: tuple, p: float, backend: str, dtype: torch.dtype):
    ours, peer = pair(flags, p, dtype)
    gradients = []
    values = []
    for module in (ours, peer):
        x = torch.linspace(-2, 2, 5 * 7 * 4, dtype=dtype).reshape((5, 7, 4) if flags[1] else (7, 5, 4))
        x.requires_grad_()
        torch.manual_seed(3)
        with quiet_nn_lstm():
            if module is ours:
                with only(backend):
                    output, state = module(x)
            else:
                output, state = module(x)
        values.append((output, *state, torch.rand(3)))  # the generator must be left where nn.LSTM leaves it
        gradients.append(torch.autograd.grad(output.square().sum(), (x, module.weight_hh_l0)))
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("flags", FLAGS[:8], ids=str)
def test_packed(flags: tuple, backend: str):
    ours, peer = pair(flags, 0.5)
    x = torch.randn((5, 7, 4) if flags[1] else (7, 5, 4))
    packed = pack_padded_sequence(x, torch.tensor([2, 7, 1, 5, 5]), flags[1], enforce_sorted=False)
    torch.manual_seed(3)
    with only(backend):
        got = ours(packed)
    torch.manual_seed(3)
    with quiet_nn_lstm():
        want = peer(packed)
    torch.testing.assert_close(got, want)


def test_every_backend_drops_the_same(backend: str):
    """Sizes per layer, ragged and reset too, which nn.LSTM has not: each backend against the reference."""
    lstm = cellgate.LSTM(4, [9, 17, 6], dropout=0.5, bidirectional=True)
    x, reset = torch.randn(7, 5, 4), torch.rand(7, 5) < 0.2
    for kwargs in ({}, {"lengths": [2, 7, 0, 5, 5]}, {"reset": reset}, {"lengths": [2, 7, 0, 5, 5], "reset": reset}):
        torch.manual_seed(5)
        with only("reference"):
            want = lstm(x, **kwargs)
        torch.manual_seed(5)
        with only(backend):
            got = lstm(x, **kwargs)
        torch.testing.assert_close(got, want)


def test_eval_drops_nothing(backend: str):
    lstm = cellgate.LSTM(4, 6, 2, dropout=0.9)
    plain = cellgate.LSTM(4, 6, 2)
    plain.load_state_dict(lstm.state_dict())
    x = torch.randn(5, 3, 4)
    lstm.eval()
    state = torch.get_rng_state()
    with only(backend):
        torch.testing.assert_close(lstm(x), plain(x))
    assert torch.equal(torch.get_rng_state(), state), "eval must not draw random numbers"


def test_the_last_layer_is_never_dropped(backend: str):
    lstm = cellgate.LSTM(4, 50, 2, dropout=0.9)
    with only(backend):
        output, _ = lstm(torch.randn(5, 3, 4))
    assert torch.count_nonzero(output) == output.numel()


def test_dropout_changes_from_call_to_call_and_scales_what_stays(backend: str):
    lstm = cellgate.LSTM(4, 6, 2, dropout=0.5)
    x = torch.randn(5, 3, 4)
    with only(backend):
        assert not torch.equal(lstm(x)[0], lstm(x)[0])
    # With layer two an all but linear reader of layer one, the mean over many masks is the output without dropout.
    with torch.no_grad():
        for name in ("weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
            lstm.get_parameter(name).mul_(1e-2)
        with only(backend):
            mean = torch.stack([lstm(x)[0] for _ in range(400)]).mean(0)
            clean = lstm.eval()(x)[0]
    torch.testing.assert_close(mean, clean, rtol=0, atol=5 * float(clean.abs().max()) / 400**0.5)
