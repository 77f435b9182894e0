"""Regularisation terms of a layer's output, in whatever form the output comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from cellgate.backends.ragged import active_mask
from cellgate.equations import activation_penalty
from cellgate.errors import ShapeError

from .call import output_sizes, under_transform
from .checks import check_lengths, one_length
from .jagged import padded_from_jagged

__all__ = ["penalty"]


def penalty(
    module: Any,
    output: Tensor | PackedSequence,
    activation: float,
    temporal: float,
    lengths: Sequence[int] | Tensor | None,
) -> Tensor:
    """Return the sum of AR and TAR; see :meth:`cellgate.LSTM.penalty`."""
    if isinstance(output, PackedSequence):
        output, lengths = pad_packed_sequence(output)
    elif output.is_nested:
        output, lengths = padded_from_jagged(output, module.batch_first, lengths, None)
        output = output.transpose(0, 1)
    elif output.dim() == 3 and module.batch_first:
        output = output.transpose(0, 1)
    width = output_sizes(module)[-1] * (2 if module.bidirectional else 1)
    if output.dim() not in (2, 3) or output.shape[-1] != width:
        raise ShapeError(f"output: expected the layer's, with {width} features at the end, got {tuple(output.shape)}")
    if output.dim() == 2:
        output = output.unsqueeze(1)
        lengths = None if lengths is None else one_length(lengths)  # pyright: ignore[reportAssignmentType]
    steps, batch = output.shape[:2]
    inside = None
    if lengths is not None:
        known = not torch.compiler.is_compiling() and not under_transform()
        inside = active_mask(check_lengths(lengths, batch, steps, values=known), steps, output.device)
    return activation_penalty(output, inside, activation, temporal)
