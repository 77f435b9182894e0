"""Correctness before speed: every contender's numbers against the same computation in double precision.

Error of a tensor: its largest deviation, over the largest magnitude in the true tensor. cellgate may err twice as much
as torch.nn.LSTM does in the same dtype, plus a few units of rounding. A weight's gradient is a sum of as many terms as
the batch has steps, whose roundings walk at random: there the floor is the root of their number, if that is more.
In double precision, where nn.LSTM is its own truth, its error is taken to be that in single precision, scaled.
Peers are not ours to judge so finely, they must only compute the same thing: they get a wider floor. If one contender
fails nobody is timed, and the cell is red.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .case import Case, nn_lstm
from .contenders import OURS, Contender, python_loop
from .contenders import layers as torch_layers
from .contenders.contender import streamed_inputs
from .grid import Row

__all__ = ["FLOOR", "PEER_FLOOR", "Red", "check", "error_of", "truth_of"]

FLOOR, PEER_FLOOR = 8.0, 512.0
"""What is allowed on top, in units of the dtype's rounding (eps)."""


class Red(Exception):
    """A contender computes something else; the message says which, where and by how much."""


def check(case: Case, mode: str, contenders: Sequence[Contender]) -> dict[str, dict[str, float | str]]:
    """Compare all contenders with the truth.

    Returns:
        For each contender its worst tensor: {"tensor": name, "error": relative error, "bound": what was allowed}.

    Raises:
        Red: One of them is wrong.
    """
    truth = truth_of(case, mode)
    eps = torch.finfo(case.x.dtype).eps
    results = {contender.name: contender.read() for contender in contenders}
    usual = _usual_errors(case, mode, results.get(torch_layers.TORCH), truth)
    walk = math.sqrt(sum(case.shape.lengths))
    report: dict[str, dict[str, float | str]] = {}
    for name, tensors in results.items():
        worst = None
        for key, true in truth.items():
            if key not in tensors:
                raise Red(f"{name}: expected a result named {key}, got {', '.join(tensors)}")
            error = error_of(tensors[key], true)
            units = max(FLOOR, walk if key.startswith(("dweight", "dbias")) else 0.0)
            floor = eps * (units if name.startswith(OURS) else max(units, PEER_FLOOR))
            bound = floor + 2.0 * usual.get(key, floor)
            # A broken nn.LSTM makes every bound infinite; its own error, infinite too, must still be red.
            if not (math.isfinite(error) and error <= bound):
                raise Red(f"{name}: {key} deviates by {error:.2e} of its largest value, {bound:.2e} is allowed")
            if worst is None or error / bound > worst[1] / worst[2]:
                worst = (key, error, bound)
        assert worst is not None
        report[name] = {"tensor": worst[0], "error": worst[1], "bound": worst[2]}
    return report


def _usual_errors(
    case: Case, mode: str, baseline: dict[str, Tensor] | None, truth: dict[str, Tensor]
) -> dict[str, float]:
    """The error that nn.LSTM makes in this dtype, by tensor; empty where it cannot run the problem."""
    scale = 1.0
    if baseline is not None and case.x.dtype == torch.float64:
        single = case.to(torch.float32)
        single.row = Row(replace(case.shape, dtype="float32"), case.row.title)
        baseline = torch_layers.torch_lstm(single, mode, torch.get_num_threads()).read()
        scale = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    return {} if baseline is None else {key: scale * error_of(baseline[key], true) for key, true in truth.items()}


def error_of(value: Tensor, true: Tensor) -> float:
    """Return the largest deviation over the largest magnitude; infinite for another shape or a number not finite."""
    if value.shape != true.shape or not bool(torch.isfinite(value).all()):
        return float("inf")
    if true.numel() == 0:
        return 0.0
    deviation = (value.double() - true).abs().max().item()
    return deviation / max(true.abs().max().item(), 1e-30)


def truth_of(case: Case, mode: str) -> dict[str, Tensor]:
    """Return the results in double precision, from nn.LSTM, or from the plain loop where nn.LSTM has no such thing."""
    kind = "stream" if mode == "stream" else "training" if "training" in case.row.modes else "inference"
    if kind not in case.truth:
        case.truth[kind] = _compute(case, kind)
    truth = case.truth[kind]
    return {"output": truth["output"]} if mode != "training" else truth


def _compute(case: Case, kind: str) -> dict[str, Tensor]:
    exact = case.to(torch.float64)
    exact.row = Row(replace(case.shape, dtype="float64"), case.row.title)
    if kind == "stream":
        module = nn_lstm(exact.shape)
        module.load_state_dict(exact.weights)
        with torch.no_grad():
            return {"output": module(torch.stack(streamed_inputs(exact)))[0]}
    build = torch_layers.torch_lstm if case.reset is None else python_loop.build
    return build(exact, kind, torch.get_num_threads()).read()
