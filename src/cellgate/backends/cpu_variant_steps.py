"""Some steps of a stack of any cells at a time, without gradients: for streams, which hold their weights packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cellgate.equations import LSTMWeights

from .cpu_tensors import contiguous
from .cpu_variant import form_of
from .problem import Problem

__all__ = ["VariantSteps"]


@dataclass(slots=True)
class _Layer:
    """One layer: its tensors, which must stay alive, and the arguments of its calls that never change."""

    tensors: tuple[Any, ...]
    sizes: tuple[int, ...]  # B, I, H, P
    before: tuple[int, ...]  # addresses of weights, from w_ih on
    zones: tuple[int, ...]  # addresses of zoneout's probabilities
    packed: int


class VariantSteps:
    """The native calls of a stream.

    Args:
        native: The module ``cellgate._native``.
        problem: One direction, float32 or float64 on the CPU; at most residual connections.
        weights: Of every layer, as they are now.
        zoneout: Probabilities for c and for h, which evaluation mixes by.
    """

    def __init__(
        self, native: Any, problem: Problem, weights: Sequence[LSTMWeights], zoneout: tuple[float, float]
    ) -> None:
        self._native = native
        self._double = problem.dtype == torch.float64
        self._form, self._clip = form_of(problem.cell), problem.cell.clip or 0.0
        self._residual = problem.connection == "residual"
        self._layers = [self._layer(problem, layer, one, zoneout) for layer, one in enumerate(weights)]

    def _layer(self, problem: Problem, layer: int, weights: LSTMWeights, zoneout: tuple[float, float]) -> _Layer:
        hidden, out = problem.hidden_sizes[layer], problem.output_sizes[layer]
        w = LSTMWeights._make(None if t is None else contiguous(t.detach()) for t in weights)
        sizes = (w.w_ih.shape[1], hidden, out)
        to_pack = (w.w_ih.data_ptr(), w.w_hh.data_ptr(), _address(w.w_hr), _address(w.w_gg))
        packed = w.w_ih.new_empty(self._native.variant_packed_size(self._double, sizes, to_pack))
        self._native.variant_pack(self._double, sizes, to_pack, packed.data_ptr())
        zones = [w.w_ih.new_full((size,), p) if p else None for size, p in zip((hidden, out), zoneout, strict=True)]
        ordered = (w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.w_hr, w.peephole, w.w_gg)
        norms = (w.gain_ih, w.shift_ih, w.gain_hh, w.shift_hh, w.gain_c, w.shift_c)
        return _Layer(
            (w, zones, packed),
            (problem.batch, *sizes),
            tuple(_address(t) for t in (*ordered, *norms)),
            tuple(_address(t) for t in zones),
            packed.data_ptr(),
        )

    def run(self, x: Tensor, steps: int, states: Sequence[tuple[int, ...]], threads: int) -> Tensor:
        """Take steps.

        Args:
            x: (T, B, I), contiguous.
            steps: T.
            states: Addresses of h and c of every layer, then of where the new ones go.
            threads: At most so many.

        Returns:
            Output of the last layer, (T, B, P).
        """
        h, c, h_next, c_next = states
        for layer, one in enumerate(self._layers):
            batch, inputs, hidden, out = one.sizes
            y = x.new_empty(steps, batch, out)
            self._native.variant_forward(
                self._double,
                (steps, batch, inputs, hidden, out, 0, 0, threads, 1),
                self._form,
                self._clip,
                (batch * inputs, inputs, 0, 0, 0, 0, 0, 0, batch * out, out),
                (
                    *(0, 0, x.data_ptr(), *one.before, h[layer], c[layer], 0, 0, *one.zones),
                    *(h_next[layer], c_next[layer], y.data_ptr(), one.packed, 0, 0, 0, 0, 0),
                ),
            )
            x = y + x if self._residual and layer > 0 else y
        return x


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()
