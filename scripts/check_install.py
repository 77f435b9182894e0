"""Check an installed cellgate from outside the repository: where it lies, what it has, that it equals nn.LSTM.

scripts/test_install runs this in an environment without a compiler.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch

import cellgate


def check_place() -> None:
    """The package under test must be the installed one, typed and with its bundled data."""
    folder = Path(cellgate.__file__).parent
    assert folder.is_relative_to(sys.prefix), f"expected an installed cellgate, got {folder}"
    assert (folder / "py.typed").is_file(), "py.typed is missing"
    assert list(folder.glob("**/airline.csv")), "the bundled data are missing"


def check_native(expected: bool) -> None:
    """The native core is there, or info() says that it is not and what that costs."""
    present = importlib.util.find_spec("cellgate._native") is not None
    assert present == expected, f"native core: expected {expected}, got {present}"
    about = cellgate.info()
    print(about)
    if expected:
        assert about.backends["cpu"] == "ready", about.backends["cpu"]
        return
    assert "the native core is not built" in about.backends["cpu"], about.backends["cpu"]
    try:
        with cellgate.use_backend("cpu"):
            cellgate.LSTM(2, 3)(torch.zeros(1, 1, 2))
    except cellgate.BackendError as error:
        print(f"use_backend('cpu') says: {error}")
    else:
        raise AssertionError("the cpu backend ran without a native core")


def check_parity() -> None:
    """Values and every gradient equal nn.LSTM's within float32 rounding, over shapes with tails."""
    for steps, batch, inputs, hidden, directions in [(3, 1, 20, 100, 1), (7, 33, 5, 17, 2), (1, 3, 1, 1, 1)]:
        torch.manual_seed(0)
        theirs = torch.nn.LSTM(inputs, hidden, num_layers=2, bidirectional=directions == 2)
        ours = cellgate.LSTM(inputs, hidden, num_layers=2, bidirectional=directions == 2)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(steps, batch, inputs)
        results = []
        for module in (theirs, ours):
            leaf = x.clone().requires_grad_()
            output, (h_n, c_n) = module(leaf)
            (output.square().sum() + c_n.sum()).backward()
            results.append([output, h_n, c_n, leaf.grad, *(p.grad for p in module.parameters())])
        for want, got in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-5)
        with torch.no_grad():
            torch.testing.assert_close(ours(x)[0], results[0][0], rtol=2e-5, atol=2e-6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--native", action=argparse.BooleanOptionalAction, required=True)
    wanted = parser.parse_args()
    check_place()
    check_native(wanted.native)
    check_parity()
    print(f"cellgate {'with' if wanted.native else 'without'} its native core: installed, honest, equal to nn.LSTM")
