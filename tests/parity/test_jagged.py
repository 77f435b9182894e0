"""Jagged nested tensors: each sequence as by itself, in and out without padding."""

from __future__ import annotations

import pytest
import torch
from tests.parity.compare import only

import cellgate

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
LENGTHS = [3, 7, 1, 4]


def jagged(sequences: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(sequences, layout=torch.jagged)


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("hx", [False, True], ids=["zeros", "hx"])
def test_each_sequence_as_by_itself(hx: bool, grad: bool, backend: str):
    lstm = cellgate.LSTM(4, 6, 2, batch_first=True, bidirectional=True)
    sequences = [torch.randn(n, 4, requires_grad=grad) for n in LENGTHS]
    state = (torch.randn(4, 4, 6), torch.randn(4, 4, 6)) if hx else None
    with only(backend), torch.set_grad_enabled(grad):
        output, (h_n, c_n) = lstm(jagged(sequences), state)
        alone = [lstm(s, None if state is None else (state[0][:, b], state[1][:, b])) for b, s in enumerate(sequences)]
    assert output.is_nested
    for b, (got, (want, (h, c))) in enumerate(zip(output.unbind(), alone, strict=True)):
        torch.testing.assert_close(got, want)
        torch.testing.assert_close((h_n[:, b], c_n[:, b]), (h, c))
    if grad:
        leaves = [*sequences, *lstm.parameters()]
        ours = torch.autograd.grad(output.values().square().sum() + c_n.sum(), leaves)
        theirs = torch.autograd.grad(sum(o.square().sum() + c.sum() for o, (_, c) in alone), leaves)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_output_goes_with_the_input():
    """One ragged size for both, so that a residual connection is a sum."""
    lstm = cellgate.LSTM(4, 4, batch_first=True)
    x = jagged([torch.randn(n, 4) for n in LENGTHS])
    total = x + lstm(x)[0]
    assert [len(s) for s in total.unbind()] == LENGTHS


def test_what_does_not_go_together():
    x = jagged([torch.randn(n, 4) for n in LENGTHS])
    lstm = cellgate.LSTM(4, 6, batch_first=True)
    for call, words in (
        (lambda: cellgate.LSTM(4, 6)(x), "expected batch_first=True with a nested tensor"),
        (lambda: lstm(x, lengths=LENGTHS), "lengths: expected None with a nested tensor"),
        (lambda: lstm(x, reset=torch.zeros(4, 7).bool()), "reset: expected None with a nested tensor"),
        (
            lambda: lstm(torch.nested.nested_tensor([torch.randn(2, 4)])),
            "expected a nested tensor of layout torch.jagged",
        ),
        (lambda: lstm(jagged([torch.randn(n, 3) for n in LENGTHS])), "expected 4 features"),
    ):
        with pytest.raises(cellgate.InputError, match=words):
            call()
