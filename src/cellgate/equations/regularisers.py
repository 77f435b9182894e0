r"""Noise inside the recurrence: what the masks of a step do. Who draws them is not a matter of equations.

.. code-block:: text

    locked dropout      h_{t-1} in the products of a step is h_{t-1} * m, with one m for all steps of a sequence
    recurrent dropout   c_t = f_t * c_{t-1} + i_t * (g_t * m_t)
    zoneout of c        c_t = z_t * c_{t-1} + (1 - z_t) * (f_t * c_{t-1} + i_t * g_t)
    zoneout of h        h_t = z_t * h_{t-1} + (1 - z_t) * (o_t * tanh(f_t * c_{t-1} + i_t * g_t))

    activation regularisation            α mean(h_t²)
    temporal activation regularisation   β mean((h_t - h_{t-1})²)

Sources: Y. Gal, Z. Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NIPS
2016, eq. 7: the same mask at every step, for the four gates together. S. Semeniuta, A. Severyn, E. Barth, "Recurrent
Dropout without Memory Loss", COLING 2016, eq. 10: dropout of the candidate only; a new mask at every step. D. Krueger
et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", ICLR 2017, section 3.2: z is 1 with the
given probability in training and that probability itself otherwise; h is made from the new cell, not from the
zoned-out one. S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018,
sections 3 and 4.6, for the two terms, which are means of squares here, and for weight-drop, which needs no equation:
W_hh with dropout.

Deviations: dropout masks m are scaled by 1/(1-p), so that nothing changes when they are left out.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["CellMasks", "StepMasks", "activation_penalty", "zone"]


class CellMasks(NamedTuple):
    """The masks of one layer in one direction.

    Attributes:
        locked: Of h in the products, (B, P), scaled; or None.
        candidate: Recurrent dropout, (T, B, H), scaled; or None.
        zone_c: Zoneout of c, (T, B, H), from 0 (new) to 1 (kept); or None.
        zone_h: Zoneout of h, (T, B, P); or None.
    """

    locked: Tensor | None = None
    candidate: Tensor | None = None
    zone_c: Tensor | None = None
    zone_h: Tensor | None = None

    def at(self, t: int) -> StepMasks:
        """Return what step t needs of them."""
        return StepMasks(self.locked, *(None if mask is None else mask[t] for mask in self[1:]))


class StepMasks(NamedTuple):
    """The masks of one step: (B, P) or (B, H) each, or None; see :class:`CellMasks`."""

    locked: Tensor | None = None
    candidate: Tensor | None = None
    zone_c: Tensor | None = None
    zone_h: Tensor | None = None


def zone(new: Tensor, before: Tensor, mask: Tensor | None) -> Tensor:
    """Return the state with zoneout: ``mask`` of it stays as it was before."""
    return new if mask is None else mask * before + (1 - mask) * new


def activation_penalty(h: Tensor, inside: Tensor | None, alpha: float, beta: float) -> Tensor:
    """Return the sum of both regularisation terms.

    Args:
        h: Hidden states, (T, B, P).
        inside: (T, B) bool, false past a sequence's end; or None for all.
        alpha: Weight of the mean square of h.
        beta: Weight of the mean square of the change of h from step to step.

    Returns:
        A scalar; zero where there is nothing to take a mean of.
    """
    size = h.shape[-1]
    change = h[1:] - h[:-1]
    if inside is None:
        squares, count, changes, pairs = h.square(), h.numel(), change.square(), change.numel()
        return alpha * squares.sum() / max(count, 1) + beta * changes.sum() / max(pairs, 1)
    # Both steps of a change lie within the sequence where the later one does.
    weight = inside.unsqueeze(-1).to(h.dtype)
    count, pairs = inside.sum() * size, inside[1:].sum() * size
    first = (h.square() * weight).sum() / count.clamp(min=1)
    second = (change.square() * weight[1:]).sum() / pairs.clamp(min=1)
    return alpha * first + beta * second
