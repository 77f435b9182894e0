"""Every cell written out step by step from its paper, one sequence of one layer at a time, in plain float64.

Nothing here is shared with the package but the names of the parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sigmoid(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def tanh(a: Tensor) -> Tensor:
    return 2 / (1 + torch.exp(-2 * a)) - 1


def hard_sigmoid(a: Tensor) -> Tensor:
    return (0.25 * a + 0.5).clamp(0, 1)


def hard_tanh(a: Tensor) -> Tensor:
    return a.clamp(-1, 1)


def layer_norm(z: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    mean = z.sum() / z.numel()
    variance = ((z - mean) ** 2).sum() / z.numel()
    return (z - mean) / (variance + 1e-5) ** 0.5 * gain + shift


def rms_norm(z: Tensor, gain: Tensor, _: Tensor | None) -> Tensor:
    return z / ((z**2).sum() / z.numel() + 1e-5) ** 0.5 * gain


class Weights:
    """The parameters of a layer and direction by name, None where it has none."""

    def __init__(self, module, suffix: str) -> None:
        self._module, self._suffix = module, suffix

    def __getattr__(self, kind: str):
        return getattr(self._module, f"{kind}_{self._suffix}", None)


def step(module, w: Weights, x: Tensor, h: Tensor, memory: Tensor, masks: dict[str, Tensor]):
    """Return i, f, g, o, c, h and the new memory."""
    variant = module.variant
    cell, size = variant.cell, w.weight_hh.shape[0] // 4
    h_in = h * masks["locked"] if "locked" in masks else h
    from_x, from_h = w.weight_ih @ x, w.weight_hh @ h_in
    if variant.norm:
        normal = layer_norm if variant.norm == "layer" else rms_norm
        from_x = normal(from_x, w.norm_ih_weight, w.norm_ih_bias)
        from_h = normal(from_h, w.norm_hh_weight, w.norm_hh_bias)
    a = from_x + from_h
    for bias in (w.bias_ih, w.bias_hh):
        a = a if bias is None else a + bias
    a_i, a_f, a_g, a_o = a[:size], a[size : 2 * size], a[2 * size : 3 * size], a[3 * size :]
    dropped = masks.get("candidate", torch.ones(size, dtype=x.dtype))
    c_before = memory[:size]

    if cell == "slstm":
        # Eqs. 8 to 17, with m of an empty state at minus infinity.
        n_before, m_before = memory[size : 2 * size], memory[2 * size :]
        log_f = -torch.log(1 + torch.exp(-a_f))
        empty = n_before == 0
        m = torch.where(empty, a_i, torch.max(log_f + m_before, a_i))
        i = torch.exp(a_i - m)
        f = torch.where(empty, torch.zeros_like(i), torch.exp(log_f + torch.where(empty, m, m_before) - m))
        g, o = tanh(a_g), sigmoid(a_o)
        c, n = f * c_before + i * g * dropped, f * n_before + i
        h_new = o * c / n
        memory = torch.cat([c, n, m])
    else:
        if cell == "full_gate_recurrence":
            gates = memory[size:]
            seen = w.weight_gates @ gates
            a_i, a_f, a_o = a_i + seen[:size], a_f + seen[size : 2 * size], a_o + seen[2 * size :]
        p = w.weight_peephole
        p_i, p_f, p_o = (0.0, 0.0, 0.0) if p is None else (p[:size], p[size : 2 * size], p[2 * size :])
        s, t = (hard_sigmoid, hard_tanh) if variant.activation == "hard" else (sigmoid, tanh)
        one = torch.ones(size, dtype=x.dtype)
        i = one if cell == "no_input_gate" else s(a_i + p_i * c_before)
        f = s(a_f + p_f * c_before)
        f = 1 - i if cell == "cifg" else one if cell in ("no_forget_gate", "original") else f
        g = t(a_g)
        g = a_g if cell == "no_input_activation" else 2 * t(a_g / 2) if cell == "original" else g
        c_new = f * c_before + i * (g * dropped)
        if variant.cell_clip is not None:
            c_new = c_new.clamp(-variant.cell_clip, variant.cell_clip)
        o = one if cell == "no_output_gate" else s(a_o + p_o * c_new)
        seen = c_new if not variant.norm else normal(c_new, w.norm_c_weight, w.norm_c_bias)
        shown = seen if cell == "no_output_activation" else t(seen / 2) if cell == "original" else t(seen)
        h_new = o * shown
        c = c_new
        if "zone_c" in masks:
            c = masks["zone_c"] * c_before + (1 - masks["zone_c"]) * c_new
        memory = torch.cat([c, i, f, o]) if cell == "full_gate_recurrence" else c
    if w.weight_hr is not None:
        h_new = w.weight_hr @ h_new
    if "zone_h" in masks:
        h_new = masks["zone_h"] * h + (1 - masks["zone_h"]) * h_new
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h_new}, memory


def run(module, x: Tensor, h0: Tensor, c0: Tensor, lengths=None, reset=None, masks=None):
    """Run a stack over x (T, B, I) with states (L*D, B, size).

    masks is ``[layer][direction]`` of ``CellMasks`` or None.

    Returns output, h_n, c_n, and i, f, g, o, c, h of the last layer's forward direction, (T, B, size).
    """
    steps, batch = x.shape[:2]
    directions = 2 if module.bidirectional else 1
    h_n, c_n, records = [], [], {}
    for layer in range(module.num_layers):
        sides = []
        for d in range(directions):
            w = Weights(module, f"l{layer}" + ("_reverse" if d else ""))
            rows, last_h, last_c = [], [], []
            for b in range(batch):
                h, memory = h0[layer * directions + d, b], c0[layer * directions + d, b]
                length = steps if lengths is None else int(lengths[b])
                outputs: list = [None] * length
                for t in reversed(range(length)) if d else range(length):
                    # A reset at t cuts between t-1 and t, whichever way one reads.
                    edge = t + 1 if d else t
                    if reset is not None and edge < (length if d else steps) and reset[edge, b]:
                        h, memory = torch.zeros_like(h), torch.zeros_like(memory)
                    noise = {}
                    for name, mask in (masks[layer][d]._asdict() if masks else {}).items():
                        if mask is not None:
                            noise[name] = mask[b] if name == "locked" else mask[t, b]
                    gates, memory = step(module, w, x[t, b], h, memory, noise)
                    h = gates["h"]
                    outputs[t] = gates
                rows.append(outputs)
                last_h.append(h)
                last_c.append(memory)
            sides.append(rows)
            h_n.append(torch.stack(last_h))
            c_n.append(torch.stack(last_c))

        def gather(rows, name, like):
            zero = torch.zeros_like(like)
            return torch.stack([torch.stack([r[t][name] if t < len(r) else zero for r in rows]) for t in range(steps)])

        records = {n: gather(sides[0], n, next(r for r in sides[0] if r)[0][n]) for n in ("i", "f", "g", "o", "c", "h")}
        y = torch.cat([gather(rows, "h", next(r for r in rows if r)[0]["h"]) for rows in sides], -1)
        if layer and module.variant.connection:
            gate = 1.0
            if module.variant.connection == "highway":
                w_t, b_t = (getattr(module, f"{kind}_highway_l{layer}") for kind in ("weight", "bias"))
                gate = sigmoid(y.new_zeros(()) + x @ w_t.T + b_t)
                y = gate * y + (1 - gate) * x
            else:
                y = x + y
        x = y
    return x, torch.stack(h_n), torch.stack(c_n), records
