"""onnxruntime: one ONNX LSTM node a layer, written here with onnx's helper; forward and one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellgate.bench.case import Case
from cellgate.bench.shape import Shape

from .contender import Absent, Contender, streamed_inputs

__all__ = ["NAME", "build", "graph"]

NAME = "onnxruntime"


def build(case: Case, mode: str, threads: int) -> Contender:
    """A session on the CPU with this many threads, fed numpy arrays."""
    shape = case.shape
    if shape.P:
        raise Absent("the ONNX LSTM has no projection")
    if shape.reset:
        raise Absent("the ONNX LSTM has no resets")
    if shape.dtype != "float32":
        raise Absent(f"its LSTM does not run {shape.dtype}")
    try:
        import onnxruntime
    except ImportError:
        raise Absent("onnxruntime is not installed: pip install cellgate[bench]") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(
        graph(shape, case.weights, states=mode == "stream"), options, providers=["CPUExecutionProvider"]
    )
    if mode == "stream":
        return _stream(case, session)
    feed = {"x": case.x.numpy()}
    if case.lengths is not None:
        feed["lengths"] = case.lengths.numpy().astype(np.int32)
    outputs = ["output"]

    def run() -> Any:
        return session.run(outputs, feed)

    return Contender(NAME, run, lambda: {"output": torch.from_numpy(run()[0].copy())})


def _stream(case: Case, session: Any) -> Contender:
    shape = case.shape
    names = [f"{letter}{layer}" for layer in range(shape.L) for letter in "hc"]
    outputs = [f"{name}_n" for name in names]
    steps = [x_t.numpy()[None] for x_t in streamed_inputs(case)]
    feed: dict[str, Any] = {}

    def reset() -> None:
        feed.update({name: np.zeros((1, shape.B, shape.H), np.float32) for name in names})
        feed["x"] = steps[0]

    def push() -> Any:
        results = session.run(outputs, feed)
        feed.update(zip(names, results, strict=True))
        return results

    def read() -> dict[str, Tensor]:
        reset()
        h = []
        for x_t in steps:
            feed["x"] = x_t
            h.append(torch.from_numpy(push()[-2][0].copy()))
        reset()
        return {"output": torch.stack(h)}

    reset()
    return Contender(NAME, push, read)


def graph(shape: Shape, weights: dict[str, Tensor], states: bool = False) -> bytes:
    """Return an ONNX model of the stack.

    Args:
        shape: Its sizes.
        weights: By nn.LSTM's names; gates are reordered from i, f, g, o to ONNX's i, o, f, c.
        states: Take h0, c0, h1, ... of (D, B, H) as inputs and give h0_n, c0_n, ... back; else start from zeros.

    Returns:
        The serialised model: x (T, B, I) to output (T, B, D*H), with an input "lengths" where the shape is ragged.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise Absent("onnx is not installed: pip install cellgate[onnx]") from None
    real = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", real, [None, None, shape.I])]
    outputs, nodes, constants = [], [], []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    if shape.ragged:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [None]))
    constant("all_in_one", np.array([0, 0, -1], np.int64))
    last = "x"
    for layer in range(shape.L):
        names = [f"l{layer}{suffix}" for suffix in ("", "_reverse")[: shape.D]]
        w = constant(f"W{layer}", np.stack([_iofc(weights[f"weight_ih_{n}"]) for n in names]))
        r = constant(f"R{layer}", np.stack([_iofc(weights[f"weight_hh_{n}"]) for n in names]))
        b = ""
        if shape.bias:
            both = [[_iofc(weights[f"bias_ih_{n}"]), _iofc(weights[f"bias_hh_{n}"])] for n in names]
            b = constant(f"B{layer}", np.stack([np.concatenate(pair) for pair in both]))
        h0 = c0 = ""
        if states:
            h0, c0 = f"h{layer}", f"c{layer}"
            inputs += [helper.make_tensor_value_info(name, real, [shape.D, None, shape.H]) for name in (h0, c0)]
            outputs += [helper.make_tensor_value_info(f"{name}_n", real, [shape.D, None, shape.H]) for name in (h0, c0)]
        nodes.append(
            helper.make_node(
                "LSTM",
                [last, w, r, b, "lengths" if shape.ragged else "", h0, c0],
                [f"Y{layer}", f"h{layer}_n" if states else "", f"c{layer}_n" if states else ""],
                hidden_size=shape.H,
                direction="bidirectional" if shape.D == 2 else "forward",
            )
        )
        # Y is (T, D, B, H); the next layer reads (T, B, D*H).
        last = "output" if layer == shape.L - 1 else f"X{layer + 1}"
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"Z{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"Z{layer}", "all_in_one"], [last]))
    outputs.append(helper.make_tensor_value_info("output", real, [None, None, shape.D * shape.H]))
    model = helper.make_model(
        helper.make_graph(nodes, "lstm", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _iofc(rows: Tensor) -> Any:
    i, f, g, o = rows.detach().numpy().reshape(4, -1, *rows.shape[1:])
    return np.concatenate([i, o, f, g])
