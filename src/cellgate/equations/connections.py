r"""Connections around a layer of a stack: the next layer also sees what this one read.

.. code-block:: text

    residual    y = x + layer(x)
    highway     y = t * layer(x) + (1 - t) * x          t = sigmoid(W_t x + b_t)

Sources: Y. Wu et al., "Google's Neural Machine Translation System", arXiv:1609.08144, 2016, eqs. 5 and 6, for residual
connections between LSTM layers; R. K. Srivastava, K. Greff, J. Schmidhuber, "Highway Networks", arXiv:1505.00387, 2015,
eq. 3, for the gated ones (carry gate 1 - t).

Deviations: x is the layer's input before dropout, so what is carried past the layer has no noise of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["connect"]


def connect(x: Tensor, y: Tensor, highway: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return a layer's input x and output y, both (..., n), joined: their sum, or gated with (W_t, b_t)."""
    if highway is None:
        return x + y
    t = torch.sigmoid(linear(x, *highway))
    return t * y + (1 - t) * x
