r"""One step of any cell: the family to which the LSTM and its variants belong.

.. code-block:: text

    a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh           with layer norm: each product normalised (norm.py)
    i_t = σ(a_i + p_i c_{t-1})     f_t = σ(a_f + p_f c_{t-1})     g_t = τ(a_g)
    c'_t = f_t c_{t-1} + i_t g_t                                    limited to [-clip, clip]
    o_t = σ(a_o + p_o c'_t)
    h'_t = o_t τ(c'_t)                                              with layer norm: τ(LN(c'_t))

Every form replaces some of the functions (form.py), with peepholes p is not zero (peephole.py), and the masks of
zoneout and dropout are applied as in regularisers.py. With all of it left out this is the step of lstm.py, which is
kept apart as the equations that everybody knows; a test holds the two together.

The limit on the memory cell follows H. Sak, A. Senior, F. Beaufays, Interspeech 2014, who keep c within [-50, 50].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from .cells import PLAIN, Cell
from .full_gates import gate_part
from .hard import hard_sigmoid, hard_tanh
from .lstm import LSTMStep, LSTMWeights, input_part, lstm_step
from .norm import normalise
from .peephole import peep
from .projected import projected_lstm_step
from .regularisers import StepMasks, zone
from .slstm import slstm_step

__all__ = ["Stepper", "input_sums", "stepper"]

Stepper = Callable[[Tensor, Tensor, Tensor, StepMasks | None], tuple[LSTMStep, Tensor]]
"""(input's share of the sums, h, memory, masks) of a step to (everything computed, the new memory)."""


def input_sums(x: Tensor, weights: LSTMWeights, cell: Cell = PLAIN) -> Tensor:
    """Return the input's share of the sums for any number of steps at once: (..., I) to (..., 4H)."""
    if cell.norm is None:
        return input_part(x, weights)
    assert weights.gain_ih is not None
    a = normalise(linear(x, weights.w_ih), cell.norm, weights.gain_ih, weights.shift_ih)
    return a if weights.b_ih is None else a + weights.b_ih


def stepper(cell: Cell, weights: LSTMWeights) -> Stepper:
    """Return the function that computes one step of a cell with these weights."""
    if cell == PLAIN:
        plain = lstm_step if weights.w_hr is None else projected_lstm_step

        def step(a_x: Tensor, h: Tensor, c: Tensor, masks: StepMasks | None) -> tuple[LSTMStep, Tensor]:
            if masks is not None:
                return _step(cell, weights, a_x, h, c, masks)
            new = plain(a_x, h, c, weights)
            return new, new.c

        return step

    def any_step(a_x: Tensor, h: Tensor, memory: Tensor, masks: StepMasks | None) -> tuple[LSTMStep, Tensor]:
        return _step(cell, weights, a_x, h, memory, masks or StepMasks())

    return any_step


def _step(
    cell: Cell, weights: LSTMWeights, a_x: Tensor, h_prev: Tensor, memory: Tensor, masks: StepMasks
) -> tuple[LSTMStep, Tensor]:
    h_in = h_prev if masks.locked is None else h_prev * masks.locked
    if cell.norm is None:
        a = a_x + linear(h_in, weights.w_hh, weights.b_hh)
    else:
        assert weights.gain_hh is not None
        a = a_x + normalise(linear(h_in, weights.w_hh), cell.norm, weights.gain_hh, weights.shift_hh)
        a = a if weights.b_hh is None else a + weights.b_hh
    if cell.name == "slstm":
        new, memory = slstm_step(a, memory, masks.candidate)
    else:
        new, memory = _gated(cell, weights, a, memory, masks)
    if weights.w_hr is not None:
        new = new._replace(h=linear(new.h, weights.w_hr))
    return new._replace(h=zone(new.h, h_prev, masks.zone_h)), memory


def _gated(cell: Cell, weights: LSTMWeights, a: Tensor, memory: Tensor, masks: StepMasks) -> tuple[LSTMStep, Tensor]:
    form = cell.form
    size = memory.shape[-1] // form.memories
    c_prev = memory[..., :size]
    if form.memories == 4:
        assert weights.w_gg is not None
        a = a + gate_part(memory[..., size:], weights.w_gg)
    a_i, a_f, a_g, a_o = a.chunk(4, dim=-1)
    p_i, p_f, p_o = weights.peephole.chunk(3) if weights.peephole is not None else (None, None, None)
    sigmoid, tanh = (hard_sigmoid, hard_tanh) if cell.hard else (torch.sigmoid, torch.tanh)
    one = torch.ones_like(a_i)

    i = one if form.input == "one" else sigmoid(peep(a_i, p_i, c_prev))
    if form.forget == "coupled":
        f = 1 - i
    else:
        f = one if form.forget == "one" else sigmoid(peep(a_f, p_f, c_prev))
    g = a_g if form.candidate == "identity" else 2 * tanh(a_g / 2) if form.candidate == "wide" else tanh(a_g)
    fresh = f * c_prev + i * (g if masks.candidate is None else g * masks.candidate)
    if cell.clip is not None:
        fresh = fresh.clamp(-cell.clip, cell.clip)
    o = one if form.output == "one" else sigmoid(peep(a_o, p_o, fresh))
    seen = fresh
    if cell.norm is not None:
        assert weights.gain_c is not None
        seen = normalise(fresh, cell.norm, weights.gain_c, weights.shift_c)
    shown = seen if form.squash == "identity" else tanh(seen / 2) if form.squash == "half" else tanh(seen)
    c = zone(fresh, c_prev, masks.zone_c)
    memory = c if form.memories == 1 else torch.cat([c, i, f, o], dim=-1)
    return LSTMStep(i, f, g, o, c, o * shown), memory
