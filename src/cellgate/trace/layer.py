"""One layer of one call: its gates as tensors, and what they say about it."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from cellgate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .picture import HeatMaps, Svg

__all__ = ["GATES", "Direction", "Layer", "Saturation"]

GATES = ("i", "f", "g", "o", "c", "h")
"""What can be recorded: input gate, forget gate, cell candidate, output gate, memory cell, hidden state."""


class Saturation(NamedTuple):
    """How much of a gate's time is spent nearly closed and nearly open.

    Attributes:
        below: Share of its values below the lower threshold; a float, or (H,) a unit.
        above: Share above the upper one.
    """

    below: Any
    above: Any


class Direction:
    """The gates of one layer in one direction, in the layout of the module's input.

    ``i``, ``f``, ``g``, ``o`` and ``c`` are (T, B, H), ``h`` is (T, B, P or H); with ``batch_first`` (B, T, ...), for
    unbatched input (T, ...). A ``PackedSequence`` gives them padded, time first (batch first if the module is), with
    the sequences in the order in which the caller packed them. Past the end of a sequence they are zero, never NaN, so
    that sums and gradients need no care; :attr:`mask` says where that is, and all statistics leave it out.

    Attributes:
        title: Which one this is, for tables and pictures.
        lengths: (B,) int64 on the CPU, in the caller's order; None where all sequences are of length T.
        reset: (T, B) bool in the same layout, true where an episode begins; None without ``reset=``.
        batch_first: Whether B comes before T.
    """

    def __init__(
        self,
        parts: dict[str, Tensor],
        *,
        title: str,
        lengths: Tensor | None,
        reset: Tensor | None,
        batch_first: bool,
        batched: bool,
    ) -> None:
        self._parts = parts
        self.title = title
        self.lengths = lengths
        self.reset = reset
        self.batch_first = batch_first
        self.batched = batched

    def __getattr__(self, name: str) -> Tensor:
        parts = self.__dict__.get("_parts", {})
        if name in parts:
            return parts[name]
        if name in GATES:
            raise AttributeError(f"{name}: not recorded, because the trace was opened with gates={tuple(parts)}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parts]

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of what was recorded, in the order i, f, g, o, c, h."""
        return tuple(self._parts)

    @property
    def steps(self) -> int:
        """T, the number of steps; of the longest sequence where they differ."""
        return self._any().shape[0]

    @property
    def sequences(self) -> int:
        """B, the number of sequences; 1 for unbatched input."""
        return self._any().shape[1]

    @property
    def units(self) -> int:
        """H, the number of units; the size of h where only that was recorded."""
        return self._any().shape[2]

    @property
    def mask(self) -> Tensor:
        """Whether a step is within its sequence: bool, shaped like the gates without their last dimension."""
        inside = self._inside()
        return inside.squeeze(1) if not self.batched else inside.T if self.batch_first else inside

    def time_major(self, name: str) -> Tensor:
        """Return one gate as (T, B, H), whatever the layout of the input.

        Raises:
            AttributeError: It was not recorded.
        """
        part = getattr(self, name)
        return part.unsqueeze(1) if not self.batched else part.transpose(0, 1) if self.batch_first else part

    def saturation(self, gate: str, below: float = 0.1, above: float = 0.9, *, per_unit: bool = False) -> Saturation:
        """Return the shares of a gate's values, over all steps and sequences, that are nearly closed and nearly open.

        Args:
            gate: "i", "f" or "o", which live in [0, 1]; or "g" or "h", in [-1, 1], for which ``below`` is usually -0.9.
            below: Count values smaller than this.
            above: Count values larger than this.
            per_unit: Return (H,) tensors instead of floats.

        Raises:
            AttributeError: The gate was not recorded.
        """
        values = self.time_major(gate).detach()
        inside = self._inside().unsqueeze(-1)
        count = inside.sum().clamp(min=1)
        shares = [((values < below) & inside).sum((0, 1)) / count, ((values > above) & inside).sum((0, 1)) / count]
        return Saturation(*(shares if per_unit else [float(share.mean()) for share in shares]))

    def mean(self, gate: str) -> Tensor:
        """Return the mean of a gate over all steps and sequences, (H,).

        Raises:
            AttributeError: The gate was not recorded.
        """
        values = self.time_major(gate).detach()
        inside = self._inside().unsqueeze(-1)
        return torch.where(inside, values, 0).sum((0, 1)) / inside.sum().clamp(min=1)

    def memory_time(self) -> Tensor:
        """Return how many steps each unit remembers: -1 / ln(its mean forget gate), (H,).

        A memory cell that only forgets falls to 1/e of its value in that time. Infinite where the gate is always open.

        Raises:
            AttributeError: f was not recorded.
        """
        return 1 / torch.log(self.mean("f")).abs()

    def cell_norm(self) -> Tensor:
        """Return the Euclidean norm of c at each step, averaged over the sequences that reach it, (T,).

        Raises:
            AttributeError: c was not recorded.
        """
        norms = torch.linalg.vector_norm(self.time_major("c").detach(), dim=-1)
        inside = self._inside()
        return torch.where(inside, norms, 0).sum(1) / inside.sum(1).clamp(min=1)

    def heat_maps(
        self,
        sequence: int = 0,
        *,
        order: str = "similarity",
        labels: Sequence[object] | Tensor | None = None,
        signal: Sequence[float] | None = None,
    ) -> HeatMaps:
        """Return the plain numbers of a picture: of one sequence, its own length, units in a readable order.

        Args:
            sequence: Which sequence of the batch.
            order: "similarity" (units that do alike stand together), "memory" (long memory on top) or "index".
            labels: A name for each step, such as the character that was read; what is no str is written as one.
            signal: A number for each step, such as the input, for a curve above the maps; one that is not finite
                leaves a gap.

        Raises:
            IndexError: There is no such sequence.
            InputError: ``sequence`` is not an integer.
            ValueError: No such order, or not one label or number a step.
        """
        from .order import unit_order
        from .picture import HeatMaps

        if not isinstance(sequence, numbers.Integral):
            raise InputError(f"sequence: expected an integer, the number of a sequence, got {sequence!r}")
        if not -self.sequences <= sequence < self.sequences:
            known = f"0 to {self.sequences - 1}" if self.sequences else "a batch with sequences"
            raise IndexError(f"sequence: expected {known}, got {sequence}{'' if self.sequences else ' of none'}")
        length = self.steps if self.lengths is None else int(self.lengths[sequence])
        for name, given in (("labels", labels), ("signal", signal)):
            if given is not None and len(given) != length:
                raise ValueError(f"{name}: expected {length}, one a step of sequence {sequence}, got {len(given)}")
        maps = {n: self.time_major(n)[:length, sequence].detach().float().cpu().numpy() for n in self.kept}
        resets = None if self.reset is None else self._time_first(self.reset)[:length, sequence].nonzero().flatten()
        return HeatMaps(
            title=self.title,
            maps={name: values.T for name, values in maps.items()},
            order=unit_order(maps, order),
            labels=None
            if labels is None
            else tuple(map(str, labels.tolist() if isinstance(labels, Tensor) else labels)),
            signal=None if signal is None else tuple(float(value) for value in signal),
            resets=() if resets is None else tuple(resets.tolist()),
        )

    def figure(self, sequence: int = 0, *, theme: str = "auto", **options: Any) -> Svg:
        """Return a picture of one sequence as the text of an SVG file; options as for :meth:`heat_maps`."""
        from .picture import draw

        return draw([[self.heat_maps(sequence, **options)]], theme=theme)

    def __repr__(self) -> str:
        """Return the title and sizes."""
        return f"{type(self).__name__}({self.title}: T={self.steps}, B={self.sequences}, H={self.units})"

    def _any(self) -> Tensor:
        return self.time_major(next(iter(self._parts)))

    def _time_first(self, part: Tensor) -> Tensor:
        return part.unsqueeze(1) if not self.batched else part.T if self.batch_first else part

    def _inside(self) -> Tensor:
        """Return (T, B) bool, true within a sequence."""
        like = self._any()
        if self.lengths is None:
            return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
        return torch.arange(like.shape[0], device=like.device).unsqueeze(1) < self.lengths.to(like.device)


class Layer(Direction):
    """One layer of a call: the gates of its forward direction, and in :attr:`backward` those of the other one.

    Attributes:
        index: Which layer, from 0.
        backward: The direction that reads backwards, its step t beside the forward one's step t; None if there is none.
    """

    def __init__(self, index: int, backward: Direction | None, parts: dict[str, Tensor], **rest: Any) -> None:
        super().__init__(parts, **rest)
        self.index = index
        self.backward = backward

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The forward direction, and the backward one if there is one."""
        return (self,) if self.backward is None else (self, self.backward)
