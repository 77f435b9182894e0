"""Training in bfloat16 for the most frequent call: what ``cpu_plain`` is to float32.

The backend is the one that ``dispatch`` chooses; the choice is remembered by T, B and the number of threads.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch._VF import lstm as torch_lstm  # pyright: ignore[reportAttributeAccessIssue]

from . import cpu, cpu_half
from .cpu_plain import PlainStack
from .dispatch import choose
from .problem import Inputs, nested_weights

__all__ = ["train"]

_MOST_SIZES = 256  # of T and B whose choice is remembered


def train(stack: PlainStack, x: Tensor, weights: list[Tensor], backend: str) -> tuple[Tensor, Tensor, Tensor] | None:
    """Run a stack in bfloat16 so that autograd can run it backward; None where the full way is called for.

    Args:
        stack: Of bfloat16.
        x: (T, B, I) on the CPU; T, B >= 1.
        weights: Of ``stack.shapes``, contiguous.
        backend: As asked for, "auto" or a name.

    Returns:
        output (T, B, D*H), h_n and c_n.
    """
    steps, batch, _ = x.shape
    threads = torch.get_num_threads()
    key = (steps, batch, threads, backend)
    found = stack.choices.get(key)
    if found is None:
        problem = replace(stack.problem, steps=steps, batch=batch, needs_grad=True)
        fits = stack.problem.input_size > 0 and cpu_half.reason_against(cpu.native(), problem) is None
        found = (problem, choose(problem, backend).name if fits else "")
        if len(stack.choices) >= _MOST_SIZES:
            stack.choices.clear()
        stack.choices[key] = found
    problem, name = found
    if name == "aten":
        rows, size, _ = stack.states
        zeros = x.new_zeros(rows, batch, size)
        # As nn.LSTM calls it.
        both = problem.directions == 2
        return torch_lstm(x, (zeros, zeros), weights, problem.bias, problem.layers, 0.0, True, both, False)
    if name == "cpu":
        inputs = Inputs(x, None, None, nested_weights(weights, problem))
        result = cpu_half.run(cpu.native(), stack.native, problem, inputs, threads)
        return result.output, result.h_n, result.c_n  # pyright: ignore[reportReturnType]
    return None
