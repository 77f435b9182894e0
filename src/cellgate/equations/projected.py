r"""The LSTM cell with a recurrent projection (``proj_size > 0`` in ``torch.nn.LSTM``).

.. code-block:: text

    i_t, f_t, g_t, o_t, c_t     as in the LSTM cell, with h_{t-1} of size P
    m_t = o_t * tanh(c_t)       size H
    h_t = W_hr m_t              size P < H

Source: H. Sak, A. Senior, F. Beaufays, "Long Short-Term Memory Recurrent Neural Network Architectures for Large Scale
Acoustic Modeling", Interspeech 2014: the LSTM with a recurrent projection layer (r_t = W_rm m_t there is h_t here).

Deviations: the paper's cell has peepholes; here there are none. The authors' earlier arXiv:1402.1128 puts a second,
non-recurrent projection beside the first; here it is a module of its own behind the layer, as every readout is.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from .lstm import LSTMStep, LSTMWeights, lstm_step

__all__ = ["projected_lstm_step"]


def projected_lstm_step(a_x: Tensor, h_prev: Tensor, c_prev: Tensor, weights: LSTMWeights) -> LSTMStep:
    """Compute one step of the projected LSTM cell.

    Args:
        a_x: The input's share of the pre-activations, ``input_part(x_t, weights)``, (..., 4H).
        h_prev: h_{t-1}, (..., P).
        c_prev: c_{t-1}, (..., H).
        weights: The layer's parameters, with ``w_hr`` of shape (P, H).

    Returns:
        The gates and c_t, each (..., H), and h_t, (..., P).
    """
    assert weights.w_hr is not None
    unprojected = lstm_step(a_x, h_prev, c_prev, weights)
    return unprojected._replace(h=linear(unprojected.h, weights.w_hr))
