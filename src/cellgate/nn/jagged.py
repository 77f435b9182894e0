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
    return torch.nested.to_padded_tensor(input, 0.0), input.offsets().diff()  # pyright: ignore[reportAttributeAccessIssue]


def jagged_like(input: Tensor, output: Tensor, lengths: Tensor) -> Tensor:
    """Return padded output (B, T, size) as a nested tensor with the sequences of ``input``, for sums with it."""
    inside = torch.arange(output.shape[1], device=output.device) < lengths.unsqueeze(1)
    return torch.nested.nested_tensor_from_jagged(output[inside], input.offsets())  # pyright: ignore[reportAttributeAccessIssue]
