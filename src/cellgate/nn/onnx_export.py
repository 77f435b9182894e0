"""What becomes of a layer in ``torch.onnx.export``.

ONNX has an LSTM of its own, and PyTorch's exporter writes it for ``torch.lstm``; of an operator of ours it knows
nothing. So there the layer is ``torch.lstm`` where that computes it, and else the equations, step by step.
"""

from __future__ import annotations

import torch

from cellgate.backends import Choice, Problem, aten
from cellgate.errors import BackendError

__all__ = ["choose_for_onnx", "exporting_to_onnx"]


def exporting_to_onnx() -> bool:
    """Whether ``torch.onnx.export`` with ``dynamo=True``, its default, is at work."""
    return torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()


# Dynamo takes is_in_onnx_export() for False, always; a function with this mark, which is what
# torch.compiler.assume_constant_result sets but for the seconds of importing Dynamo, it calls.
exporting_to_onnx._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def choose_for_onnx(problem: Problem) -> Choice:
    """Choose what PyTorch's exporter knows how to write.

    Raises:
        BackendError: for a number of steps that is left open, where the graph would be right for one only.
    """
    # Under Dynamo every number passes for an int. The exporter goes there only where its first way has failed.
    fixed = isinstance(problem.steps, int) and not torch.compiler.is_dynamo_compiling()
    if any(problem.proj_sizes):
        reason = "ONNX's LSTM has no projection"
    else:
        reason = aten.reason_against(problem)
    if fixed and reason is not None:
        return Choice("reference", "auto", {aten.NAME: reason})
    if not fixed and reason is None and not problem.uniform:
        reason = "PyTorch's exporter fixes it between layers of different sizes"
    if reason is not None:
        raise BackendError(
            "torch.onnx.export: expected a fixed number of steps, got one that is left open; leave the time out of "
            f"dynamic_shapes, as {reason}"
        )
    return Choice(aten.NAME, "auto", {})
