"""Gates in the autograd graph when asked, constants that keep nothing alive when not."""

import gc
import weakref

import pytest
import torch
from tests.trace.oracle import NAMES, run
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import cellgate

F64 = {"dtype": torch.float64}


def loss_of(layers) -> torch.Tensor:
    """Return a number that depends on every gate of every layer and direction, each in its own way."""
    total = torch.zeros((), **F64)
    for k, directions in enumerate(layers):
        for d, parts in enumerate(directions):
            for n, name in enumerate(NAMES):
                total = total + (k + 2 * d + 3 * n + 1) * (parts[name] * parts[name].cos()).sum()
    return total


@pytest.mark.parametrize("backend", ["aten", "reference"])
@pytest.mark.parametrize("kind", [nn.LSTM, cellgate.LSTM])
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"num_layers": 2, "bidirectional": True, "proj_size": 2}])
def test_gradients_of_gates_with_respect_to_everything(kind, options, backend):
    lstm = kind(3, 4, **options, **F64)
    rows, size = 2 * (2 if lstm.bidirectional else 1), options.get("proj_size") or 4
    leaves = [torch.randn(5, 2, 3, **F64), torch.randn(rows, 2, size, **F64), torch.randn(rows, 2, 4, **F64)]
    for leaf in leaves:
        leaf.requires_grad_()
    x, h0, c0 = leaves
    wanted = [*leaves, *lstm.parameters()]

    with cellgate.use_backend(backend), cellgate.trace(lstm, differentiable=True) as tape:
        lstm(x, (h0, c0))
    layers = [[{n: getattr(d, n) for n in NAMES} for d in layer.directions] for layer in tape["lstm"].layers]
    got = torch.autograd.grad(loss_of(layers), wanted)

    per_layer = (2, rows // 2)
    expected_loss = sum(
        loss_of(run(lstm, x[:, b], h0[:, b].unflatten(0, per_layer), c0[:, b].unflatten(0, per_layer)))
        for b in range(2)
    )
    expected = torch.autograd.grad(expected_loss, wanted)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("how", ["lengths", "packed"])
def test_gradients_of_a_ragged_batch(how):
    lstm = cellgate.LSTM(3, 4, 2, bidirectional=True, **F64)
    x = torch.randn(5, 3, 3, **F64, requires_grad=True)
    lengths = [2, 5, 3]
    with cellgate.trace(lstm, differentiable=True) as tape:
        if how == "lengths":
            lstm(x, lengths=lengths)
        else:
            lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))
    layers = [[{n: getattr(d, n) for n in NAMES} for d in layer.directions] for layer in tape["lstm"].layers]
    got = torch.autograd.grad(loss_of(layers), [x, *lstm.parameters()])
    expected_loss = sum(loss_of(run(lstm, x[:n, b])) for b, n in enumerate(lengths))
    for a, b in zip(got, torch.autograd.grad(expected_loss, [x, *lstm.parameters()]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_a_penalty_on_gates_trains_them():
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 8)
    optimiser = torch.optim.Adam(lstm.parameters(), 0.05)
    x = torch.randn(10, 4, 3)
    means = []
    for _ in range(30):
        with cellgate.trace(lstm, gates="f", differentiable=True) as tape:
            lstm(x)
        penalty = (1 - tape["lstm"].layer(0).f).mean()
        optimiser.zero_grad()
        penalty.backward()
        optimiser.step()
        means.append(1 - penalty.item())
    assert means[0] < 0.6
    assert means[-1] > 0.85


def test_constants_by_default():
    lstm = nn.LSTM(3, 4, 2, bidirectional=True)
    x = torch.randn(5, 2, 3, requires_grad=True)
    with cellgate.trace(lstm) as tape:
        output, state = lstm(x)
    assert output.requires_grad
    for layer in tape["lstm"].layers:
        assert not any(getattr(d, n).requires_grad for d in layer.directions for n in NAMES)
    # The tape keeps no graph, and with it no input, alive.
    watch = weakref.ref(x)
    del x, output, state
    gc.collect()
    assert watch() is None


def test_no_graph_under_no_grad():
    lstm = cellgate.LSTM(3, 4)
    with torch.no_grad(), cellgate.trace(lstm, differentiable=True) as tape:
        lstm(torch.randn(5, 2, 3))
    assert not tape["lstm"].layer(0).f.requires_grad
    with torch.inference_mode(), cellgate.trace(lstm) as tape:
        lstm(torch.randn(5, 2, 3))
    assert tape["lstm"].layer(0).f.shape == (5, 2, 4)


def test_gates_inside_a_forward_in_a_gradcheck():
    lstm = cellgate.LSTM(2, 3, bidirectional=True, **F64)

    def gated(x):
        output, _, gates = lstm.gates(x, lengths=[3, 2])
        return output * gates[0].f.sum() + gates[0].backward.c.sum()

    assert torch.autograd.gradcheck(gated, torch.randn(3, 2, 2, **F64, requires_grad=True))
