"""Without its native core, cellgate works on PyTorch's kernels and says so.

Each test runs in a process of its own, in which `cellgate._native` cannot be imported, as where it was not built.
"""

import subprocess
import sys

HIDE = "import sys; sys.modules['cellgate._native'] = None\n"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", HIDE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_layer_equals_pytorchs():
    run("""
import torch, cellgate
torch.manual_seed(0)
theirs = torch.nn.LSTM(5, 7, num_layers=2, bidirectional=True)
ours = cellgate.LSTM(5, 7, num_layers=2, bidirectional=True)
ours.load_state_dict(theirs.state_dict())
x = torch.randn(4, 3, 5)
for a, b in zip(torch.utils._pytree.tree_leaves(theirs(x)), torch.utils._pytree.tree_leaves(ours(x)), strict=True):
    torch.testing.assert_close(a, b)
ours(x)[0].sum().backward()
assert all(p.grad is not None for p in ours.parameters())
""")


def test_info_says_what_is_missing_and_what_that_costs():
    said = run("import cellgate; print(cellgate.info().backends['cpu'])")
    assert "not built" in said
    assert "compiler" in said  # the way out
    assert "speed of torch.nn.LSTM" in said  # the cost


def test_backend_asked_for_by_name_raises_with_the_reason():
    said = run("""
import torch, cellgate
try:
    with cellgate.use_backend("cpu"):
        cellgate.LSTM(2, 3)(torch.zeros(1, 1, 2))
except cellgate.BackendError as error:
    print(error)
""")
    assert "native core is not built" in said


def test_explanation_names_the_missing_core():
    said = run("import torch, cellgate; print(cellgate.LSTM(2, 3).explain_backend(torch.zeros(1, 1, 2)))")
    assert "backend: aten" in said
    assert "not cpu" in said
