r"""The LSTM cell, as ``torch.nn.LSTM`` defines it.

.. code-block:: text

    i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)      input gate
    f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)      forget gate
    g_t = tanh   (W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)      cell candidate
    o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)      output gate
    c_t = f_t * c_{t-1} + i_t * g_t                           memory cell
    h_t = o_t * tanh(c_t)                                     hidden state

Sources, and what differs from each:

* S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 4 and appendix A.1
  (eqs. 3 to 9; the cell is eq. 9). There is no forget gate there (f_t = 1: the constant error carousel), several cells
  may share one gate, the squashing functions are scaled logistics (g in [-2, 2], h in [-1, 1]), all net inputs come
  from the step before, and errors are cut off where they leave a cell. Here every unit has its own gates, both
  squashing functions are tanh, x_t enters at its own step, and the gradient is the full one.
* F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation
  12(10), 2000, section 3: adds the forget gate f_t. Its gates see the outputs of the step before, as here; it too cuts
  errors off where they leave a cell.
* No peepholes (F. A. Gers, J. Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000): gates do not see c.
* Two bias vectors, b_ih and b_hh, where one would do: PyTorch inherits both from cuDNN. Only their sum matters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["LSTMStep", "LSTMWeights", "input_part", "lstm_step"]


class LSTMWeights(NamedTuple):
    """The parameters of one layer in one direction; rows are stacked in the order i, f, g, o.

    Attributes:
        w_ih: Input-to-hidden weights, (4H, I).
        w_hh: Hidden-to-hidden weights, (4H, H), or (4H, P) with a projection.
        b_ih: First bias, (4H,), or None.
        b_hh: Second bias, (4H,), or None.
        w_hr: Projection, (P, H), or None.
        peephole: Of i, f and o, (3H,), or None; see ``peephole.py``.
        w_gg: From the gates of the step before, (3H, 3H), or None; see ``full_gates.py``.
        gain_ih: α of the normalised input product, (4H,), or None; see ``norm.py``.
        shift_ih: β of it, (4H,), or None.
        gain_hh: α of the normalised recurrent product, (4H,), or None.
        shift_hh: β of it, (4H,), or None.
        gain_c: α of the normalised cell, (H,), or None.
        shift_c: β of it, (H,), or None.
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None
    peephole: Tensor | None = None
    w_gg: Tensor | None = None
    gain_ih: Tensor | None = None
    shift_ih: Tensor | None = None
    gain_hh: Tensor | None = None
    shift_hh: Tensor | None = None
    gain_c: Tensor | None = None
    shift_c: Tensor | None = None


class LSTMStep(NamedTuple):
    """Everything one step computes: gates i, f, g, o and memory cell c (..., H), hidden state h (..., P or H)."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor


def input_part(x: Tensor, weights: LSTMWeights) -> Tensor:
    """Return W_ih x + b_ih for any number of steps at once: (..., I) to (..., 4H). It does not depend on the state."""
    return linear(x, weights.w_ih, weights.b_ih)


def lstm_step(a_x: Tensor, h_prev: Tensor, c_prev: Tensor, weights: LSTMWeights) -> LSTMStep:
    """Compute one step of the LSTM cell.

    Args:
        a_x: The input's share of the pre-activations, ``input_part(x_t, weights)``, (..., 4H).
        h_prev: h_{t-1}, (..., H).
        c_prev: c_{t-1}, (..., H).
        weights: The layer's parameters.

    Returns:
        The gates and the new state, each (..., H).
    """
    a_i, a_f, a_g, a_o = (a_x + linear(h_prev, weights.w_hh, weights.b_hh)).chunk(4, dim=-1)
    i = torch.sigmoid(a_i)
    f = torch.sigmoid(a_f)
    g = torch.tanh(a_g)
    o = torch.sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * torch.tanh(c)
    return LSTMStep(i, f, g, o, c, h)
