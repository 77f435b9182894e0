"""The short way of plain training calls: when it is taken, and that it is the full way in every number."""

import pytest
import torch
from torch import nn

import cellgate
from cellgate.backends import cpu
from cellgate.nn import call as door

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")


def outcome(lstm: nn.Module, x: torch.Tensor, quick: bool, monkeypatch, frozen: bool = False) -> list[torch.Tensor]:
    """Return outputs and gradients by the short way or by the full one, asserting which it was."""
    taken = []

    def spy(*args):
        result = run_quick_training(*args) if quick else None
        taken.append(result is not None)
        return result

    run_quick_training = door.run_quick_training
    with monkeypatch.context() as patch:
        patch.setattr(door, "run_quick_training", spy)
        x = x.clone().requires_grad_(not frozen)
        output, (h_n, c_n) = lstm(x)
    assert taken == [quick]
    leaves = [t for t in (x, *lstm.parameters()) if t.requires_grad]
    loss = output.square().sum() + h_n.sum() + 2 * c_n.square().sum()
    return [output, h_n, c_n, *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"batch_first": True, "bias": False},
        {"proj_size": 3, "num_layers": 2},
        {"dtype": torch.float64},
        {"dropout": 0.5, "num_layers": 2},
    ],
    ids=str,
)
def test_it_is_the_full_way_to_the_last_bit(kwargs: dict, memory: str, monkeypatch):
    lstm = cellgate.LSTM(5, 9, memory=memory, **kwargs).eval()
    for size in ((1, 1, 5), (20, 6, 5), (3, 33, 5)):
        x = torch.randn(size, dtype=kwargs.get("dtype"))
        ways = [outcome(lstm, x, quick, monkeypatch) for quick in (True, False)]
        for a, b in zip(*ways, strict=True):
            assert torch.equal(a, b)
            assert a.stride() == b.stride()


def test_frozen_parts_get_no_gradient(monkeypatch):
    lstm = cellgate.LSTM(5, 9, 2)
    for name in ("weight_ih_l0", "bias_hh_l1"):
        getattr(lstm, name).requires_grad_(False)
    x = torch.randn(7, 3, 5)
    for a, b in zip(*(outcome(lstm, x, quick, monkeypatch, True) for quick in (True, False)), strict=True):
        assert torch.equal(a, b)


def test_derivatives_of_derivatives_go_by_the_reference(monkeypatch):
    lstm = cellgate.LSTM(2, 3, 2, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert door.run_quick_training(lstm, x, None) is not None
    torch.autograd.gradgradcheck(lambda x, *w: lstm(x)[0], (x, *lstm.parameters()))


def test_it_is_not_taken_where_more_is_asked_for():
    lstm, x = cellgate.LSTM(5, 9, 2), torch.randn(4, 3, 5, requires_grad=True)
    refused = [
        (cellgate.LSTM(5, 9, 2, dropout=0.5), x, None),  # draws masks
        (lstm, x, (torch.zeros(2, 3, 9),) * 2),
        (lstm, x.detach().to("meta"), None),
        (lstm, x.double(), None),
        (lstm, x[..., :4], None),
        (lstm, x[:0], None),
        (lstm, x.transpose(1, 2), None),
        (lstm, x[0], None),
        (cellgate.LSTM(5, 9, cell="cifg"), x, None),
        (cellgate.LSTM(5, [9, 9, 8]), x, None),
    ]
    for call in refused:
        assert door.run_quick_training(*call) is None
    assert door.run_quick_training(lstm, x, None) is not None
    with torch.no_grad():
        assert door.run_quick_training(lstm, x, None) is None
    with cellgate.use_backend("reference"):
        assert door.run_quick_training(lstm, x, None) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert door.run_quick_training(lstm, x, None) is None
