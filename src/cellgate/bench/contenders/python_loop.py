"""The loop over steps that a user writes when the layer cannot do something: correct, open to change, and slow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cellgate.bench.case import Case

from .contender import Absent, Contender

__all__ = ["NAME", "build"]

NAME = "Python loop"


def build(case: Case, mode: str, threads: int) -> Contender:
    """A loop with one linear map of [x, h] a step, over all layers and directions; resets included."""
    if mode == "stream" or case.lengths is not None:
        raise Absent("not timed here")
    weights = {name: value.detach().clone().requires_grad_(mode == "training") for name, value in case.weights.items()}
    x = case.x.detach().clone().requires_grad_(mode == "training")
    if mode == "inference":

        def run() -> Tensor:
            with torch.no_grad():
                return _forward(case, weights, x)

        return Contender(NAME, run, lambda: {"output": run()})

    def train() -> Tensor:
        for tensor in (x, *weights.values()):
            tensor.grad = None
        output = _forward(case, weights, x)
        torch.autograd.backward(output, case.grad)
        return output

    def read() -> dict[str, Tensor]:
        output = train().detach()
        grads = {name: tensor.grad for name, tensor in weights.items()} | {"x": x.grad}
        return {"output": output, **{f"d{name}": grad.clone() for name, grad in grads.items() if grad is not None}}

    return Contender(NAME, train, read)


def _forward(case: Case, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    shape = case.shape
    for layer in range(shape.L):
        outputs = [_direction(case, weights, x, f"l{layer}{suffix}") for suffix in ("", "_reverse")[: shape.D]]
        x = torch.cat(outputs, dim=-1) if shape.D == 2 else outputs[0]
    return x


def _direction(case: Case, weights: dict[str, Tensor], x: Tensor, name: str) -> Tensor:
    shape, backwards = case.shape, name.endswith("_reverse")
    h = x.new_zeros(shape.B, shape.P or shape.H)
    c = x.new_zeros(shape.B, shape.H)
    w_hr = weights.get(f"weight_hr_{name}")
    outputs = []
    for t in range(shape.T - 1, -1, -1) if backwards else range(shape.T):
        if case.reset is not None:
            edge = t + 1 if backwards else t
            keep = (~case.reset[edge]).to(x.dtype)[:, None] if edge < shape.T else 1.0
            h, c = h * keep, c * keep
        gates = F.linear(x[t], weights[f"weight_ih_{name}"], weights.get(f"bias_ih_{name}"))
        gates = gates + F.linear(h, weights[f"weight_hh_{name}"], weights.get(f"bias_hh_{name}"))
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        if w_hr is not None:
            h = F.linear(h, w_hr)
        outputs.append(h)
    return torch.stack(outputs[::-1] if backwards else outputs)
