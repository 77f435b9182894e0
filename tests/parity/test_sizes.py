"""Sizes that nn.LSTM has not: one a layer, no features, no steps, no sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.parity.compare import only, quiet_nn_lstm
from torch import nn

import cellgate

ABLE_WITHOUT_NUMBERS = ("reference", "cpu")
"""Backends that must run problems in which there is nothing to compute; the others may refuse them by name."""


class Stacked(nn.Module):
    """Layers of different sizes as people stack them by hand, one nn.LSTM a layer."""

    def __init__(self, input_size, hidden, proj, bidirectional, bias):
        super().__init__()
        d = 2 if bidirectional else 1
        inputs = [input_size, *(d * (p or h) for h, p in zip(hidden[:-1], proj[:-1], strict=True))]
        self.layers = nn.ModuleList(
            nn.LSTM(i, h, bias=bias, bidirectional=bidirectional, proj_size=p)
            for i, h, p in zip(inputs, hidden, proj, strict=True)
        )

    def forward(self, x, hx):
        finals = []
        for n, layer in enumerate(self.layers):
            x, final = layer(x, None if hx is None else (hx[0][n], hx[1][n]))
            finals.append(final)
        return x, tuple(zip(*finals, strict=True))


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "hx"])
@pytest.mark.parametrize(
    ("hidden", "proj", "bidirectional", "bias"),
    [
        *(([9, 4], [0, 0], *flags) for flags in itertools.product((False, True), (False, True))),
        ([4, 9, 17], [0, 0, 0], True, True),
        ([9, 4], [3, 0], True, True),
        ([9, 9], [3, 2], False, True),
        ([9, 9], [0, 4], True, False),
        ([5, 100, 1], [2, 0, 0], False, True),
    ],
    ids=str,
)
def test_a_size_per_layer_equals_layers_stacked_by_hand(hidden, proj, bidirectional, bias, given, backend):
    d = 2 if bidirectional else 1
    lstm = cellgate.LSTM(6, hidden, bias=bias, bidirectional=bidirectional, proj_size=proj if any(proj) else 0)
    stacked = Stacked(6, hidden, proj, bidirectional, bias)
    assert lstm.num_layers == len(hidden)
    with torch.no_grad():
        for n, layer in enumerate(stacked.layers):
            for name, p in layer.named_parameters():
                p.copy_(lstm.get_parameter(name.replace("_l0", f"_l{n}")))
    x = torch.randn(5, 3, 6, requires_grad=True)
    outs = [p or h for h, p in zip(hidden, proj, strict=True)]
    hx = None
    if given:
        hx = tuple(tuple(torch.randn(d, 3, s, requires_grad=True) for s in sizes) for sizes in (outs, hidden))
    with only(backend):
        output, (h_n, c_n) = lstm(x, hx)
    with quiet_nn_lstm():
        want, (h_want, c_want) = stacked(x, hx)
    assert isinstance(h_n, tuple)
    torch.testing.assert_close(output, want)
    torch.testing.assert_close((h_n, c_n), (h_want, c_want))

    def gradients(output, h_n, c_n, module):
        loss = output.square().sum() + sum(s.square().sum() for s in (*h_n, *c_n))
        leaves = [x, *((*hx[0], *hx[1]) if hx else ()), *module.parameters()]
        return torch.autograd.grad(loss, leaves)

    for a, b in zip(gradients(output, h_n, c_n, lstm), gradients(want, h_want, c_want, stacked), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    # The state comes back in the form in which it goes in.
    lstm(x, (h_n, c_n))


def test_sizes_per_layer_with_everything_else(backend: str):
    """Ragged, reset, unbatched and batch_first, each against the plain call that means the same."""
    lstm = cellgate.LSTM(6, [9, 4], bidirectional=True, batch_first=True)
    x = torch.randn(3, 5, 6)
    with only(backend):
        output, (h_n, c_n) = lstm(x, lengths=[2, 5, 0])
        for b, n in enumerate([2, 5]):
            alone, (h_alone, c_alone) = lstm(x[b, :n])
            torch.testing.assert_close(output[b, :n], alone)
            for got, want in zip((*h_n, *c_n), (*h_alone, *c_alone), strict=True):
                torch.testing.assert_close(got[:, b], want)
        reset = torch.zeros(3, 5, dtype=torch.bool)
        reset[:, 2] = True
        torch.testing.assert_close(lstm(x, reset=reset)[0][:, 2:], lstm(x[:, 2:])[0])


def test_equal_sizes_in_a_list_are_one_size():
    lstm = cellgate.LSTM(6, [8, 8], proj_size=[3, 3])
    assert lstm.hidden_size == 8
    assert lstm.proj_size == 3
    assert lstm(torch.randn(2, 1, 6))[1][0].shape == (2, 1, 3)
    per_layer = tuple(tuple(torch.zeros(1, 1, s) for _ in range(2)) for s in (3, 8))
    torch.testing.assert_close(lstm(torch.ones(2, 1, 6), per_layer), lstm(torch.ones(2, 1, 6)))


def empty(backend: str, call):
    """Run a call in which there may be nothing to compute: it works, or the backend says by name that it cannot."""
    try:
        with only(backend):
            return call()
    except cellgate.BackendError as error:
        refusal = str(error)
    assert backend not in ABLE_WITHOUT_NUMBERS, refusal
    assert backend in refusal
    return None


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("hidden", [6, [6, 4]], ids=str)
@pytest.mark.parametrize(("t", "b", "i"), [(0, 3, 4), (5, 0, 4), (0, 0, 4), (5, 3, 0), (0, 3, 0), (5, 0, 0)])
def test_nothing_to_compute(t, b, i, hidden, bidirectional, backend):
    lstm = cellgate.LSTM(i, hidden, num_layers=2, bidirectional=bidirectional)
    d = 2 if bidirectional else 1
    x = torch.randn(t, b, i, requires_grad=True)
    if isinstance(hidden, int):
        hx = tuple(torch.randn(2 * d, b, hidden) for _ in range(2))
    else:
        hx = tuple(tuple(torch.randn(d, b, h) for h in hidden) for _ in range(2))
    for state in (None, hx):
        result = empty(backend, lambda state=state: lstm(x, state))
        if result is None:
            continue
        output, (h_n, c_n) = result
        assert output.shape == (t, b, d * (hidden if isinstance(hidden, int) else hidden[-1]))
        if t == 0 and state is not None:
            torch.testing.assert_close((h_n, c_n), state)
        output.sum().backward()  # a training loop must not stop at an odd batch
        assert x.grad.shape == x.shape
        assert lstm.weight_ih_l0.grad.shape == lstm.weight_ih_l0.shape


@pytest.mark.parametrize(("t", "b", "i"), [(0, 3, 4), (5, 0, 4), (5, 3, 0)])
def test_auto_always_finds_a_backend(t, b, i):
    lstm = cellgate.LSTM(i, 6)
    output, _ = lstm(torch.randn(t, b, i))
    assert output.shape == (t, b, 6)
    reset = torch.zeros(t, b, dtype=torch.bool)
    output, _ = lstm(torch.randn(t, b, i), lengths=[0] * b, reset=reset)
    assert output.shape == (t, b, 6)
    assert torch.count_nonzero(output) == 0


def test_no_features_computes_from_biases_and_state_alone(backend: str):
    """Against nn.LSTM with one feature that is always zero."""
    lstm, peer = cellgate.LSTM(0, 6), nn.LSTM(1, 6)
    with torch.no_grad():
        for name, p in peer.named_parameters():
            if name != "weight_ih_l0":
                p.copy_(lstm.get_parameter(name))
    result = empty(backend, lambda: lstm(torch.zeros(5, 3, 0)))
    if result is not None:
        torch.testing.assert_close(result, peer(torch.zeros(5, 3, 1)))
