r"""The LSTM of 1997, without a forget gate: the constant error carousel.

.. code-block:: text

    i_t = sigmoid(...)     o_t = sigmoid(...)     g_t = 4 sigmoid(a_g) - 2 = 2 tanh(a_g / 2)       eqs. 3, 4, 5
    c_t = c_{t-1} + i_t * g_t
    h_t = o_t * (2 sigmoid(c_t) - 1) = o_t * tanh(c_t / 2)

Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 4 and appendix
A.1: f (the gates) is the logistic function, h (of the output) a logistic function scaled to [-1, 1], g (of the input)
one scaled to [-2, 2].

Deviations: every unit has gates of its own, where the paper lets the cells of a block share them; x_t enters at its own
step; and the gradient is the full one, where the paper cuts errors off as they leave a cell. The rows of the forget
gate stay in the weights, without effect and with gradient zero.
"""

from __future__ import annotations

from .form import Form

__all__ = ["ORIGINAL"]

ORIGINAL = Form("original", forget="one", candidate="wide", squash="half")
