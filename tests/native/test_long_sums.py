"""Sums over hundreds of inputs and units round little, whatever the instruction set."""

from __future__ import annotations

import pytest
import torch
from tests.parity.compare import BACKEND_NAMES, only

import cellgate

pytestmark = pytest.mark.skipif("cpu" not in BACKEND_NAMES, reason="asks for the native core, which is not built here")


def results(module: torch.nn.Module, x: torch.Tensor, g: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    output = module(x)[0]
    output.backward(g)
    return {"output": output.detach(), "dx": x.grad, "dweight": module.weight_hh_l0.grad}


# Root mean square, in units of rounding of the tensor's largest number. Terms added one after the other, 1,300 of them
# here and 2,600 in dx, make 1.55, 1.6 and .65 of it.
@pytest.mark.parametrize(("name", "most"), [("output", 1.1), ("dx", 1.35), ("dweight", 0.55)])
def test_wide_layers_round_little(name: str, most: float):
    x, g = torch.randn(20, 8, 650), torch.randn(20, 8, 650)
    layer = cellgate.LSTM(650, 650, 2)
    exact = torch.nn.LSTM(650, 650, 2, dtype=torch.float64)
    exact.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
    with only("cpu"):
        found = results(layer, x, g)[name].double()
    true = results(exact, x.double(), g.double())[name]
    error = (found - true).square().mean().sqrt() / true.abs().max()
    assert float(error) / torch.finfo(torch.float32).eps < most
