"""Half precision on an engine that computes in float32: tensors are widened on the way in, results rounded at the end.

Between the two everything is float32: sums, gates, the cell state of every step, the state handed from layer to layer.
So the result carries the rounding of its inputs and one of its own, less than kernels that round h at every step. The
conversions are PyTorch's operators, so autograd rounds the gradients to the inputs' dtype by itself.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cellgate.equations import CellMasks

from . import aten
from .problem import Inputs, LSTMWeights, Problem, Result, State

__all__ = ["HALVES", "narrowed", "slower_than_aten", "widened"]

HALVES = (torch.bfloat16, torch.float16)
"""The dtypes that are widened."""


_SMALL = 64
"""Hidden units up to which float32 on two threads is faster here than oneDNN's bfloat16 (with AVX512_BF16)."""


def slower_than_aten(problem: Problem, threads: int, multiplies: bool) -> str | None:
    """Return why PyTorch's kernels are the faster ones for a problem in half precision, or None if they are not.

    oneDNN multiplies half-precision numbers in instructions made for them; it is asked only for dense input without
    projection, and in float16 only without autograd. The measurements behind the rule: docs/choose-a-backend.md.

    Args:
        problem: In half precision.
        threads: At most so many.
        multiplies: Whether the engine has instructions for the problem too.
    """
    if multiplies or aten.reason_against(problem) is not None:
        return None
    ragged = problem.packed or problem.lengths or problem.reset
    if ragged or problem.gates or any(problem.proj_sizes) or not aten.onednn_computes(problem.dtype):
        return None
    if problem.needs_grad and problem.dtype == torch.float16:
        return None
    if max(problem.hidden_sizes) <= _SMALL and threads > 1 and (problem.needs_grad or problem.batch >= 16):
        return None
    return (
        f"it computes {str(problem.dtype).removeprefix('torch.')} in float32, and PyTorch has faster kernels for this"
    )


def widened(problem: Problem, inputs: Inputs) -> tuple[Problem, Inputs]:
    """Return the same problem in float32."""
    weights = [
        [LSTMWeights._make(None if w is None else w.float() for w in cell) for cell in layer]
        for layer in inputs.weights
    ]
    masks = None if inputs.dropout_masks is None else [mask.float() for mask in inputs.dropout_masks]
    cell_masks, highway = inputs.cell_masks, inputs.highway
    if cell_masks is not None:
        cell_masks = [
            [CellMasks._make(None if m is None else m.float() for m in masks) for masks in layer]
            for layer in cell_masks
        ]
    if highway is not None:
        highway = [(w.float(), b.float()) for w, b in highway]
    wide = replace(
        inputs,
        x=inputs.x.float(),
        h0=_state(inputs.h0, torch.float32),
        c0=_state(inputs.c0, torch.float32),
        weights=weights,
        dropout_masks=masks,
        cell_masks=cell_masks,
        highway=highway,
    )
    return replace(problem, dtype=torch.float32), wide


def narrowed(result: Result, dtype: torch.dtype) -> Result:
    """Return the result rounded to dtype."""
    gates = result.gates
    if gates is not None:
        gates = tuple(layer.map(lambda t: t.to(dtype)) for layer in gates)
    h_n, c_n = _state(result.h_n, dtype), _state(result.c_n, dtype)
    assert h_n is not None
    assert c_n is not None
    return Result(result.output.to(dtype), h_n, c_n, gates)


def _state(state: State | None, dtype: torch.dtype) -> State | None:
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.to(dtype)
    return tuple(part.to(dtype) for part in state)
