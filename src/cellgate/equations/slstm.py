r"""The sLSTM: exponential input gate, and a normaliser beside the memory cell.

.. code-block:: text

    z_t = tanh(z~_t)     o_t = sigmoid(o~_t)                           eqs. 11, 14
    i_t = exp(i~_t)      f_t = sigmoid(f~_t)                           eqs. 12, 13
    c_t = f_t c_{t-1} + i_t z_t                                        eq. 8
    n_t = f_t n_{t-1} + i_t                                            eq. 9
    h_t = o_t c_t / n_t                                                eq. 10
    m_t = max(log f_t + m_{t-1}, log i_t)                              eq. 15
    i'_t = exp(i~_t - m_t)     f'_t = exp(log f_t + m_{t-1} - m_t)     eqs. 16, 17, in the place of i_t and f_t

Source: M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter, S. Hochreiter,
"xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, section 2.2.

Deviations: of the two forget gates that the paper allows, sigmoid and exp, it is the sigmoid. One head, so W_hh is not
block-diagonal. The stabiliser m of an empty state (n = 0) counts as minus infinity instead of 0: h is the same, for m
cancels out of c/n, but i' cannot vanish then. g is the paper's z. The state c of a layer is (c, n, m), of size 3H; a
trace shows the stabilised i', f' and c.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .form import Form
from .lstm import LSTMStep

__all__ = ["SLSTM", "slstm_step"]

SLSTM = Form("slstm", memories=3, bare=True)


def slstm_step(a: Tensor, memory: Tensor, candidate_mask: Tensor | None) -> tuple[LSTMStep, Tensor]:
    """Compute one step from the sums of all four gates.

    Args:
        a: The sums i~, f~, z~, o~, (..., 4H).
        memory: c, n and m of the step before, (..., 3H).
        candidate_mask: Recurrent dropout of z, (..., H), or None.

    Returns:
        The gates (i and f stabilised), c and h, each (..., H), and the new memory, (..., 3H).
    """
    a_i, a_f, a_g, a_o = a.chunk(4, dim=-1)
    c_prev, n_prev, m_prev = memory.chunk(3, dim=-1)
    kept = torch.where(n_prev == 0, -torch.inf, logsigmoid(a_f) + m_prev)
    m = torch.maximum(kept, a_i)
    i, f = torch.exp(a_i - m), torch.exp(kept - m)
    g = torch.tanh(a_g)
    o = torch.sigmoid(a_o)
    c = f * c_prev + i * (g if candidate_mask is None else g * candidate_mask)
    n = f * n_prev + i
    return LSTMStep(i, f, g, o, c, o * (c / n)), torch.cat([c, n, m], dim=-1)
