"""Tensors as the native engine reads and writes them: their memory, their strides, their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cellgate.errors import DtypeError, InputError, ShapeError

from .problem import Inputs, Problem, State, any_wrapped

__all__ = [
    "LOW_ADDRESSES",
    "REUSED_BLOCK",
    "REUSED_PIECE",
    "Saved",
    "addresses",
    "check_backed",
    "check_given_back",
    "contiguous",
    "empty_gradient",
    "empty_output",
    "empty_rows_like",
    "empty_states",
    "kept_apart",
    "layer_addresses",
    "more_than_numbers",
    "needed",
    "new_block",
    "plain_gradient",
    "plain_rows",
    "state_parts",
    "strides",
]

_functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
_is_batch, _is_wrapper = _functorch.is_legacy_batchedtensor, _functorch.is_functorch_wrapped_tensor


LOW_ADDRESSES = 1 << 32
"""Below lie offsets of views into storages that were given back, and of real memory little: as in the native core."""

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


def check_backed(named: Iterable[tuple[str, Tensor | None]]) -> None:
    """Check that there is memory behind tensors whose addresses the kernels are to read.

    A storage is asked only where the address is low, as the native core does: asking costs a microsecond a tensor.

    Args:
        named: What each tensor is called in the message, and the tensor.

    Raises:
        InputError: The storage of one was given back, as by ``untyped_storage().resize_(0)``.
    """
    for name, t in named:
        if t is None or (at := t.data_ptr()) >= LOW_ADDRESSES:
            continue
        there, scalar = t.untyped_storage().nbytes() if at else 0, t.element_size()
        if there >= (t.storage_offset() + t.numel()) * scalar or not t.numel():
            continue
        reach = sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True))
        expected = (t.storage_offset() + reach + 1) * scalar
        if there < expected:
            raise InputError(
                f"{name}: expected a storage of {expected} bytes or more behind {tuple(t.shape)}, got {there}: its "
                "memory was given back (untyped_storage().resize_); FSDP has weights within its own forward only, so "
                "call the module that it wraps"
            )


@dataclass(slots=True)
class Saved:
    """The tensors that forward kept, as backward knows them again: autograd's hooks may give back others."""

    addresses: tuple[int, ...]
    forms: tuple[tuple[tuple[int, ...], torch.dtype] | None, ...]

    @staticmethod
    def of(tensors: Sequence[Tensor | None]) -> Saved:
        """Describe what is about to be saved."""
        return Saved(addresses(tensors), tuple([None if t is None else (tuple(t.shape), t.dtype) for t in tensors]))

    def replaced(self, tensors: Sequence[Tensor | None]) -> bool:
        """Return whether some are others than were saved, as with checkpointing or offloading.

        Raises:
            As :func:`check_given_back`, for those.
        """
        if addresses(tensors) == self.addresses:
            return False
        check_given_back(tensors, self.forms)
        return True


def check_given_back(
    tensors: Iterable[Tensor | None], forms: Iterable[tuple[tuple[int, ...] | None, torch.dtype] | None]
) -> None:
    """Check tensors that backward finds in the places of those that forward kept, before the native core reads them.

    Args:
        tensors: What was found.
        forms: The shape, None where another place sees to it, and the dtype of each that was kept.

    Raises:
        DtypeError: A hook of autograd gave back another dtype than it was given.
        ShapeError: The same of a size.
        InputError: There is no memory behind one any more.
    """
    there = []
    for t, form in zip(tensors, forms, strict=True):
        if t is None or form is None:
            continue
        shape, dtype = form
        if t.dtype != dtype:
            raise DtypeError(
                f"saved tensors: expected {dtype}, as they were kept, got {t.dtype}: convert the layer (.to, .double) "
                "after backward, or, if a hook of autograd (saved_tensors_hooks) gave it, back in its unpack_hook"
            )
        if shape is not None and tuple(t.shape) != shape:
            raise ShapeError(
                f"saved tensors: expected {shape}, as it was kept, got {tuple(t.shape)} from a hook of autograd "
                "(saved_tensors_hooks): give back what it was given in its unpack_hook"
            )
        there.append(t)
    check_backed(("saved tensors", t) for t in there)


def more_than_numbers(grads: Sequence[Tensor | None]) -> bool:
    """Whether a gradient that came in is more than numbers in memory, so that only PyTorch's operators carry it on.

    It may be a wrapper, such as a batch of gradients or a DTensor, or have a tangent of forward-mode AD.
    """
    dual = forward_ad._current_level >= 0
    for g in grads:
        if g is None:
            continue
        if _is_batch(g) or _is_wrapper(g) or any_wrapped((g,)):
            return True
        if dual and forward_ad.unpack_dual(g).tangent is not None:
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
