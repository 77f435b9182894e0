"""The gates of an LSTM computed the slow way: one sequence, one unit of time after the other, from the raw weights."""

import torch
from torch import Tensor

NAMES = ("i", "f", "g", "o", "c", "h")


def run(module, x: Tensor, h0=None, c0=None, reset=None) -> list[list[dict[str, Tensor]]]:
    """Return ``[layer][direction][gate]`` of (T, size) for one sequence x (T, I).

    h0 and c0 are ``[layer][direction]`` of (size,); reset is (T,) bool.
    """
    directions = 2 if module.bidirectional else 1
    layers = []
    for layer in range(module.num_layers):
        made = []
        for d in range(directions):
            suffix = f"_l{layer}" + ("_reverse" if d else "")
            w_ih, w_hh = getattr(module, "weight_ih" + suffix), getattr(module, "weight_hh" + suffix)
            zero = torch.zeros(w_ih.shape[0], dtype=x.dtype)
            b_ih = getattr(module, "bias_ih" + suffix, zero)
            b_hh = getattr(module, "bias_hh" + suffix, zero)
            w_hr = getattr(module, "weight_hr" + suffix, None)
            h = torch.zeros(w_hh.shape[1], dtype=x.dtype) if h0 is None else h0[layer][d]
            c = torch.zeros(w_hh.shape[0] // 4, dtype=x.dtype) if c0 is None else c0[layer][d]
            steps = [{} for _ in range(len(x))]
            for t in reversed(range(len(x))) if d else range(len(x)):
                # A reset at t cuts between t-1 and t, whichever way one reads.
                cut = reset is not None and (reset[t] if d == 0 else t + 1 < len(x) and reset[t + 1])
                if cut:
                    h, c = torch.zeros_like(h), torch.zeros_like(c)
                a_i, a_f, a_g, a_o = (w_ih @ x[t] + b_ih + w_hh @ h + b_hh).chunk(4)
                i, f, g, o = a_i.sigmoid(), a_f.sigmoid(), a_g.tanh(), a_o.sigmoid()
                c = f * c + i * g
                h = o * c.tanh()
                h = h if w_hr is None else w_hr @ h
                steps[t] = dict(zip(NAMES, (i, f, g, o, c, h), strict=True))
            made.append({n: torch.stack([step[n] for step in steps]) for n in NAMES} if len(x) else None)
        layers.append(made)
        x = torch.cat([m["h"] for m in made], -1) if len(x) else x
    return layers
