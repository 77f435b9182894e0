"""Truncated backpropagation through time: a long batch in chunks, the state carried on and cut from the graph.

R. J. Williams, J. Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories",
Neural Computation 2(4), 1990: BPTT(h; h'), here with h' = h, so that each step is differentiated through once.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cellgate.errors import DtypeError, InputError, ShapeError

from .checks import check_lengths, one_length

__all__ = ["Chunk", "tbptt"]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A chunk of a batch, run.

    Attributes:
        output: Of the steps of this chunk, in the layout of the input.
        state: (h_n, c_n) after it, still in the graph.
        target: The target's steps of this chunk; None without a target.
        start: Its first step.
        stop: The step after its last.
        lengths: How many of its steps each sequence has, (B,) int64; None without lengths.
    """

    output: Tensor
    state: tuple[Any, Any]
    target: Tensor | None
    start: int
    stop: int
    lengths: Tensor | None


def tbptt(
    lstm: Any,
    input: Tensor,
    steps: int,
    hx: tuple[Any, Any] | None = None,
    *,
    target: Tensor | None = None,
    lengths: Sequence[int] | Tensor | None = None,
    reset: Tensor | None = None,
) -> Iterator[Chunk]:
    """Run a layer over a batch chunk by chunk, for truncated backpropagation through time.

    Each chunk begins with the state in which the one before ended, detached. A chunk runs when the loop asks for it, so
    the weights may change between chunks. The state of the last chunk continues in ``hx`` of the next call, detached.

    Args:
        lstm: A :class:`cellgate.LSTM` or ``nn.LSTM`` of one direction.
        input: (T, B, I), (B, T, I) with ``batch_first``, or (T, I).
        steps: Steps of a chunk; the last one has what is left.
        hx: The state to begin with; gradients do not flow into it.
        target: A tensor or an array with the input's leading dimensions, cut alike.
        lengths: The length of each sequence of a padded batch, B integers from 0 to T; of a :class:`cellgate.LSTM` or
            a converted layer.
        reset: Where episodes begin, bools in the layout of the input; likewise.

    Yields:
        A :class:`Chunk` at a time.

    Raises:
        InputError: A bidirectional layer, ``steps`` is not a positive integer, a length out of range, or lengths or
            resets for an ``nn.LSTM``, which takes none.
        ShapeError: ``target`` or ``reset`` has other leading dimensions than the input, or not one length a sequence.
        DtypeError: ``input`` is no padded tensor, ``target`` neither tensor nor array, or lengths that are no integers.

    Example:
        >>> import torch, cellgate
        >>> lstm = cellgate.LSTM(3, 8)
        >>> optimizer = torch.optim.SGD(lstm.parameters(), 0.1)
        >>> x, y = torch.randn(100, 4, 3), torch.randn(100, 4, 8)
        >>> for chunk in cellgate.tbptt(lstm, x, 40, target=y):
        ...     loss = (chunk.output - chunk.target).square().mean()
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> chunk.start, chunk.stop
        (80, 100)
    """
    if lstm.bidirectional:
        raise InputError(
            "tbptt: expected an LSTM of one direction, got bidirectional=True: its backward direction begins at the "
            "last step of all"
        )
    if not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or steps < 1:
        raise InputError(f"steps: expected a positive integer, got {steps!r}")
    if not isinstance(input, Tensor) or input.is_nested:
        got = type(input).__name__ if not isinstance(input, Tensor) else "a nested tensor"
        raise DtypeError(f"input: expected a tensor of padded sequences, got {got}: pad it, and give lengths")
    if getattr(type(lstm), "forward", None) is nn.LSTM.forward and not (lengths is None and reset is None):
        name = "reset" if lengths is None else "lengths"
        raise InputError(f"{name}: expected None with an nn.LSTM, which takes none: cellgate.convert it first")
    time = 1 if lstm.batch_first and input.dim() == 3 else 0
    leading = input.shape[: input.dim() - 1]
    reset = None if reset is None else torch.as_tensor(reset)
    for name, given in (("target", target), ("reset", reset)):
        if given is None:
            continue
        if not hasattr(given, "shape"):
            raise DtypeError(f"{name}: expected a tensor, got {type(given).__name__}: wrap it in torch.as_tensor")
        if tuple(given.shape[: len(leading)]) != tuple(leading):
            raise ShapeError(f"{name}: expected {tuple(leading)} first, as the input, got {tuple(given.shape)}")
    if lengths is not None:
        batched = input.dim() == 3
        batch = input.shape[1 - time] if batched else 1
        lengths = check_lengths(lengths if batched else one_length(lengths), batch, input.shape[time], values=True)
    return _chunks(lstm, input, int(steps), hx, target, lengths, reset, time)


def _chunks(
    lstm: Any, input: Tensor, steps: int, hx: Any, target: Any, lengths: Tensor | None, reset: Tensor | None, time: int
) -> Iterator[Chunk]:
    state = _detached(hx)
    for start in range(0, input.shape[time], steps):
        here = slice(start, start + steps)
        part = input.narrow(time, start, min(steps, input.shape[time] - start))
        rest: dict[str, Any] = {}
        own = None
        if lengths is not None:
            own = (lengths - start).clamp(0, part.shape[time])
            rest["lengths"] = own
        if reset is not None:
            rest["reset"] = reset[:, here] if time else reset[here]
        output, after = lstm(part, state, **rest)
        wanted = None if target is None else target[:, here] if time else target[here]
        yield Chunk(output, after, wanted, start, start + part.shape[time], own)
        state = _detached(after)


def _detached(state: Any) -> Any:
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return tuple(_detached(part) for part in state)
