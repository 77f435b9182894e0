r"""The LSTM with coupled input and forget gate (CIFG): what is forgotten makes room for what enters.

.. code-block:: text

    f_t = 1 - i_t                      all else as in the LSTM cell

Source: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink, J. Schmidhuber, "LSTM: A Search Space Odyssey", IEEE
Transactions on Neural Networks and Learning Systems 28(10), 2017, section III and appendix, variant CIFG, which they
trace to K. Cho et al. 2014, where the GRU has it.

Deviations: their CIFG has peepholes; here they are there with ``peephole=True`` only, where p_f has no effect. The rows
of the forget gate stay in ``weight_ih`` and ``weight_hh``, so that shapes are those of every LSTM; they have no effect
and gradient zero.
"""

from __future__ import annotations

from .form import Form

__all__ = ["CIFG"]

CIFG = Form("cifg", forget="coupled")
