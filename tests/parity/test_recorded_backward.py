"""Backward passes that are recorded or batched, where what was given does not lie in memory as the engine wants it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import cellgate

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda t: t.mT.contiguous().mT,
    "spread": lambda t: torch.stack([t, t], -1)[..., 0],
    "negated": lambda t: torch._neg_view(torch.stack([-t, -t], -1)[..., 0]),  # as z.conj().imag is
}
KINDS = {"plain": {}, "proj": {"proj_size": 3}, "peephole": {"peephole": True}, "norm": {"norm": "layer"}}


def laid_out(lstm: cellgate.LSTM, layout: str, which: str, dtype: torch.dtype) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return leaves x and (h_0, c_0), one of which or one weight of the layer lies in memory otherwise."""
    lay = LAYOUTS[layout]
    given = {"x": torch.randn(4, 3, 5), "h0": torch.randn(1, 3, lstm.proj_size or 6), "c0": torch.randn(1, 3, 6)}
    leaves = {
        name: (lay(t.to(dtype)) if name == which else t.to(dtype)).detach().requires_grad_()
        for name, t in given.items()
    }
    if which not in leaves:
        setattr(lstm, which, nn.Parameter(lay(getattr(lstm, which).detach())))
    return leaves["x"], (leaves["h0"], leaves["c0"])


def first_and_second(call: Callable[[], Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """Return gradients, and those of a penalty on them."""
    first = torch.autograd.grad(call().sin().sum(), leaves, create_graph=True)
    return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["x", "h0", "c0", "weight_ih_l0", "weight_hh_l0"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_gradients(layout: str, which: str, kind: str, dtype: torch.dtype):
    """A copy that is made on the way to the engine keeps its history: gradients of gradients reach what it is of."""
    lstm = cellgate.LSTM(5, 6, dtype=dtype, **KINDS[kind])
    x, hx = laid_out(lstm, layout, which, dtype)
    leaves = [x, *hx, *lstm.parameters()]
    got = first_and_second(lambda: lstm(x, hx)[0], leaves)
    with cellgate.use_backend("reference"):
        expected = first_and_second(lambda: lstm(x, hx)[0], leaves)
    for ours, theirs in zip(got, expected, strict=True):
        # A bfloat16 number has three digits.
        bound = {} if dtype == torch.float64 else {"rtol": 0.1, "atol": 0.1 * float(theirs.detach().abs().max())}
        torch.testing.assert_close(ours, theirs, **bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["x", "h0", "weight_hh_l0"])
def test_batches_of_gradients(which: str, kind: str):
    lstm = cellgate.LSTM(5, 6, **KINDS[kind])
    x, hx = laid_out(lstm, "transposed", which, torch.float32)
    leaves = [x, *hx, *lstm.parameters()]
    output, _ = lstm(x, hx)
    batch = torch.randn(2, *output.shape)
    found = torch.autograd.grad(output, leaves, batch, retain_graph=True, is_grads_batched=True)
    for k, one in enumerate(batch):
        expected = torch.autograd.grad(output, leaves, one, retain_graph=True)
        torch.testing.assert_close([g[k] for g in found], list(expected))


@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph=True")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_state", [False, True])
def test_weights_frozen_since_forward(with_state: bool, kind: str):
    """As where a critic is frozen between its forward pass and the penalty on the gradient of its input."""
    lstm = cellgate.LSTM(5, 6, **KINDS[kind])
    x = torch.randn(4, 3, 5, requires_grad=True)
    hx = (torch.randn(1, 3, lstm.proj_size or 6), torch.randn(1, 3, 6)) if with_state else None
    (expected,) = torch.autograd.grad(lstm(x, hx)[0].sin().sum(), x)
    output, _ = lstm(x, hx)
    lstm.requires_grad_(False)
    output.sin().sum().backward(create_graph=True)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)
    assert x.grad.requires_grad
    assert [name for name, p in lstm.named_parameters() if p.grad is not None] == []
