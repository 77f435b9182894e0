"""The loop that a user writes for a variant: the input product for all steps at once, the rest step by step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cellgate import LSTM


def run(module: LSTM, x: Tensor, masks) -> Tensor:
    """Run one layer of one direction from a zero state: x (T, B, I) to output (T, B, H), with masks drawn before."""
    v = module.variant
    w = {name.removesuffix("_l0"): p for name, p in module.named_parameters()}
    h_size, batch = module.hidden_size, x.shape[1]
    h = x.new_zeros(batch, h_size)
    c = x.new_zeros(batch, h_size)
    n = m = x.new_zeros(batch, h_size)
    gates = x.new_zeros(batch, 3 * h_size)
    if v.norm:
        a_x = _norm(v.norm, F.linear(x, w["weight_ih"]), w["norm_ih_weight"], w.get("norm_ih_bias")) + w["bias_ih"]
    else:
        a_x = F.linear(x, w["weight_ih"], w["bias_ih"])
    p = w["weight_peephole"].chunk(3) if v.peephole else None
    sigmoid = _hard_sigmoid if v.activation == "hard" else torch.sigmoid
    tanh = F.hardtanh if v.activation == "hard" else torch.tanh
    outputs = []
    for t in range(len(x)):
        h_in = h if masks.locked is None else h * masks.locked
        if v.norm:
            a_h = _norm(v.norm, F.linear(h_in, w["weight_hh"]), w["norm_hh_weight"], w.get("norm_hh_bias"))
            a_h = a_h + w["bias_hh"]
        else:
            a_h = F.linear(h_in, w["weight_hh"], w["bias_hh"])
        i, f, g, o = (a_x[t] + a_h).chunk(4, -1)
        if v.cell == "slstm":
            kept = torch.where(n == 0, -torch.inf, F.logsigmoid(f) + m)
            m_new = torch.maximum(kept, i)
            i, f = torch.exp(i - m_new), torch.exp(kept - m_new)
            c, n, m = f * c + i * torch.tanh(g), f * n + i, m_new
            h = torch.sigmoid(o) * c / n
            outputs.append(h)
            continue
        if v.cell == "full_gate_recurrence":
            r_i, r_f, r_o = F.linear(gates, w["weight_gates"]).chunk(3, -1)
            i, f, o = i + r_i, f + r_f, o + r_o
        if p is not None:
            i, f = i + p[0] * c, f + p[1] * c
        i = torch.ones_like(i) if v.cell == "no_input_gate" else sigmoid(i)
        if v.cell == "cifg":
            f = 1 - i
        else:
            f = torch.ones_like(f) if v.cell in ("no_forget_gate", "original") else sigmoid(f)
        g = g if v.cell == "no_input_activation" else 2 * tanh(g / 2) if v.cell == "original" else tanh(g)
        new = f * c + i * (g if masks.candidate is None else g * masks.candidate[t])
        if v.cell_clip is not None:
            new = new.clamp(-v.cell_clip, v.cell_clip)
        if p is not None:
            o = o + p[2] * new
        o = torch.ones_like(o) if v.cell == "no_output_gate" else sigmoid(o)
        seen = _norm(v.norm, new, w["norm_c_weight"], w.get("norm_c_bias")) if v.norm else new
        shown = seen if v.cell == "no_output_activation" else tanh(seen / 2) if v.cell == "original" else tanh(seen)
        h_new = o * shown
        if v.cell == "full_gate_recurrence":
            gates = torch.cat([i, f, o], -1)
        c = new if masks.zone_c is None else masks.zone_c[t] * c + (1 - masks.zone_c[t]) * new
        h = h_new if masks.zone_h is None else masks.zone_h[t] * h + (1 - masks.zone_h[t]) * h_new
        outputs.append(h)
    return torch.stack(outputs)


def _hard_sigmoid(a: Tensor) -> Tensor:
    return F.hardtanh(a / 4 + 0.5, 0.0, 1.0)


def _norm(kind: str, z: Tensor, gain: Tensor, shift: Tensor | None) -> Tensor:
    if kind == "layer":
        return F.layer_norm(z, z.shape[-1:], gain, shift, 1e-5)
    return F.rms_norm(z, z.shape[-1:], gain, 1e-5)
