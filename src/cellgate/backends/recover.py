"""Gates from hidden states: once every h_t is known, the gates of all steps are one product that needs no recurrence.

Only the cell state needs a scan then, of one multiply-add a step. This is how gates are had from kernels that keep them
to themselves, and how a backward pass that saved only c finds them again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellgate.equations import LSTMWeights, input_part, lstm_step

from .problem import Gates
from .ragged import active_mask

__all__ = ["recover_gates"]


def recover_gates(
    x: Tensor, h: Tensor, h0: Tensor, c0: Tensor, weights: list[LSTMWeights], lengths: Tensor | None
) -> Gates:
    """Return the gates and cell states of one layer that has run.

    Args:
        x: The layer's input, (T, B, I).
        h: Its output, (T, B, D*P), zero past the end of a sequence.
        h0: Initial h, (D, B, P).
        c0: Initial c, (D, B, H).
        weights: The cells' parameters, one a direction.
        lengths: (B,) int64 on the CPU, or None.

    Returns:
        Gates, differentiable with respect to all of these.
    """
    steps = x.shape[0]
    active = None if lengths is None else active_mask(lengths, steps, x.device)
    per_direction = []
    for d, (w, h_d) in enumerate(zip(weights, h.chunk(len(weights), dim=-1), strict=True)):
        order = range(steps) if d == 0 else range(steps - 1, -1, -1)
        if d == 0:
            h_prev = torch.cat([h0[d].unsqueeze(0), h_d[:-1]])
        else:
            h_prev = torch.cat([h_d[1:], h0[d].unsqueeze(0)])
            if active is not None and lengths is not None:
                # The backward direction enters each sequence at its own last step.
                last = torch.arange(steps, device=x.device).unsqueeze(1) == lengths.to(x.device) - 1
                h_prev = torch.where(last.unsqueeze(-1), h0[d], h_prev)
        # With the cell state left at zero one call of the equations gives i, f, g and o of all steps.
        free = lstm_step(input_part(x, w), h_prev, torch.zeros((), dtype=x.dtype, device=x.device), w)
        fresh = free.i * free.g
        c, cells = c0[d], [c0[d]] * steps
        for t in order:
            c_new = free.f[t] * c + fresh[t]
            c = c_new if active is None else torch.where(active[t].unsqueeze(-1), c_new, c)
            cells[t] = c
        parts = [free.i, free.f, free.g, free.o, torch.stack(cells) if steps else free.i]
        if active is not None:
            parts = [torch.where(active.unsqueeze(-1), part, 0.0) for part in parts]
        per_direction.append([*parts, h_d])
    return Gates(*(torch.stack(parts, dim=2) for parts in zip(*per_direction, strict=True)))
