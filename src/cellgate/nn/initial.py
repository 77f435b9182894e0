"""Initial values of parameters, and the learned initial state.

* nn.LSTM's: every weight and bias from U(-1/sqrt(H), 1/sqrt(H)).
* A bias of the forget gate: F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", 2000; R. Jozefowicz,
  W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015, section 5: 1.
* Chrono: C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, eq. 16:
  b_f ~ log(U[1, T_max - 1]), b_i = -b_f.
* Orthogonal recurrent weights: A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of
  learning in deep linear neural networks", ICLR 2014.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from .variant import variant_of

__all__ = ["initial_state", "reset_parameters"]

_LAYER = re.compile(r"_l(\d+)")
_HIGHWAY_BIAS = -1.0  # so that a deep stack begins by carrying its input on; Srivastava et al. 2015, section 2.2


def reset_parameters(module: Any, hidden: tuple[int, ...]) -> None:
    """Draw all parameters of an LSTM module anew; nn.LSTM's first, so that a seed gives the values it gives there."""
    later = []
    for name, parameter in module.named_parameters():
        found = _LAYER.search(name)
        # Not H ** -0.5, which differs from it in the last bit for one H in three.
        bound = 1.0 / math.sqrt(hidden[int(found.group(1)) if found else 0])
        if any(kind in name for kind in ("weight_peephole", "weight_gates", "norm_", "highway", "h0_", "c0_")):
            later.append((name, parameter, bound))
        else:
            nn.init.uniform_(parameter, -bound, bound)
    with torch.no_grad():
        for name, parameter, bound in later:
            if "norm_" in name:
                parameter.fill_(0.0 if "_bias" in name else 1.0)
            elif "h0_" in name or "c0_" in name:
                parameter.zero_()
            elif "bias_highway" in name:
                parameter.fill_(_HIGHWAY_BIAS)
            elif "weight_highway" in name:
                nn.init.uniform_(parameter, -(parameter.shape[0] ** -0.5), parameter.shape[0] ** -0.5)
            else:
                nn.init.uniform_(parameter, -bound, bound)
        _as_asked(module)


def _as_asked(module: Any) -> None:
    variant = variant_of(module)
    for names in module._all_weights:
        tensors = {name.partition("_l")[0]: getattr(module, name) for name in names}
        if variant.orthogonal:
            for block in tensors["weight_hh"].chunk(4):
                # PyTorch's decomposition is of float32 and float64 only.
                wide = torch.promote_types(block.dtype, torch.float32)
                drawn = torch.empty_like(block, dtype=wide, memory_format=torch.contiguous_format)
                block.copy_(nn.init.orthogonal_(drawn))
        if variant.forget_bias is None and variant.chrono is None:
            continue
        size = tensors["weight_hh"].shape[0] // 4
        b_ih: Tensor = tensors["bias_ih"]
        if variant.chrono is not None:
            forget = torch.log(torch.empty_like(b_ih[:size]).uniform_(1.0, variant.chrono - 1.0))
        else:
            assert variant.forget_bias is not None
            forget = torch.full_like(b_ih[:size], variant.forget_bias)
        # A coupled gate forgets by 1 - i: opening it is closing i.
        coupled = variant.description.form.forget == "coupled"
        both = {"f": slice(size, 2 * size)} | ({"i": slice(0, size)} if variant.chrono is not None or coupled else {})
        for gate, rows in both.items():
            b_ih[rows] = forget if gate == "f" else -forget
            if "bias_hh" in tensors:
                tensors["bias_hh"][rows] = 0.0


def initial_state(module: Any, batch: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the learned h_0 and c_0 of every layer, (D, B, size) each, differentiable."""
    suffixes = ("", "_reverse") if module.bidirectional else ("",)

    def stacked(kind: str, layer: int) -> Tensor:
        rows = [getattr(module, f"{kind}_l{layer}{suffix}") for suffix in suffixes]
        return torch.stack(rows).unsqueeze(1).expand(-1, batch, -1).contiguous()

    h0, c0 = ([stacked(kind, layer) for layer in range(module.num_layers)] for kind in ("h0", "c0"))
    return h0, c0
