"""Training in bfloat16 for the most frequent call: what ``cpu_plain`` is to float32."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import cpu, cpu_half, cpu_tensors
from .problem import Inputs, Problem, nested_weights

__all__ = ["HalfStack", "train"]

_MOST_SIZES = 256  # of T and B that are remembered


class HalfStack:
    """What is known of all modules with the same sizes.

    Args:
        problem: Of no particular T and B, uniform.
    """

    __slots__ = ("native", "problem", "problems", "shapes")

    def __init__(self, problem: Problem) -> None:
        """Ask the native core for the stack."""
        self.problem = problem
        self.native = cpu.stack_of(problem)
        hidden, proj, out = problem.hidden_sizes[0], problem.proj_sizes[0], problem.output_sizes[0]
        width = problem.directions * out
        self.problems: dict[tuple[int, int], Problem] = {}  # by T and B
        self.shapes: list[tuple[int, ...]] = []
        for layer in range(problem.layers):
            for _ in range(problem.directions):
                self.shapes.append((4 * hidden, width if layer else problem.input_size))
                self.shapes.append((4 * hidden, out))
                self.shapes += [(4 * hidden,)] * 2 if problem.bias else []
                self.shapes += [(proj, hidden)] if proj else []


def train(stack: HalfStack, x: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Run a stack in bfloat16 so that autograd can run it backward; None where the full way is called for.

    Args:
        stack: Of bfloat16.
        x: (T, B, I) on the CPU; T, B >= 1.
        weights: Of ``stack.shapes``, contiguous.

    Returns:
        output (T, B, D*H), h_n and c_n.
    """
    steps, batch, _ = x.shape
    problem = stack.problems.get((steps, batch))
    if problem is None:
        if len(stack.problems) >= _MOST_SIZES:
            stack.problems.clear()
        problem = stack.problems[steps, batch] = replace(stack.problem, steps=steps, batch=batch, needs_grad=True)
    if cpu_half.reason_against(cpu.native(), problem) is not None:
        return None
    inputs = Inputs(x, None, None, nested_weights(weights, problem))
    cpu_tensors.check_backed(cpu.named(inputs))
    result = cpu_half.run(cpu.native(), stack.native, problem, inputs, torch.get_num_threads())
    return result.output, result.h_n, result.c_n  # pyright: ignore[reportReturnType]
