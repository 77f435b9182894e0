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


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("variant", [{}, {"norm": "layer"}], ids=["plain", "layer norm"])
def test_gates_traces_and_penalties_take_them_as_the_layer_does(variant: dict, grad: bool):
    lstm = cellgate.LSTM(4, 6, 2, batch_first=True, bidirectional=True, **variant)
    data = jagged([torch.randn(n, 4) for n in LENGTHS])
    padded = torch.nested.to_padded_tensor(data, 0.0)
    with torch.set_grad_enabled(grad):
        want, _, want_gates = lstm.gates(padded, lengths=LENGTHS)
        output, _, gates = lstm.gates(data)
        with cellgate.trace(lstm) as tape:
            traced, _ = lstm(data)
        plain, _ = lstm(data)
    assert output.is_nested
    assert torch.equal(traced.values(), plain.values())
    torch.testing.assert_close(torch.nested.to_padded_tensor(output, 0.0), want)
    layer = tape["lstm"].layer(1)
    for got in (gates[1].f, layer.f):
        torch.testing.assert_close(got, want_gates[1].f)
    assert layer.mask.sum(1).tolist() == LENGTHS
    assert tape["lstm"].only().distance < 1e-5
    torch.testing.assert_close(lstm.penalty(output), lstm.penalty(want, lengths=LENGTHS))
    assert lstm.explain_backend(data).name == lstm.explain_backend(padded, lengths=LENGTHS).name


def test_one_that_does_not_know_its_longest_is_padded_to_it_all_the_same():
    lstm = cellgate.LSTM(4, 4, batch_first=True)
    whole = jagged([torch.randn(n, 4) for n in LENGTHS])
    data = torch.nested.nested_tensor_from_jagged(whole.values(), whole.offsets())
    output, _ = lstm(data)
    torch.testing.assert_close(output.values(), lstm(whole)[0].values())
    assert torch.nested.to_padded_tensor(lstm(output)[0], 0.0).shape == (4, max(LENGTHS), 4)
    _, _, (gates,) = lstm.gates(torch.nested.nested_tensor_from_jagged(whole.values(), whole.offsets()))
    assert gates.f.shape == (4, max(LENGTHS), 4)
