"""Random masks of a call, drawn here and nowhere else, so that every backend and thread count sees the same.

They come from PyTorch's generator of the input's device, always in this order: dropped weights, locked dropout of the
input, dropout between layers, then layer by layer and direction by direction the masks inside the recurrence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cellgate.backends import Inputs, Problem, cpu
from cellgate.equations import CellMasks

from .variant import Variant

__all__ = ["add_noise", "draw_dropout_masks"]


def add_noise(variant: Variant, training: bool, problem: Problem, inputs: Inputs) -> None:
    """Put the masks of a call into its inputs."""
    input_p, between_p, _ = variant.locked_dropout
    if training and variant.weight_drop:
        inputs.weights = [
            [w._replace(w_hh=torch.dropout(w.w_hh, variant.weight_drop, True)) for w in layer]
            for layer in inputs.weights
        ]
    if training and input_p:
        inputs.x = inputs.x * _rows(_locked(inputs.x, problem.batch, problem.input_size, input_p), inputs)
    if training and between_p and problem.layers > 1:
        widths = [problem.directions * size for size in problem.output_sizes[:-1]]
        masks = [_locked(inputs.x, problem.batch, width, between_p) for width in widths]
        inputs.dropout_masks = [_rows(mask, inputs, problem.steps) for mask in masks]
    if problem.noise:
        inputs.cell_masks = [
            [_cell_masks(variant, training, problem, inputs.x, layer) for _ in range(problem.directions)]
            for layer in range(problem.layers)
        ]


def draw_dropout_masks(problem: Problem, x: Tensor) -> list[Tensor]:
    """Draw a mask for every layer but the last.

    nn.LSTM draws one Bernoulli number for each output of a layer, in this order and shape, and from the same
    generator, so the same seed gives the same masks; and they are the same on every backend.
    """
    leading = x.shape[:-1]
    return [
        torch.dropout(x.new_ones(*leading, problem.directions * size), problem.dropout, True)
        for size in problem.output_sizes[:-1]
    ]


def _locked(x: Tensor, batch: int, size: int, p: float) -> Tensor:
    """Return one mask for all steps, (B, size)."""
    return torch.dropout(x.new_ones(batch, size), p, True)


def _rows(mask: Tensor, inputs: Inputs, steps: int | None = None) -> Tensor:
    """Return a (B, size) mask in the form of the data: for all T steps, or for the rows of packed data."""
    if inputs.batch_sizes is not None:
        rows = torch.cat([torch.arange(int(n)) for n in inputs.batch_sizes])
        return mask.index_select(0, rows.to(mask.device))
    return mask if steps is None else mask.unsqueeze(0).expand(steps, -1, -1)


def _drawn(wanted: Sequence[tuple[tuple[int, ...], float, float]], like: Tensor, transformed: bool) -> list[Tensor]:
    """Draw a mask for each (shape, probability p, value): the value with probability p, else zero.

    PyTorch's Bernoulli takes one random number of 53 bits for each, which costs as much as the layer; here 16 bits
    decide, so p is rounded to a multiple of 2^-16. Left to PyTorch are p of a few of these, and compiled graphs, in
    which numbers of 64 bits cannot be drawn.
    """
    if torch.compiler.is_compiling() or not all(16 / 65536 < p < 1 - 16 / 65536 for _, p, _ in wanted):
        return [like.new_empty(shape).bernoulli_(p).mul_(value) for shape, p, value in wanted]
    counts = [math.prod(shape) for shape, _, _ in wanted]
    words = torch.empty((sum(counts) + 3) // 4, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    native = cpu.unavailable() is None and like.is_cpu and like.dtype in cpu.SCALARS
    if native and type(like) in (Tensor, nn.Parameter) and type(words) is Tensor and not transformed:
        masks, at = [], words.data_ptr()
        for count, (shape, p, value) in zip(counts, wanted, strict=True):
            mask = like.new_empty(shape)
            is_double = like.dtype == torch.float64
            cpu.native().fill_mask(is_double, at, count, round(p * 65536) - 32768, value, mask.data_ptr())
            masks.append(mask)
            at += 2 * count
        return masks
    parts = words.view(torch.int16)[: sum(counts)].split(counts)
    return [
        (bits < round(p * 65536) - 32768).to(like.dtype).mul_(value).view(shape)
        for bits, (shape, p, value) in zip(parts, wanted, strict=True)
    ]


def _cell_masks(variant: Variant, training: bool, problem: Problem, x: Tensor, layer: int) -> CellMasks:
    hidden, out = problem.hidden_sizes[layer], problem.output_sizes[layer]
    steps, batch = problem.steps, problem.batch
    noise = problem.noise
    made: dict[str, Any] = {}
    if "locked" in noise:
        made["locked"] = _locked(x, batch, out, variant.locked_dropout[2])
    wanted: dict[str, tuple[tuple[int, ...], float, float]] = {}
    if "candidate" in noise:
        kept = 1.0 - variant.recurrent_dropout
        wanted["candidate"] = (steps, batch, hidden), kept, 1.0 / kept
    for name, size, p in (("zone_c", hidden, variant.zoneout[0]), ("zone_h", out, variant.zoneout[1])):
        if name not in noise:
            continue
        if training:
            wanted[name] = (steps, batch, size), p, 1.0
        else:
            made[name] = x.new_full((1, 1, size), p).expand(steps, batch, size)
    if wanted:
        made |= zip(wanted, _drawn(list(wanted.values()), x, problem.transformed), strict=True)
    return CellMasks(**made)
