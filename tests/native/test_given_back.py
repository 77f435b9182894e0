"""Hooks of saved tensors that give back what was not saved: an error before the native core reads past its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")

STEPS, BATCH, SIZE, HIDDEN = 60, 8, 5, 64
LAYERS: dict[str, Callable[[], Any]] = {
    "short way": lambda: cellgate.LSTM(SIZE, HIDDEN),
    "short way, projected": lambda: cellgate.LSTM(SIZE, HIDDEN, 2, proj_size=7, bidirectional=True, bias=False),
    "dropout": lambda: cellgate.LSTM(SIZE, HIDDEN, 2, dropout=0.5),
    "layers of sizes": lambda: cellgate.LSTM(SIZE, [HIDDEN, HIDDEN // 2]),
    "bfloat16": lambda: cellgate.LSTM(SIZE, HIDDEN, 2, dtype=torch.bfloat16),
    "variant": lambda: cellgate.LSTM(SIZE, HIDDEN, 2, cell="peephole"),
}
PARTS: dict[str, Callable[[Tensor], bool]] = {
    "input": lambda t: t.shape[-1:] == (SIZE,) and t.dim() == 3,
    "output": lambda t: t.shape[:2] == (STEPS, BATCH) and t.shape[-1] != SIZE,
    "block": lambda t: t.dim() == 1 and t.numel() > 4 * HIDDEN,
    "weights": lambda t: t.dim() == 2 and t.shape[0] == 4 * HIDDEN,
}


def run(name: str, unpack: Callable[[Tensor], Tensor]) -> list[Tensor]:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    x = torch.randn(STEPS, BATCH, SIZE, dtype=layer.weight_ih_l0.dtype, requires_grad=True)
    options = {"lengths": [STEPS] * (BATCH - 1) + [3]} if name == "variant" else {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        output = layer(x, **options)[0]
    output.backward(torch.ones_like(output))
    return [x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_shorter_tensor_is_refused(name: str, part: str):
    cut: list[Tensor] = []

    def shorter(t: Tensor) -> Tensor:
        if not PARTS[part](t):
            return t
        cut.append(t)
        return t[:2].clone()

    if name == "variant" and part == "block":
        pytest.skip("a variant keeps arrays, not one block")
    with pytest.raises(cellgate.ShapeError, match="from a hook of autograd"):
        run(name, shorter)
    assert cut


@pytest.mark.parametrize("name", LAYERS)
def test_copies_are_as_good(name: str):
    for given, expected in zip(run(name, torch.clone), run(name, lambda t: t), strict=True):
        assert torch.equal(given, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_converted_before_backward_is_said_so(name: str):
    """Its weights are kept as they are, not copied, so backward finds them in another dtype than forward did."""
    layer = LAYERS[name]()
    if layer.weight_ih_l0.dtype == torch.bfloat16 and not cpu.native().has_half():
        pytest.skip("is widened: backward reads the copies")
    output, _ = layer(torch.randn(STEPS, BATCH, SIZE, dtype=layer.weight_ih_l0.dtype))
    layer.double()
    with pytest.raises(cellgate.DtypeError, match=r"got torch.float64: convert the layer .* after backward"):
        output.sum().backward()
