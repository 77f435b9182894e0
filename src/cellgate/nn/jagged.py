"""Jagged nested tensors at the boundary: a ragged batch without padding, as padded data with lengths and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellgate.errors import InputError

__all__ = ["jagged_like", "padded_from_jagged"]


def padded_from_jagged(input: Tensor, batch_first: bool, lengths: Any, reset: Any) -> tuple[Tensor, Tensor]:
    """Return a nested tensor (B, any T, I) as padded data (B, T, I) and lengths (B,).

    Raises:
        InputError: Not the jagged layout, holes between sequences, a layer that reads steps first, or lengths or a
            reset beside the nested tensor.
    """
    if input.layout is not torch.jagged:
        raise InputError(
            f"input: expected a nested tensor of layout torch.jagged, got {input.layout}: "
            "torch.nested.nested_tensor(sequences, layout=torch.jagged)"
        )
    if input.dim() != 3 or input.lengths() is not None:  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(
            f"input: expected a jagged tensor (B, any T, I) without holes, got {input.dim()} dimensions: "
            "make it from its sequences with torch.nested.as_nested_tensor"
        )
    if not batch_first:
        raise InputError("input: expected batch_first=True with a nested tensor, whose first dimension is B, got False")
    for name, value in (("lengths", lengths), ("reset", reset)):
        if value is not None:
            raise InputError(
                f"{name}: expected None with a nested tensor, got {type(value).__name__}: pass padded input"
            )
    own: Tensor = input.offsets().diff()  # pyright: ignore[reportAttributeAccessIssue]
    if torch.compiler.is_compiling():
        return torch.nested.to_padded_tensor(input, 0.0), own
    # One that was made of offsets does not know its longest sequence, and would be padded to the sum of all.
    size = (len(own), int(own.max()), input.shape[2])
    return torch.nested.to_padded_tensor(input, 0.0, size), own


def jagged_like(input: Tensor, output: Tensor) -> Tensor:
    """Return padded output (B, T, size) as a nested tensor with the sequences of ``input``, for sums with it."""
    offsets: Tensor = input.offsets()  # pyright: ignore[reportAttributeAccessIssue]
    inside = torch.arange(output.shape[1], device=output.device) < offsets.diff().unsqueeze(1)
    longest = None if torch.compiler.is_compiling() else output.shape[1]
    return torch.nested.nested_tensor_from_jagged(output[inside], offsets, max_seqlen=longest)
