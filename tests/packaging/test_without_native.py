"""Without its native core, cellgate works on PyTorch's kernels and says so.

One process of its own, in which `cellgate._native` cannot be imported, as where it was not built, does all of it.
"""

import json
import subprocess
import sys

import pytest

WITHOUT = """
import json, sys
sys.modules["cellgate._native"] = None
import torch, cellgate

torch.manual_seed(0)
theirs = torch.nn.LSTM(5, 7, num_layers=2, bidirectional=True)
ours = cellgate.LSTM(5, 7, num_layers=2, bidirectional=True)
ours.load_state_dict(theirs.state_dict())
x = torch.randn(4, 3, 5)
grads = []
for module in (theirs, ours):
    output, (h_n, c_n) = module(x)
    (output.square().sum() + c_n.sum()).backward()
    grads.append([output, h_n, c_n, *(p.grad for p in module.parameters())])
said = {"error": max((a - b).abs().max().item() for a, b in zip(*grads, strict=True))}
said["info"] = cellgate.info().backends["cpu"]
said["explained"] = str(ours.explain_backend(x))
try:
    with cellgate.use_backend("cpu"):
        ours(x)
except cellgate.BackendError as error:
    said["raised"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict:
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_layer_equals_pytorchs(said):
    assert said["error"] < 1e-6


def test_info_says_what_is_missing_and_what_that_costs(said):
    assert "not built" in said["info"]
    assert "speed of torch.nn.LSTM" in said["info"]  # the cost
    assert "C++ compiler" in said["info"]  # the way out


def test_explanation_names_the_missing_core(said):
    assert "backend: aten" in said["explained"]
    assert "not cpu: the native core is not built" in said["explained"]


def test_backend_asked_for_by_name_raises_with_the_reason(said):
    assert "native core is not built" in said["raised"]
