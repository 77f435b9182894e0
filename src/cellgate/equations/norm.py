r"""The LSTM with layer normalisation, and with RMS normalisation in the same places.

.. code-block:: text

    a_t = LN(W_h h_{t-1}; α1, β1) + LN(W_x x_t; α2, β2) + b             eq. 20
    c_t = σ(f_t) c_{t-1} + σ(i_t) tanh(g_t)                               eq. 21
    h_t = σ(o_t) tanh(LN(c_t; α3, β3))                                    eq. 22

    LN(z; α, β) = (z - μ) / sqrt(var(z) + ε) α + β        over all 4H sums, over the H cells; ε = 1e-5
    RMS(z; α)   = z / sqrt(mean(z²) + ε) α                in the place of each LN

Sources: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv:1607.06450, 2016, eqs. 20 to 22 of its
supplement; B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, eq. 4, without a shift.

Deviations: gate order i, f, g, o (the paper stacks f, i, o, g). Two bias vectors instead of one, both outside the
normalisation as in the paper. The paper leaves ε open; it stands inside the root, as in ``torch.nn.LayerNorm``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["EPSILON", "normalise"]

EPSILON = 1e-5


def normalise(z: Tensor, kind: str, gain: Tensor, shift: Tensor | None) -> Tensor:
    """Normalise the last dimension.

    Args:
        z: (..., n).
        kind: "layer" or "rms".
        gain: α, (n,).
        shift: β, (n,), or None.

    Returns:
        (..., n).
    """
    if kind == "layer":
        z = z - z.mean(-1, keepdim=True)
    scaled = z * torch.rsqrt(z.square().mean(-1, keepdim=True) + EPSILON) * gain
    return scaled if shift is None else scaled + shift
