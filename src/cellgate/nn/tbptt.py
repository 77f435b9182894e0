"""Truncated backpropagation through time: a long batch in chunks, the state carried on and cut from the graph.

R. J. Williams, J. Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories",
Neural Computation 2(4), 1990: BPTT(h; h'), here with h' = h, so that each step is differentiated through once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cellgate.errors import InputError, ShapeError

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
        target: Anything with the input's leading dimensions, cut alike.
        lengths: The length of each sequence of a padded batch.
        reset: Where episodes begin, in the layout of the input.

    Yields:
        A :class:`Chunk` at a time.

    Raises:
        InputError: A bidirectional layer, or ``steps`` is not a positive integer.
        ShapeError: ``target`` or ``reset`` has other leading dimensions than the input.

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
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InputError(f"steps: expected a positive integer, got {steps!r}")
    time = 1 if lstm.batch_first and input.dim() == 3 else 0
    leading = input.shape[: input.dim() - 1]
    for name, given in (("target", target), ("reset", reset)):
        if given is not None and given.shape[: len(leading)] != leading:
            raise ShapeError(f"{name}: expected {tuple(leading)} first, as the input, got {tuple(given.shape)}")
    return _chunks(lstm, input, steps, hx, target, lengths, reset, time)


def _chunks(
    lstm: Any, input: Tensor, steps: int, hx: Any, target: Any, lengths: Any, reset: Any, time: int
) -> Iterator[Chunk]:
    state = _detached(hx)
    whole = None if lengths is None else torch.as_tensor(lengths, device="cpu")
    for start in range(0, input.shape[time], steps):
        here = slice(start, start + steps)
        part = input.narrow(time, start, min(steps, input.shape[time] - start))
        rest: dict[str, Any] = {}
        own = None
        if whole is not None:
            own = (whole - start).clamp(0, part.shape[time])
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
