r"""The LSTM with full gate recurrence (FGR): each gate also sees all gates of the step before.

.. code-block:: text

    (a_i, a_f, a_o)_t += R (i, f, o)_{t-1}        R of (3H, 3H), rows and columns in the order i, f, o
    all else as in the LSTM cell

Source: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink, J. Schmidhuber, "LSTM: A Search Space Odyssey", IEEE
Transactions on Neural Networks and Learning Systems 28(10), 2017, section III, variant FGR: nine further recurrent
matrices, which they trace to the original LSTM of 1997.

Deviations: theirs has peepholes; here they are there with ``peephole=True`` only. The gates before the first step and
after a reset are zero. They belong to the state: c of a layer is (c, i, f, o), of size 4H.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from .form import Form

__all__ = ["FULL_GATE_RECURRENCE", "gate_part"]

FULL_GATE_RECURRENCE = Form("full_gate_recurrence", memories=4)


def gate_part(gates_before: Tensor, w_gg: Tensor) -> Tensor:
    """Return what i, f and o of the step before, (..., 3H), add to the sums of i, f, g, o: (..., 4H)."""
    a_i, a_f, a_o = linear(gates_before, w_gg).chunk(3, dim=-1)
    return torch.cat([a_i, a_f, torch.zeros_like(a_i), a_o], dim=-1)
