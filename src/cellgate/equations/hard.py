r"""Hard activations: piecewise linear functions in the place of sigmoid and tanh.

.. code-block:: text

    hard_sigmoid(a) = min(1, max(0, a / 4 + 1/2))
    hard_tanh(a)    = min(1, max(-1, a))

Source: M. Courbariaux, Y. Bengio, J.-P. David, "BinaryConnect: Training Deep Neural Networks with binary weights during
propagations", NIPS 2015, for the idea of the hard sigmoid, with slope 1/2 there; R. Collobert, "Large Scale Machine
Learning", 2004, for hard tanh.

Deviations: the slope of the hard sigmoid. Slope 1/4 is the sigmoid's own at zero. ``torch.nn.functional.hardsigmoid``
has 1/6, old Keras 1/5. The derivative at a corner is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hard_sigmoid", "hard_tanh"]


def hard_sigmoid(a: Tensor) -> Tensor:
    """Return min(1, max(0, a/4 + 1/2)), any shape."""
    return torch.nn.functional.hardtanh(a * 0.25 + 0.5, 0.0, 1.0)


def hard_tanh(a: Tensor) -> Tensor:
    """Return min(1, max(-1, a)), any shape."""
    return torch.nn.functional.hardtanh(a)
