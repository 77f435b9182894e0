"""Every parameter of ``torch.nn.LSTM`` in one line, and what a changed value does to shapes: measured, not recited."""

from __future__ import annotations

from typing import Any

import torch

from cellgate.nn import LSTM

from .parts import ParameterLine

__all__ = ["parameter_lines"]


def parameter_lines(steps: int, input_size: int, hidden_size: int) -> tuple[ParameterLine, ...]:
    """Build the layer for each parameter without and with that parameter changed, run both and note the shapes."""
    lines: list[ParameterLine] = []

    def add(name: str, default: str, meaning: str, value: Any, note: str = "", **also: Any) -> None:
        base = {"input_size": input_size, "hidden_size": hidden_size} | also
        before, after = _measure(steps, base), _measure(steps, base | {name: value})
        changed = tuple(key for key in after[0] if after[0][key] != before[0][key])
        code = _code(base | {name: value})
        lines.append(ParameterLine(name, default, meaning, code, after[0], changed, after[1], before[1], note))

    add("input_size", "required", "numbers in the vector of one step", 2 * input_size)
    add("hidden_size", "required", "units of a layer, and so numbers in h and in c", 2 * hidden_size)
    add("num_layers", "1", "layers stacked; layer two reads h of layer one", 2)
    add("bias", "True", "whether the sums have the two vectors b_ih and b_hh", False)
    add("batch_first", "False", "input and output are (B, T, ...)", True, "h_n and c_n never change place")
    add("dropout", "0.0", "share of h set to zero between layers in training", 0.5, "needs two layers", num_layers=2)
    add("bidirectional", "False", "a second LSTM reads backwards; outputs are concatenated", True)
    if hidden_size > 1:
        add("proj_size", "0", "h is projected to fewer numbers by W_hr", hidden_size // 2, "c keeps hidden_size")
    add("device", "None", "where the weights live", "cpu", "input and states must be there too")
    add("dtype", "None", "number format of the weights", torch.float64, "input and states must have it too")
    return tuple(lines)


@torch.no_grad()
def _measure(steps: int, arguments: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], int]:
    lstm = LSTM(**arguments)
    shape = (1, steps, lstm.input_size) if lstm.batch_first else (steps, 1, lstm.input_size)
    output, (h_n, c_n) = lstm(torch.zeros(shape, dtype=arguments.get("dtype")))
    shapes = {"input": shape, "output": tuple(output.shape), "h_n": tuple(h_n.shape), "c_n": tuple(c_n.shape)}
    return shapes, sum(p.numel() for p in lstm.parameters())


def _code(arguments: dict[str, Any]) -> str:
    input_size, hidden_size, *rest = arguments.items()
    return f"LSTM({', '.join([str(input_size[1]), str(hidden_size[1]), *(f'{k}={v!r}' for k, v in rest)])})"
