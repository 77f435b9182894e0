r"""The LSTM with one part removed: the ablations of the search space odyssey.

.. code-block:: text

    no_input_gate          NIG     i_t = 1
    no_forget_gate         NFG     f_t = 1
    no_output_gate         NOG     o_t = 1
    no_input_activation    NIAF    g_t = W_ig x_t + b_ig + W_hg h_{t-1} + b_hg
    no_output_activation   NOAF    h_t = o_t * c_t

Source: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink, J. Schmidhuber, "LSTM: A Search Space Odyssey", IEEE
Transactions on Neural Networks and Learning Systems 28(10), 2017, section III. Their eight are these five, CIFG
(``cifg.py``), NP, which is the LSTM of ``lstm.py``, and FGR (``full_gates.py``).

Deviations: their vanilla LSTM has peepholes, so all of theirs but NP have them; here they are there with
``peephole=True`` only. The rows of a gate that is not there stay in the weights, without effect and with gradient zero.
"""

from __future__ import annotations

from .form import Form

__all__ = [
    "NO_FORGET_GATE",
    "NO_INPUT_ACTIVATION",
    "NO_INPUT_GATE",
    "NO_OUTPUT_ACTIVATION",
    "NO_OUTPUT_GATE",
]

NO_INPUT_GATE = Form("no_input_gate", input="one")
NO_FORGET_GATE = Form("no_forget_gate", forget="one")
NO_OUTPUT_GATE = Form("no_output_gate", output="one")
NO_INPUT_ACTIVATION = Form("no_input_activation", candidate="identity")
NO_OUTPUT_ACTIVATION = Form("no_output_activation", squash="identity")
