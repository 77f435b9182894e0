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
from cellgate.backends.cpu_tensors import REUSED_PIECE
from cellgate.equations import CellMasks

from .variant import Variant

__all__ = ["add_noise", "cell_masks", "draw_dropout_masks", "draw_masks", "drop_weights", "locked_mask"]


def add_noise(variant: Variant, training: bool, problem: Problem, inputs: Inputs) -> None:
    """Put the masks of a call into its inputs."""
    input_p, between_p, _ = variant.locked_dropout
    if training and variant.weight_drop:
        inputs.weights = [[w._replace(w_hh=drop_weights(w.w_hh, variant)) for w in layer] for layer in inputs.weights]
    if training and input_p:
        inputs.x = inputs.x * _rows(locked_mask(inputs.x, problem.batch, problem.input_size, input_p), inputs)
    if training and between_p and problem.layers > 1:
        widths = [problem.directions * size for size in problem.output_sizes[:-1]]
        masks = [locked_mask(inputs.x, problem.batch, width, between_p) for width in widths]
        inputs.dropout_masks = [_rows(mask, inputs, problem.steps) for mask in masks]
    if problem.noise:
        shape, like = (problem.steps, problem.batch), inputs.x
        inputs.cell_masks = [
            [
                cell_masks(variant, training, problem.noise, like, shape, (hidden, out), problem.transformed)
                for _ in range(problem.directions)
            ]
            for hidden, out in zip(problem.hidden_sizes, problem.output_sizes, strict=True)
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


def drop_weights(w_hh: Tensor, variant: Variant) -> Tensor:
    """Return recurrent weights with some of their entries dropped."""
    return torch.dropout(w_hh, variant.weight_drop, True)


def locked_mask(x: Tensor, batch: int, size: int, p: float) -> Tensor:
    """Return one mask for all steps, (B, size)."""
    return torch.dropout(x.new_ones(batch, size), p, True)


def _rows(mask: Tensor, inputs: Inputs, steps: int | None = None) -> Tensor:
    """Return a (B, size) mask in the form of the data: for all T steps, or for the rows of packed data."""
    if inputs.batch_sizes is not None:
        rows = torch.cat([torch.arange(int(n), device=mask.device) for n in inputs.batch_sizes])
        return mask.index_select(0, rows)
    return mask if steps is None else mask.unsqueeze(0).expand(steps, -1, -1)


_GOLDEN, _FIRST, _SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _random_words(seed: Tensor, first: int, count: int) -> Tensor:
    """Return random words of 64 bits, from the first-th after a seed on, as the native core makes them.

    SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """

    def mixed(z: Tensor, shift: int) -> Tensor:
        return z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))  # the shift of a number without a sign

    z = torch.arange(first + 1, first + count + 1, device=seed.device) * _GOLDEN + seed
    return mixed(mixed(mixed(z, 30) * _FIRST, 27) * _SECOND, 31)


def draw_masks(
    wanted: Sequence[tuple[tuple[int, ...], float, float]], like: Tensor, transformed: bool = False
) -> list[Tensor]:
    """Draw a mask for each (shape, probability p, value): the value with probability p, else zero.

    PyTorch's Bernoulli takes one random number of 53 bits for each, which costs as much as the layer; here its
    generator gives a seed, and of the numbers that follow from it 16 bits decide, so p is rounded to a multiple of
    2^-16. Left to PyTorch are p of a few of these, and compiled graphs, in which numbers of 64 bits cannot be drawn.
    """
    if torch.compiler.is_compiling() or not all(16 / 65536 < p < 1 - 16 / 65536 for _, p, _ in wanted):
        if transformed:
            kind = {"dtype": like.dtype, "device": like.device}
            return [torch.bernoulli(torch.full(shape, p, **kind)) * value for shape, p, value in wanted]
        return [like.new_empty(shape).bernoulli_(p).mul_(value) for shape, p, value in wanted]
    if transformed:
        # vmap draws for each of its elements, or one for all, as it was asked to, but not into a tensor that is there.
        seed = torch.randint(-(2**63), 2**63 - 1, (), device=like.device)
        # The same number as below from the same generator: there it is the word drawn, here one that begins at -2^63.
        seed = seed ^ -(2**63)
    else:
        seed = torch.empty((), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    native = cpu.unavailable() is None and like.is_cpu and like.dtype in cpu.SCALARS
    native = native and type(like) in (Tensor, nn.Parameter) and type(seed) is Tensor and not transformed
    at, masks, is_double = 0, [], like.dtype == torch.float64
    start = int(seed) % 2**64 if native else 0
    for shape, p, value in wanted:
        count, limit = math.prod(shape), round(p * 65536) - 32768
        words = (count + 3) // 4
        if native:
            mask = cpu.new_block(shape, like, REUSED_PIECE)
            cpu.native().fill_mask(is_double, start, at, count, limit, value, mask.data_ptr())
        else:
            bits = _random_words(seed, at, words).view(torch.int16)[:count]
            mask = ((bits < limit).to(like.dtype) * value).view(shape)
        masks.append(mask)
        at += words
    return masks


def cell_masks(
    variant: Variant,
    training: bool,
    noise: Sequence[str],
    x: Tensor,
    shape: tuple[int, int],
    sizes: tuple[int, int],
    transformed: bool = False,
) -> CellMasks:
    """Draw the masks inside the recurrence of one layer in one direction.

    Args:
        variant: Whose noise it is.
        training: Whether it is drawn; in evaluation zoneout takes the expected value.
        noise: What ``variant.noise(training)`` asks for.
        x: Whose dtype and device the masks have.
        shape: T, B.
        sizes: H, and the size of h.
        transformed: Whether a transform of torch.func is active.
    """
    (steps, batch), (hidden, out) = shape, sizes
    made: dict[str, Any] = {}
    if "locked" in noise:
        made["locked"] = locked_mask(x, batch, out, variant.locked_dropout[2])
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
        made |= zip(wanted, draw_masks(list(wanted.values()), x, transformed), strict=True)
    return CellMasks(**made)
