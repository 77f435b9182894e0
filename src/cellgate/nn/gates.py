"""Gates in the caller's layout: what a backend recorded, turned back into the form in which the input came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cellgate.backends import Gates

if TYPE_CHECKING:
    from .call import Prepared

__all__ = ["LayerGates", "layer_gates", "to_public"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerGates:
    """What one layer computed at every step: i, f, g, o, c of (T, B, H) and h of (T, B, P), in the layout of the input.

    With ``batch_first`` they are (B, T, size), for unbatched input (T, size). For a ``PackedSequence`` or a jagged
    nested tensor they are padded, sequences in the order in which the caller has them. Past the end of a sequence they
    are zero.

    Attributes:
        i: Input gate, in [0, 1].
        f: Forget gate, in [0, 1].
        g: Cell candidate, in [-1, 1].
        o: Output gate, in [0, 1].
        c: Memory cell.
        h: Hidden state; the layer's output in this direction.
        backward: The same for the direction that reads backwards, at the same steps; None if there is none.
    """

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor
    backward: LayerGates | None = None


def to_public(module: Any, call: Prepared) -> Callable[[Tensor], Tensor]:
    """Return the function that brings (T, B, ...) of a backend into the caller's layout."""

    def public(part: Tensor) -> Tensor:
        if call.packed is not None and call.packed.unsorted_indices is not None:
            part = part.index_select(1, call.packed.unsorted_indices.to(part.device))
        if not call.batched:
            return part.squeeze(1)
        return part.transpose(0, 1) if module.batch_first else part

    return public


def layer_gates(module: Any, call: Prepared, gates: Gates) -> LayerGates:
    """Return one layer's recorded gates, (T, B, D, size), in the caller's layout."""
    public = to_public(module, call)

    def direction(d: int, backward: LayerGates | None) -> LayerGates:
        parts = (public(part[:, :, d]) for part in (gates.i, gates.f, gates.g, gates.o, gates.c, gates.h))
        i, f, g, o, c, h = parts
        return LayerGates(i, f, g, o, c, h, backward)

    return direction(0, direction(1, None) if call.problem.directions == 2 else None)
