"""What an output owes to each past step and input column, found in two ways that can disagree.

    gradient times input   (x - x0) * d output / d x         Shrikumar et al. (2017), "Learning Important Features
                           the first-order change of the       Through Propagating Activation Differences", section 2.2
                           output, all cells at once
    occlusion              output(x) - output(x with one     Zeiler and Fergus (2014), "Visualizing and Understanding
                           cell set to x0)                     Convolutional Networks", section 2.3

x0 is what stands for "nothing known", the column's mean as a rule. Where gates saturate the gradient says little though
the input mattered, and where two cells say the same occluding either changes nothing: cells in which the two ways
disagree are marked rather than averaged away.

Deviation: occlusion is taken over blocks of consecutive steps when there are many, and gradients are summed over the
same blocks before the two are compared.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cellgate.errors import DtypeError, InputError

__all__ = ["Attribution", "attribute"]

Way = Literal["gradient", "occlusion"]
_DISAGREE = 0.25  # of the largest influence


@dataclass(frozen=True)
class Attribution:
    """Influence of every block of steps and every column on one number.

    Attributes:
        output: That number for the input as it is.
        neutral: The number for an input of x0 throughout.
        edges: (K + 1,) int64, block k holds the steps from edges[k] to before edges[k + 1].
        gradient: (K, I) gradient times input, summed over the block's steps; in units of the output.
        occlusion: (K, I) how much the output falls when the block is set to x0; in units of the output.
        by_step: (T, I) gradient times input of the single steps.
    """

    output: float
    neutral: float
    edges: Tensor
    gradient: Tensor
    occlusion: Tensor
    by_step: Tensor

    @property
    def disagreement(self) -> Tensor:
        """(K, I) distance of the two influences in units of the largest of either, from 0 to 2."""
        largest = torch.maximum(self.gradient.abs(), self.occlusion.abs()).max()
        distance = (self.gradient - self.occlusion).abs()
        return distance / largest if largest > 0 else distance

    @property
    def disagrees(self) -> Tensor:
        """(K, I) bool, where that distance is above a quarter: read neither there without the other."""
        return self.disagreement > _DISAGREE

    @property
    def agreement(self) -> float:
        """Spearman's rank correlation of the sizes of the two influences over all cells.

        NaN for fewer than three, and where one is not a number.
        """
        a, b = self.gradient.abs().flatten(), self.occlusion.abs().flatten()
        if len(a) < 3 or bool((a + b).isnan().any()):
            return math.nan
        return float(torch.corrcoef(torch.stack([_ranks(a), _ranks(b)]))[0, 1])

    def columns(self, way: Way) -> Tensor:
        """(I,) the summed size of a column's influences, over all blocks."""
        return getattr(self, way).abs().sum(0)

    def blocks(self, way: Way) -> Tensor:
        """(K,) the summed signed influence of a block, over all columns."""
        return getattr(self, way).sum(1)


def attribute(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    x0: Tensor | None = None,
    *,
    cells: int = 512,
    at_once: int = 64,
) -> Attribution:
    """Attribute one number that a model computes from a sequence.

    Args:
        function: (N, T, I) to (N,), differentiable: the model in eval mode with the number of interest picked out. It
            is called on copies of x with parts replaced.
        x: (T, I) the sequence, T and I of at least 1, of a float dtype.
        x0: What stands for "nothing known", (I,) or (T, I); zeros if left out, the mean of standardised columns.
        cells: The most occlusions to compute, at least 1; more steps are taken together until there are no more than
            that, or one block is left, of I occlusions.
        at_once: Occlusions in one call of the function, at least 1.

    Raises:
        InputError: x is not (T, I) or empty, x0 does not fit, ``cells`` or ``at_once`` is no positive integer, or the
            function gives something else than N numbers.
        DtypeError: x is no tensor of floats, which alone have gradients.

    Example:
        >>> import torch
        >>> from cellgate.trace import attribute
        >>> found = attribute(lambda x: 2 * x[:, 0, 1] - x[:, 2, 0], torch.ones(3, 2))
        >>> found.occlusion.tolist()
        [[0.0, 2.0], [0.0, 0.0], [-1.0, 0.0]]
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise DtypeError(f"x: expected a tensor of floats, got {got}: convert it with torch.as_tensor(x).float()")
    if x.dim() != 2 or 0 in x.shape:
        raise InputError(f"x: expected one sequence (T, I) with steps and columns, got {tuple(x.shape)}")
    for name, count in (("cells", cells), ("at_once", at_once)):
        if not isinstance(count, numbers.Integral) or count < 1:
            raise InputError(f"{name}: expected a positive integer, got {count!r}")
    # What was made in inference mode has no gradients, in or out of it; a copy made outside has.
    with torch.inference_mode(False):
        return _attribute(function, x.detach().clone(), x0, int(cells), int(at_once))


def _attribute(
    function: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor | None, cells: int, at_once: int
) -> Attribution:
    steps, columns = x.shape
    x0 = torch.zeros_like(x) if x0 is None else x0.detach().to(x)
    if x0.shape not in ((columns,), (steps, columns)):
        raise InputError(f"x0: expected ({columns},) or ({steps}, {columns}), got {tuple(x0.shape)}")
    x0 = x0.expand(steps, columns)

    with torch.enable_grad():
        leaf = x.clone().unsqueeze(0).requires_grad_()
        output = _numbers(function, leaf)
        # Constants and outputs that do not see x have no gradient.
        (gradient,) = torch.autograd.grad(output.sum(), leaf, allow_unused=True) if output.requires_grad else (None,)
    by_step = torch.zeros_like(x) if gradient is None else (x - x0) * gradient[0]

    blocks = min(steps, max(1, cells // columns))
    edges = torch.arange(blocks + 1, device="cpu") * steps // blocks
    occlusion = torch.empty(blocks * columns, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        neutral = _numbers(function, x0.unsqueeze(0))[0]
        for first in range(0, blocks * columns, at_once):
            cell = range(first, min(first + at_once, blocks * columns))
            copies = x.repeat(len(cell), 1, 1)
            for row, k in enumerate(cell):
                span, column = slice(int(edges[k // columns]), int(edges[k // columns + 1])), k % columns
                copies[row, span, column] = x0[span, column]
            occlusion[first : first + len(cell)] = output.detach()[0] - _numbers(function, copies)

    block_of = torch.repeat_interleave(torch.arange(blocks, device="cpu"), edges.diff())
    summed = torch.zeros(blocks, columns, dtype=x.dtype, device=x.device).index_add_(0, block_of.to(x.device), by_step)
    return Attribution(
        float(output[0].detach()), float(neutral), edges, summed, occlusion.view(blocks, columns), by_step
    )


def _numbers(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    result = function(x)
    if result.shape != (len(x),):
        raise InputError(f"function: expected one number a sequence, ({len(x)},), got {tuple(result.shape)}: pick one")
    return result


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, those of equal values averaged."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return ((2 * last - counts - 1).double() / 2)[inverse]
