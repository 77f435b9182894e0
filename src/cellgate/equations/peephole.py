r"""The LSTM with peepholes: the gates see the memory cell they guard.

.. code-block:: text

    i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi + p_i * c_{t-1})
    f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf + p_f * c_{t-1})
    o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho + p_o * c_t)
    g_t, c_t, h_t                                                       as in the LSTM cell

Source: F. A. Gers, J. Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000, section 3: input and forget gate
see the cell before the step, the output gate the cell after it. F. A. Gers, N. N. Schraudolph, J. Schmidhuber,
"Learning Precise Timing with LSTM Recurrent Networks", JMLR 3, 2002, has the equations in full.

Deviations: every unit has gates of its own, so a gate sees its own cell only (the vector p instead of a matrix over the
cells of a block). The paper cuts errors off at the peepholes; here the gradient is the full one.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["peep"]


def peep(a: Tensor, p: Tensor | None, c: Tensor) -> Tensor:
    """Return a gate's sum (..., H) with what its peephole p (H,) shows of the cell c (..., H); a itself without one."""
    return a if p is None else a + p * c
