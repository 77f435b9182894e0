"""Tensors as the native engine reads and writes them: their memory, their strides, their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .problem import Inputs, Problem, State

__all__ = [
    "REUSED_BLOCK",
    "REUSED_PIECE",
    "addresses",
    "contiguous",
    "empty_gradient",
    "empty_output",
    "empty_rows_like",
    "empty_states",
    "kept_apart",
    "layer_addresses",
    "needed",
    "new_block",
    "plain_gradient",
    "plain_rows",
    "state_parts",
    "strides",
    "without_memory",
]

_functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
_is_batch, _is_wrapper = _functorch.is_legacy_batchedtensor, _functorch.is_functorch_wrapped_tensor


# Bytes from which on a piece of what a variant keeps, or a mask, is best in memory used before: each call has many.
REUSED_PIECE = 1 << 18

# The same of a gradient or a saved block (native/blocks.h), which nobody resizes: most trainings let theirs go after
# every step.
REUSED_BLOCK = 1 << 20


def new_block(size: tuple[int, ...], like: Tensor, least: int = 0) -> Tensor:
    """Return an uninitialised tensor; ``cpu`` puts its own function in this place, which reuses large blocks."""
    return like.new_empty(size)


def empty_gradient(of: Tensor) -> Tensor:
    """Return an uninitialised tensor of the same shape; a large one in memory that is used again when it is gone."""
    if of.numel() * of.element_size() < REUSED_BLOCK or not of.is_contiguous():
        return torch.empty_like(of)
    return new_block(tuple(of.shape), of, REUSED_BLOCK)


def contiguous(t: Tensor) -> Tensor:
    """Return the tensor as it is to lie in memory: without gaps, in the order of its dimensions, with its own sign."""
    return t if t.is_contiguous() and not t.is_neg() else t.resolve_neg().contiguous()


def kept_apart(inputs: Inputs) -> Inputs:
    """Return the inputs with lengths, batch sizes and resets of their own, for backward.

    It reads them again, by when the caller may have written to theirs.
    """
    own = [None if t is None else t.clone() for t in (inputs.lengths, inputs.batch_sizes, inputs.reset)]
    return replace(inputs, lengths=own[0], batch_sizes=own[1], reset=own[2])


def without_memory(grads: Sequence[Tensor | None]) -> bool:
    """Whether a gradient that came in is a wrapper without memory of its own, as in a batch of them."""
    for g in grads:
        if g is not None and (_is_batch(g) or _is_wrapper(g)):
            return True
    return False


def needed(problem: Problem, needs: Sequence[bool], dy: Tensor | None, dh_n: Tensor | None) -> Sequence[bool]:
    """Return which gradients there are to find: after one step c_n knows nothing of the last layer's projection.

    Autograd then leaves the gradient out, which an optimiser tells from zeros.

    Args:
        problem: Of the plain cell.
        needs: Whether a gradient is wanted, weights last.
        dy: The gradient of the output.
        dh_n: That of the last layer's h_n.
    """
    if problem.steps != 1 or not problem.proj_sizes[-1] or dy is not None or dh_n is not None:
        return needs
    found, each = list(needs), 5 if problem.bias else 3
    for d in range(problem.directions):
        found[len(found) - 1 - d * each] = False
    return found


def plain_rows(t: Tensor) -> Tensor:
    """Return the tensor with its last dimension contiguous; the others may have any strides."""
    t = t.resolve_neg()  # a lazily negated view, such as z.conj().imag, has the other sign in memory
    return t if t.stride(-1) == 1 or t.shape[-1] <= 1 else t.contiguous()


def plain_gradient(dy: Tensor) -> Tensor:
    """Return dy as ``plain_rows`` does; one number for all, as a sum's gradient is, takes the memory of one row."""
    if dy.numel() > dy.shape[-1] > 1 and not any(dy.stride()):
        return dy.reshape(-1, dy.shape[-1])[:1].resolve_neg().contiguous().expand_as(dy)
    return plain_rows(dy)


def strides(t: Tensor) -> tuple[int, int]:
    """Return the strides from step to step and from row to row; packed data have rows only."""
    return (t.stride(0), t.stride(1)) if t.dim() == 3 else (0, t.stride(0))


def addresses(tensors: Sequence[Tensor | None]) -> tuple[int, ...]:
    """Return where each tensor begins, 0 for one that is not there."""
    return tuple([0 if t is None else t.data_ptr() for t in tensors])


def layer_addresses(parts: Sequence[Tensor | None], problem: Problem, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return where each layer's (D, B, size) begins, in one tensor for all layers or one tensor each."""
    if not parts:
        return None
    first = parts[0]
    if not problem.uniform or problem.layers == 1:
        return addresses(parts)
    if first is None:
        return (0,) * problem.layers
    start, each = first.data_ptr(), problem.directions * problem.batch * sizes[0] * first.element_size()
    return tuple([start + layer * each for layer in range(problem.layers)])


def state_parts(state: State | None) -> tuple[Tensor, ...]:
    """Return the tensors of a state, none where there is none."""
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else state


def empty_states(problem: Problem, sizes: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """Return memory for h_n or c_n in the form of ``State``: one tensor, or one (D, B, size) a layer."""
    if problem.uniform:
        return [x.new_empty(problem.layers * problem.directions, problem.batch, sizes[0])]
    return [x.new_empty(problem.directions, problem.batch, size) for size in sizes]


def empty_output(problem: Problem, x: Tensor) -> Tensor:
    """Return the output, (T, B, D*P) or packed; time-major in memory whatever x is, as nn.LSTM's."""
    width = problem.directions * problem.output_sizes[-1]
    if problem.packed:
        return new_block((x.shape[0], width), x)
    return new_block((problem.steps, problem.batch, width), x)


def empty_rows_like(x: Tensor, problem: Problem) -> Tensor:
    """Return memory for the gradient of x, batch-major where x is."""
    if problem.packed or x.stride(0) >= x.stride(1):
        return x.new_empty(x.shape)
    return x.new_empty(problem.batch, problem.steps, x.shape[-1]).transpose(0, 1)
