"""Training a cell other than torch.nn.LSTM's on the native engine, with as little Python around the kernels as can be.

What ``cpu_plain`` is for the plain cell: for plain tensors, zero state, and neither lengths, resets nor gates, one
direction of one layer needs no more than a node of the autograd graph around two native calls
(``native/bindings_variant_training.cpp``), which call the kernels of ``cpu_variant``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from cellgate.equations import Cell, CellMasks, LSTMWeights

from . import cpu, cpu_tensors
from .cpu_tensors import more_than_numbers
from .cpu_variant import DirectionCall, recorded_backward
from .problem import Inputs, Problem
from .uncompiled import uncompiled

__all__ = ["train_direction"]

_is_grad_enabled = torch.is_grad_enabled


class _Direction(Function):
    @staticmethod
    def forward(
        ctx: Any, training: Any, cell: Cell, masks: CellMasks, x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        y, h_n, c_n, kept = training.forward(x, weights, masks)
        ctx.call, ctx.dtype = (training, cell, masks), x.dtype
        ctx.save_for_backward(x, y, kept, *weights)
        return y, h_n, c_n

    @staticmethod
    @uncompiled
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        training, cell, masks = ctx.call
        tensors, needs = ctx.saved_tensors, ctx.needs_input_grad[3:]
        if not _is_grad_enabled() and not (forward_ad._current_level >= 0 and more_than_numbers((dy, dh_n, dc_n))):
            found = training.backward(tensors, needs, masks, dy, dh_n, dc_n)
            if found is None and not more_than_numbers((dy, dh_n, dc_n)):
                # A gradient does not lie as the native call wants it, or a hook of autograd has put in other tensors.
                # Their sizes the native call looks at.
                cpu_tensors.check_given_back(tensors, [(None, ctx.dtype)] * len(tensors))
                dy = None if dy is None else cpu_tensors.plain_gradient(dy)
                dh_n, dc_n = (None if g is None else g.resolve_neg().contiguous() for g in (dh_n, dc_n))
                tensors = tuple(t.resolve_neg().contiguous() for t in tensors)
                found = training.backward(tensors, needs, masks, dy, dh_n, dc_n)
            if found is not None:
                return None, None, None, *found
        return None, None, None, *_in_full(training, cell, masks, tensors, needs, (dy, dh_n, dc_n))


# Function.apply itself asks first for transforms of torch.func, which is done before.
train_direction: Any = super(Function, _Direction).apply  # pyright: ignore[reportAttributeAccessIssue]
"""Run one direction of one layer forward so that autograd can run it backward.

Args:
    training: ``cellgate._native.CellTraining``.
    cell: What it computes.
    masks: Drawn already.
    x: (T, B, I), its last dimension contiguous, on the CPU; T, B >= 1.
    *weights: In the order of the module's, contiguous.

Returns:
    output (T, B, P), h_n (1, B, P) and c_n (1, B, M*H), M vectors of H being the state.
"""


def _in_full(
    training: Any,
    cell: Cell,
    masks: CellMasks,
    saved: tuple[Tensor, ...],
    needs: tuple[bool, ...],
    grads: tuple[Tensor | None, ...],
) -> list[Tensor | None]:
    """Return the gradients of x and the weights by way of the reference: recorded, or a batch of them."""
    hidden, proj, is_backward, fields, memory = training.description
    x, _, _, *given = saved
    weights = LSTMWeights(**dict(zip(fields, given, strict=True)))
    problem = Problem(
        x.shape[0],
        x.shape[1],
        x.shape[2],
        (hidden,),
        (proj,),
        1,
        weights.b_ih is not None,
        x.dtype,
        "cpu",
        needs_grad=True,
        memory=memory,
        cell=cell,
    )
    call = DirectionCall(cpu.native(), problem, Inputs(x, None, None, [[weights]]), masks, 1, hidden, is_backward)
    wanted = dict(zip(fields, needs[1:], strict=True))
    all_needs = [needs[0], False, False, *(wanted.get(name, False) for name in LSTMWeights._fields)]
    d_x, _, _, *found = recorded_backward(all_needs, call, x, (None, None, *weights), grads)
    by_name = dict(zip(LSTMWeights._fields, found, strict=True))
    return [d_x, *(by_name[name] for name in fields)]
