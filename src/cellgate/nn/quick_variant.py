"""The short way from a module with a variant to the native engine, for its most frequent training call.

As ``quick_training`` for the plain cell: zero state, neither lengths nor resets. Noise is drawn as ``noise`` draws it
on the full way, in the same order from the same generator, so the masks are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellgate.backends.cpu_variant_training import train_direction
from cellgate.equations import CellMasks

from .noise import cell_masks, drop_weights, locked_mask
from .quick import plain_calls

__all__ = ["run_quick_variant"]

_NO_MASKS = CellMasks()
_calls = plain_calls("CellTrainings")
_prepare = None if _calls is None else _calls.prepare


def run_quick_variant(module: Any, x: Any) -> Any:
    """Run a call of a module with a variant, recorded by autograd, or return None where the full way is called for.

    Args:
        module: ``cellgate.LSTM`` or a module with its attributes.
        x: (T, B, I), or (B, T, I) with ``batch_first``.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    found = None if _prepare is None else _prepare(module, x)
    if found is None:
        return None
    y, cells = found
    variant, training, layers = module.variant, module.training, module.num_layers
    directions = len(cells) // layers
    cell, noise = variant.description, variant.noise(training)
    steps, batch, width = y.shape
    hidden, out = module.hidden_size, module.proj_size or module.hidden_size
    between: list[Tensor] = []
    if training and variant.draws:
        input_p, between_p, _ = variant.locked_dropout
        if variant.weight_drop:
            cells = [(one, (w[0], drop_weights(w[1], variant), *w[2:])) for one, w in cells]
        if input_p:
            y = y * locked_mask(y, batch, width, input_p)
        if between_p:
            between = [locked_mask(y, batch, directions * out, between_p) for _ in range(layers - 1)]
    h_n, c_n = [], []
    for layer in range(layers):
        if layer > 0 and between:
            y = y * between[layer - 1]
        sides = []
        for one, weights in cells[layer * directions : (layer + 1) * directions]:
            masks = cell_masks(variant, training, noise, y, (steps, batch), (hidden, out)) if noise else _NO_MASKS
            sides.append(train_direction(one, cell, masks, y, *weights))
        y = sides[0][0] if directions == 1 else torch.cat([side[0] for side in sides], dim=-1)
        h_n += [side[1] for side in sides]
        c_n += [side[2] for side in sides]
    if len(h_n) > 1:
        h_n, c_n = [torch.cat(h_n)], [torch.cat(c_n)]
    return y.transpose(0, 1) if module.batch_first else y, (h_n[0], c_n[0])
