"""Where else in the data the network was in much the same state.

A span of steps is compared with every span of the same length: the distance is the root mean square over the span's
steps and the units, each unit in units of its own spread, so that a busy unit does not speak for all. Strobelt et al.
(2018), "LSTMVis", match states by which units are active above a threshold; here no threshold has to be chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cellgate.errors import InputError

__all__ = ["Match", "StateIndex"]


class Match(NamedTuple):
    """A span in much the same states.

    Attributes:
        sequence: Which sequence it is in.
        start: Its first step.
        stop: The step after its last.
        distance: Root mean square over steps and units, in units of each unit's spread; 0 for equal states.
    """

    sequence: int
    start: int
    stop: int
    distance: float


class StateIndex:
    """Hidden (or cell) states of some sequences, to be searched by span.

    Args:
        states: One (T, H) tensor a sequence; lengths may differ.

    Raises:
        InputError: There is no state, or widths differ.

    Example:
        >>> import torch
        >>> from cellgate.trace import StateIndex
        >>> wave = torch.sin(torch.arange(60.0) * 2 * torch.pi / 20)
        >>> index = StateIndex([torch.stack([wave, wave.roll(5)], 1)])
        >>> [match.start for match in index.nearest(0, 25, 30, count=2)]
        [5, 45]
    """

    def __init__(self, states: Sequence[Tensor]) -> None:
        if not states or any(s.dim() != 2 for s in states) or len({s.shape[1] for s in states}) != 1:
            shapes = [tuple(s.shape) for s in states]
            raise InputError(f"states: expected (T, H) tensors of one width, got {shapes[:5]}")
        self._lengths = [len(s) for s in states]
        joined = torch.cat([s.detach().cpu().float() for s in states])
        if not len(joined):
            raise InputError("states: expected at least one step, got none")
        spread = joined.std(0, unbiased=False)
        # A unit that never moves tells no state from another.
        self._states = (joined - joined.mean(0)) / torch.where(spread > 0, spread, torch.ones_like(spread))
        self._begin = [sum(self._lengths[:k]) for k in range(len(states))]

    def nearest(self, sequence: int, start: int, stop: int, count: int = 5) -> list[Match]:
        """Return the spans elsewhere whose states are nearest to those of a span, nearest first, none overlapping.

        Args:
            sequence: Which sequence the span is in.
            start: Its first step.
            stop: The step after its last.
            count: The most to return.

        Raises:
            InputError: There is no such span.
        """
        if not (0 <= sequence < len(self._lengths) and 0 <= start < stop <= self._lengths[sequence]):
            raise InputError(
                f"span: expected steps of one of {len(self._lengths)} sequences, got {sequence}: {start} to {stop}"
            )
        width = stop - start
        query = self._states[self._begin[sequence] + start : self._begin[sequence] + stop]
        squared = torch.cdist(query, self._states).square() / self._states.shape[1]  # (width, N)
        found = []
        for k, (begin, length) in enumerate(zip(self._begin, self._lengths, strict=True)):
            if length < width:
                continue
            spans = length - width + 1
            mean = sum(squared[j, begin + j : begin + j + spans] for j in range(width)) / width
            assert isinstance(mean, Tensor)
            if k == sequence:
                mean[max(0, start - width + 1) : stop] = torch.inf
            found.append((k, mean))
        return self._best(found, width, count)

    @staticmethod
    def _best(found: list[tuple[int, Tensor]], width: int, count: int) -> list[Match]:
        matches = []
        while len(matches) < count:
            best = min(((float(mean.min()), k) for k, (_, mean) in enumerate(found)), default=(torch.inf, -1))
            if best[0] == torch.inf:
                break
            sequence, mean = found[best[1]]
            at = int(mean.argmin())
            matches.append(Match(sequence, at, at + width, best[0] ** 0.5))
            mean[max(0, at - width + 1) : at + width] = torch.inf
        return matches
