"""``torch.onnx.export`` of models with our layer: PyTorch's own exporter, and onnxruntime to run what it writes."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import cellgate

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


class Net(nn.Module):
    """A layer, called with whatever tensors it is given: the first is the input, the others by name."""

    def __init__(self, layer, *names):
        super().__init__()
        self.layer, self.names = layer, names

    def forward(self, x, *rest):
        given = dict(zip(self.names, rest, strict=True))
        if "h" in given:
            given = {"hx": (given["h"], given["c"])}
        output, (h_n, c_n) = self.layer(x, **given)
        return output, h_n, c_n


def exported(model, arguments, path):
    torch.onnx.export(model, arguments, dynamo=True, verbose=False).save(path)
    return onnxruntime.InferenceSession(path)


def numbers(session, arguments):
    feed = {place.name: value.numpy() for place, value in zip(session.get_inputs(), arguments, strict=True)}
    return [torch.from_numpy(array) for array in session.run(None, feed)]


def nodes(session_path):
    import onnx

    return [node.op_type for node in onnx.load(session_path).graph.node]


STATE = (torch.zeros(2, 3, 8) + 0.5, torch.zeros(2, 3, 8) - 0.5)
CASES = {
    "states": (lambda: cellgate.nn.LSTM(5, 8, 2), ("h", "c"), STATE),
    "two ways, without bias": (lambda: cellgate.nn.LSTM(5, 8, 2, bias=False, bidirectional=True), (), ()),
    "converted": (lambda: cellgate.convert(nn.LSTM(5, 8, batch_first=True)), (), ()),
    "sizes": (lambda: cellgate.LSTM(5, [8, 6]), (), ()),
    "lengths": (lambda: cellgate.LSTM(5, 8), ("lengths",), (torch.tensor([7, 3, 5]),)),
    # onnxruntime refuses what the exporter writes for those of nn.LSTM.
    "projected": (lambda: cellgate.nn.LSTM(5, 8, proj_size=3), (), ()),
    "peephole": (lambda: cellgate.LSTM(5, 8, peephole=True), (), ()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_graph_gives_the_layers_numbers(name, tmp_path):
    torch.manual_seed(0)
    make, names, rest = CASES[name]
    model = Net(make(), *names).eval()
    shape = (3, 7, 5) if model.layer.batch_first else (7, 3, 5)
    session = exported(model, (torch.randn(shape), *rest), tmp_path / "model.onnx")
    arguments = (torch.randn(shape), *rest)
    wanted = model(*arguments)
    for found, tensor in zip(numbers(session, arguments), [wanted[0], *_flat(wanted[1:])], strict=True):
        torch.testing.assert_close(found, tensor, rtol=1e-5, atol=1e-6)
    one_step_after_another = name in ("lengths", "projected", "peephole")
    assert ("LSTM" in nodes(tmp_path / "model.onnx")) is not one_step_after_another


def _flat(states):
    return [part for state in states for part in (state if isinstance(state, tuple) else (state,))]


def test_lengths_are_an_input_of_the_graph(tmp_path):
    torch.manual_seed(0)
    model, x = Net(cellgate.LSTM(5, 8), "lengths").eval(), torch.randn(7, 3, 5)
    session = exported(model, (x, torch.tensor([7, 3, 5])), tmp_path / "model.onnx")
    others = torch.tensor([1, 7, 2])
    torch.testing.assert_close(numbers(session, (x, others))[0], model(x, others)[0], rtol=1e-5, atol=1e-6)


# Each in a process of its own: PyTorch's second export with open sizes fails, with nn.LSTM as well.
OPEN = """
import torch, onnxruntime, cellgate
from cellgate import LSTM
torch.manual_seed(0)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = {layer}
    def forward(self, x):
        return self.layer(x)[0][:, -1]
model, x, longer = Net().eval(), torch.randn(2, 7, 5), torch.randn(3, 11, 5)
program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=({{0: "batch", 1: "steps"}},), verbose=False)
program.save("{path}")
session = onnxruntime.InferenceSession("{path}")
for given in (x, longer):
    found = session.run(None, {{session.get_inputs()[0].name: given.numpy()}})[0]
    torch.testing.assert_close(torch.from_numpy(found), model(given), rtol=1e-5, atol=1e-6)
print("equal")
"""


def _in_a_process(layer, path):
    code = OPEN.format(layer=layer, path=path)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_open_numbers_of_sequences_and_steps(tmp_path):
    run = _in_a_process("cellgate.convert(torch.nn.LSTM(5, 8, 2, batch_first=True))", tmp_path / "model.onnx")
    assert run.stdout.endswith("equal\n"), run.stderr


@pytest.mark.parametrize("layer", ["LSTM(5, 8, peephole=True)", "LSTM(5, [8, 6], batch_first=True)"])
def test_what_would_be_right_for_one_number_of_steps_needs_a_fixed_one(layer, tmp_path):
    run = _in_a_process(layer, tmp_path / "model.onnx")
    assert run.returncode
    assert "expected a fixed number of steps, got one that is left open; leave the time out" in run.stderr
