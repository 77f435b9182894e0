"""Padded and packed forms of a ragged batch, for backends that speak only one of them.

Packed data is ``torch.nn.utils.rnn.PackedSequence.data``: (N, size), step by step, sequences sorted by falling length,
``batch_sizes[t]`` rows for step t. Padded data is (T, B, size).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cellgate.errors import InputError

from .problem import Inputs, Problem, Result

__all__ = [
    "active_mask",
    "check_range",
    "packed_lengths",
    "packed_rows",
    "pad_rows",
    "padded_inputs",
    "repacked_result",
]


def packed_lengths(batch_sizes: Tensor) -> Tensor:
    """Return the length of each sequence of packed data, (B,) int64, falling."""
    batch = int(batch_sizes[0]) if len(batch_sizes) else 0
    # Sequence b reaches every step with batch_sizes[t] > b; batch_sizes falls, so counting is enough.
    return (batch_sizes.unsqueeze(1) > torch.arange(batch, device="cpu")).sum(0)


def check_range(lengths: Tensor, steps: int) -> None:
    """Check that every length lies within the steps of the input.

    Raises:
        InputError: A length below 0 or above T.
    """
    wrong = ((lengths < 0) | (lengths > steps)).nonzero()
    if len(wrong):
        b = int(wrong[0])
        raise InputError(f"lengths[{b}]: expected 0 to {steps} (the steps of the input), got {int(lengths[b])}")


def active_mask(lengths: Tensor, steps: int, device: torch.device | str = "cpu") -> Tensor:
    """Return (T, B) bool, true where a step is within its sequence."""
    return torch.arange(steps, device=device).unsqueeze(1) < lengths.to(device)


def packed_rows(lengths: Tensor, steps: int) -> Tensor:
    """Return where the rows of packed data lie in padded data seen as (T*B, size), for falling lengths: (N,) int64."""
    return active_mask(lengths, steps).flatten().nonzero().squeeze(1)


def pad_rows(data: Tensor, rows: Tensor, steps: int, batch: int) -> Tensor:
    """Return (N, size) data as (T, B, size), row n at place ``rows[n]`` of (T*B, size), zeros elsewhere."""
    flat = data.new_zeros(steps * batch, data.shape[-1])
    return flat.index_copy(0, rows, data).unflatten(0, (steps, batch))


def padded_inputs(problem: Problem, inputs: Inputs) -> tuple[Problem, Inputs]:
    """Return a packed problem as the padded one with lengths that means the same."""
    assert inputs.batch_sizes is not None
    lengths = packed_lengths(inputs.batch_sizes)
    rows = packed_rows(lengths, problem.steps).to(inputs.x.device)

    def pad(data: Tensor) -> Tensor:
        return pad_rows(data, rows, problem.steps, problem.batch)

    masks = None if inputs.dropout_masks is None else [pad(mask) for mask in inputs.dropout_masks]
    return (
        replace(problem, packed=False, lengths=True),
        replace(inputs, x=pad(inputs.x), lengths=lengths, batch_sizes=None, dropout_masks=masks),
    )


def repacked_result(result: Result, lengths: Tensor) -> Result:
    """Return a padded result with its output packed again; lengths must fall."""
    steps = result.output.shape[0]
    rows = packed_rows(lengths, steps).to(result.output.device)
    return replace(result, output=result.output.flatten(0, 1).index_select(0, rows))
