"""Layers of every kind, and how they are run beside the oracle."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from tests.variants import oracle
from torch import Tensor

import cellgate
from cellgate.backends import cpu
from cellgate.nn import call as nn_call

VARIANTS: dict[str, dict[str, Any]] = {
    "peephole": {"cell": "peephole"},
    "cifg": {"cell": "cifg"},
    "cifg of Greff": {"cell": "cifg", "peephole": True},
    "original": {"cell": "original"},
    "no input gate": {"cell": "no_input_gate", "peephole": True},
    "no forget gate": {"cell": "no_forget_gate", "peephole": True},
    "no output gate": {"cell": "no_output_gate", "peephole": True},
    "no input activation": {"cell": "no_input_activation", "peephole": True},
    "no output activation": {"cell": "no_output_activation", "peephole": True},
    "full gate recurrence": {"cell": "full_gate_recurrence", "peephole": True},
    "full gate recurrence, layer norm": {"cell": "full_gate_recurrence", "norm": "layer", "zoneout": 0.2},
    "hard": {"activation": "hard"},
    "hard original with peepholes": {"cell": "original", "activation": "hard", "peephole": True},
    "clip": {"cell_clip": 0.3},
    "clip and peepholes": {"cell_clip": 0.3, "peephole": True},
    "zoneout": {"zoneout": (0.3, 0.2)},
    "zoneout of c": {"zoneout": (0.3, 0.0), "peephole": True, "cell_clip": 0.5},
    "zoneout of h": {"zoneout": (0.0, 0.4)},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "locked dropout of h": {"locked_dropout": (0.0, 0.0, 0.4)},
    "everything random": {"zoneout": 0.2, "recurrent_dropout": 0.2, "locked_dropout": (0, 0, 0.3), "cell": "cifg"},
    "layer norm": {"norm": "layer"},
    "rms norm": {"norm": "rms"},
    "layer norm, peepholes, zoneout": {"norm": "layer", "peephole": True, "zoneout": 0.2, "cell_clip": 0.6},
    "rms norm of cifg, dropped": {
        "norm": "rms",
        "cell": "cifg",
        "recurrent_dropout": 0.3,
        "locked_dropout": (0, 0, 0.2),
    },
    "slstm": {"cell": "slstm"},
    "slstm with noise": {"cell": "slstm", "recurrent_dropout": 0.3, "zoneout": (0, 0.3), "locked_dropout": (0, 0, 0.3)},
    "residual": {"connection": "residual", "cell": "cifg"},
    "highway": {"connection": "highway"},
    "single bias": {"single_bias": True, "peephole": True},
}

SHAPES: dict[str, dict[str, Any]] = {
    "dense": {},
    "two layers, two directions": {"num_layers": 2, "bidirectional": True},
    "ragged": {"ragged": True},
    "ragged, reset, two directions": {"ragged": True, "reset": True, "bidirectional": True},
    "reset, no bias": {"reset": True, "bias": False},
    "projected": {"proj_size": 3, "ragged": True},
}


@dataclasses.dataclass
class Case:
    """A layer with its input."""

    module: cellgate.LSTM
    x: Tensor
    h0: Tensor
    c0: Tensor
    options: dict[str, Any]


def make(
    variant: dict[str, Any],
    shape: dict[str, Any],
    *,
    sizes: tuple[int, int, int, int] = (6, 4, 3, 5),
    dtype: torch.dtype = torch.float64,
) -> Case:
    """Return a layer with random parameters of some size, and T, B, I, H as in ``sizes``."""
    shape = dict(shape)
    ragged, reset = shape.pop("ragged", False), shape.pop("reset", False)
    steps, batch, inputs, hidden = sizes
    torch.manual_seed(1)
    variant = dict(variant)
    if not shape.get("bias", True):
        variant.pop("single_bias", None)
    if variant.get("connection"):
        shape.setdefault("num_layers", 2)
    module = cellgate.LSTM(inputs, hidden, **shape, **variant, dtype=dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            # About the size of trained weights, so that gates open and close and hard corners are met.
            parameter.copy_(torch.randn_like(parameter) * (0.8 if parameter.dim() > 1 else 0.5))
    out = shape.get("proj_size") or hidden
    rows = module.num_layers * (2 if module.bidirectional else 1)
    memory = module.variant.description.memories * hidden if module.variant else hidden
    c0 = torch.randn(rows, batch, memory, dtype=dtype)
    if variant.get("cell") == "slstm":
        c0[..., hidden : 2 * hidden] = c0[..., hidden : 2 * hidden].abs() + 0.5
        c0[:, 0] = 0.0
    options: dict[str, Any] = {}
    if ragged:
        options["lengths"] = torch.tensor([steps, *torch.randint(1, steps + 1, (batch - 1,)).tolist()])
    if reset:
        options["reset"] = torch.rand(steps, batch) < 0.25
    x, h0 = torch.randn(steps, batch, inputs, dtype=dtype), torch.randn(rows, batch, out, dtype=dtype)
    return Case(module, x, h0, c0, options)


def _leaves(case: Case) -> dict[str, Tensor]:
    tensors = {"x": case.x, "h0": case.h0, "c0": case.c0}
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}


def _with_gradients(values: dict[str, Tensor], leaves: dict[str, Tensor], module: cellgate.LSTM) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    loss = torch.zeros((), dtype=torch.float64)
    for value in values.values():
        loss = loss + (value.double() * torch.randn(value.shape, generator=generator, dtype=torch.float64)).sum()
    named = leaves | dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return {k: v.detach() for k, v in values.items()} | {f"d{k}": g for k, g in zip(named, found, strict=True)}


def on_backend(case: Case, backend: str, *, gates: bool = False, seed: int = 5) -> tuple[dict[str, Tensor], Any]:
    """Return values and every gradient of a layer on a backend, and the masks that were drawn."""
    leaves = _leaves(case)
    kept: list[Any] = []

    def spy(variant, training, problem, inputs):
        add_noise(variant, training, problem, inputs)
        kept.append(inputs.cell_masks)

    add_noise, nn_call.add_noise = nn_call.add_noise, spy
    torch.manual_seed(seed)
    try:
        with cellgate.use_backend(backend):
            hx = (leaves["h0"], leaves["c0"])
            if gates:
                output, state, recorded = case.module.gates(leaves["x"], hx, **case.options)
            else:
                output, state = case.module(leaves["x"], hx, **case.options)
    finally:
        nn_call.add_noise = add_noise
    values = {"output": output, "h_n": state[0], "c_n": state[1]}
    if gates:
        values |= {name: getattr(recorded[-1], name) for name in ("i", "f", "g", "o", "c", "h")}
    return _with_gradients(values, leaves, case.module), kept[0] if kept else None


def on_oracle(case: Case, masks: Any, *, gates: bool = False) -> dict[str, Tensor]:
    """Return what the equations of the papers give for the same layer, input and masks."""
    leaves = _leaves(case)
    run = oracle.run(case.module, leaves["x"], leaves["h0"], leaves["c0"], **case.options, masks=masks)
    values = dict(zip(("output", "h_n", "c_n"), run[:3], strict=True))
    return _with_gradients(values | (run[3] if gates else {}), leaves, case.module)


def native_or_none() -> list[str]:
    """Return the backends that run variants."""
    return ["reference", *([] if cpu.unavailable() else ["cpu"])]


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """Compare all numbers, relative to the largest of each tensor."""
    assert set(got) == set(want)
    wrong = []
    for name, truth in want.items():
        assert got[name].shape == truth.shape, name
        scale = max(1.0, float(truth.abs().max())) if truth.numel() else 1.0
        error = float((got[name].double() - truth.double()).abs().max()) if truth.numel() else 0.0
        if not error <= tolerance * scale:
            wrong.append(f"{name}: error {error:.3g} of {scale:.3g}")
    assert not wrong, "\n".join(wrong)
