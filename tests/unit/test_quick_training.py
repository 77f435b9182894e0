"""The short way of plain training calls: when it is taken, and that it is the full way in every number."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import cellgate
from cellgate.backends import cpu, cpu_plain
from cellgate.nn import call as door

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")

KINDS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True, "bias": False},
    {"proj_size": 3, "num_layers": 2},
    {"dtype": torch.float64},
]


def outcome(
    lstm: nn.Module, x: torch.Tensor, quick: bool, monkeypatch, frozen: bool = False, hx: tuple | None = None
) -> list[torch.Tensor]:
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
        output, (h_n, c_n) = lstm(x, hx)
        assert taken == [quick]
        leaves = [t for t in (x, *(hx or ()), *lstm.parameters()) if t.requires_grad]
        # No sum of the results themselves: its gradient has no strides, and is left to the full way.
        loss = output.square().sum() + h_n.square().sum() + 2 * c_n.square().sum()
        patch.setattr(cpu_plain, "_backward_in_full", lambda *args: pytest.fail("backward went the full way"))
        return [output, h_n, c_n, *torch.autograd.grad(loss, leaves)]


def assert_same_ways(lstm: nn.Module, x: torch.Tensor, monkeypatch, **options) -> None:
    """The short way and the full one give the same, in every number and in how it lies in memory."""
    for a, b in zip(*(outcome(lstm, x, quick, monkeypatch, **options) for quick in (True, False)), strict=True):
        assert torch.equal(a, b)
        assert a.stride() == b.stride()


@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize("kwargs", [*KINDS, {"dropout": 0.5, "num_layers": 2}], ids=str)
def test_it_is_the_full_way_to_the_last_bit(kwargs: dict, memory: str, monkeypatch):
    lstm = cellgate.LSTM(5, 9, memory=memory, **kwargs).eval()
    for size in ((1, 1, 5), (20, 6, 5), (3, 33, 5)):
        x = torch.randn(size, dtype=kwargs.get("dtype"))
        assert_same_ways(lstm, x, monkeypatch)


def state_of(lstm: nn.LSTM, batch: int, *needs: bool) -> tuple[torch.Tensor, ...]:
    count = lstm.num_layers * (2 if lstm.bidirectional else 1)
    sizes, dtype = (lstm.proj_size or lstm.hidden_size, lstm.hidden_size), lstm.weight_ih_l0.dtype
    return tuple(
        torch.randn(count, batch, size, dtype=dtype, requires_grad=need)
        for size, need in zip(sizes, needs, strict=True)
    )


@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize("needs", [(True, True), (False, False), (False, True), (True, False)])
@pytest.mark.parametrize("kwargs", KINDS, ids=str)
def test_an_initial_state_is_that_of_the_full_way(kwargs: dict, needs: tuple, memory: str, monkeypatch):
    lstm = cellgate.LSTM(5, 9, memory=memory, **kwargs)
    for size in ((1, 1, 5), (20, 6, 5), (3, 33, 5)):
        x = torch.randn(size, dtype=kwargs.get("dtype"))
        hx = state_of(lstm, size[0 if lstm.batch_first else 1], *needs)
        assert_same_ways(lstm, x, monkeypatch, hx=hx)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kwargs", [{"num_layers": 2, "bidirectional": True}, {"proj_size": 3}], ids=str)
def test_an_initial_state_is_that_of_nn_lstm(kwargs: dict):
    lstm, peer = cellgate.LSTM(5, 9, dtype=torch.float64, **kwargs), nn.LSTM(5, 9, dtype=torch.float64, **kwargs)
    peer.load_state_dict(lstm.state_dict())
    x, hx = torch.randn(7, 4, 5, dtype=torch.float64), state_of(lstm, 4, True, True)
    assert door.run_quick_training(lstm, x, hx) is not None
    found = []
    for model in (lstm, peer):
        output, (h_n, c_n) = model(x, hx)
        loss = output.square().sum() + h_n.square().sum() + c_n.square().sum()
        found.append([output, h_n, c_n, *torch.autograd.grad(loss, [*hx, *model.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_one_tensor_may_be_both_states():
    lstm, both = cellgate.LSTM(5, 9, dtype=torch.float64), torch.randn(1, 3, 9).double().requires_grad_()
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    (once,) = torch.autograd.grad(door.run_quick_training(lstm, x, (both, both))[0].square().sum(), both)
    apart = [both.detach().clone().requires_grad_() for _ in range(2)]
    expected = torch.autograd.grad(lstm(x, tuple(apart))[0].square().sum(), apart)
    torch.testing.assert_close(once, expected[0] + expected[1], rtol=1e-12, atol=0)


def test_a_state_alone_may_need_a_gradient():
    lstm = cellgate.LSTM(5, 9).requires_grad_(False)
    hx = state_of(lstm, 3, True, False)
    output, _ = door.run_quick_training(lstm, torch.randn(4, 3, 5), hx)
    output.square().sum().backward()
    assert hx[0].grad.abs().sum() > 0
    assert hx[1].grad is None
    assert all(p.grad is None for p in lstm.parameters())
    assert door.run_quick_training(lstm, torch.randn(4, 3, 5), state_of(lstm, 3, False, False)) is None


def test_a_state_written_to_before_backward_is_noticed():
    lstm = cellgate.LSTM(5, 9)
    hx = state_of(lstm, 3, False, False)
    output, _ = door.run_quick_training(lstm, torch.randn(4, 3, 5), hx)
    hx[1].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_frozen_parts_get_no_gradient(monkeypatch):
    lstm = cellgate.LSTM(5, 9, 2)
    for name in ("weight_ih_l0", "bias_hh_l1"):
        getattr(lstm, name).requires_grad_(False)
    x = torch.randn(7, 3, 5)
    assert_same_ways(lstm, x, monkeypatch, frozen=True)


def test_derivatives_of_derivatives_go_by_the_reference(monkeypatch):
    lstm = cellgate.LSTM(2, 3, 2, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert door.run_quick_training(lstm, x, None) is not None
    torch.autograd.gradgradcheck(lambda x, *w: lstm(x)[0], (x, *lstm.parameters()))
    hx = state_of(lstm, 2, True, True)
    assert door.run_quick_training(lstm, x, hx) is not None
    torch.autograd.gradgradcheck(lambda x, h, c, *w: lstm(x, (h, c))[0], (x, *hx, *lstm.parameters()))


def test_it_is_not_taken_where_more_is_asked_for():
    lstm, x = cellgate.LSTM(5, 9, 2), torch.randn(4, 3, 5, requires_grad=True)
    refused = [
        (cellgate.LSTM(5, 9, 2, dropout=0.5), x, None),  # draws masks
        (lstm, x, [torch.zeros(2, 3, 9)] * 2),
        (lstm, x, (torch.zeros(2, 3, 9),)),
        (lstm, x, (torch.zeros(2, 3, 9), None)),
        (lstm, x, (torch.zeros(2, 4, 9),) * 2),
        (lstm, x, (torch.zeros(2, 3, 9), torch.zeros(2, 3, 9).double())),
        (lstm, x, (torch.zeros(2, 9, 3).mT, torch.zeros(2, 3, 9))),
        (lstm, x, (torch._neg_view(torch.zeros(2, 3, 9)), torch.zeros(2, 3, 9))),
        (cellgate.LSTM(5, 9, peephole=True), x, (torch.zeros(1, 3, 9),) * 2),
        (lstm, x.detach().to("meta"), None),
        (lstm, x.double(), None),
        (lstm, x[..., :4], None),
        (lstm, x[:0], None),
        (lstm, x.transpose(1, 2), None),
        (lstm, x[0], None),
        (cellgate.LSTM(5, 9, cell="cifg", learned_state=True), x, None),
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


def gradients(lstm: nn.Module, x: torch.Tensor, loss, hx: tuple | None = None) -> list[torch.Tensor]:
    """Return the gradients of ``loss(output, h_n, c_n)``, by the short way."""
    x = x.clone().requires_grad_()
    found = door.run_quick_training(lstm, x, hx)
    assert found is not None
    output, (h_n, c_n) = found
    return list(torch.autograd.grad(loss(output, h_n, c_n), [x, *(hx or ()), *lstm.parameters()]))


@pytest.mark.parametrize("memory", ["fast", "minimal"])
def test_tensors_that_hooks_give_back_are_obeyed(memory: str):
    """Checkpointing and offloading give backward other tensors than forward saved, at times in another layout."""
    lstm, x = cellgate.LSTM(5, 9, 2, memory=memory), torch.randn(20, 3, 5)

    def loss(y, h_n, c_n):
        return y.square().sum() + h_n.square().sum() + c_n.square().sum()

    def in_columns(t: torch.Tensor) -> torch.Tensor:
        return t.T.contiguous().T if t.dim() == 2 else t.clone()

    for hx in (None, state_of(lstm, 3, True, True)):
        expected = gradients(lstm, x, loss, hx)
        for unpack in (torch.clone, in_columns, lambda t: t.unsqueeze(-1).repeat_interleave(2, -1)[..., 0]):
            with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), unpack):
                for a, b in zip(gradients(lstm, x, loss, hx), expected, strict=True):
                    assert torch.equal(a, b)


def test_gradients_come_in_every_layout():
    lstm, x = cellgate.LSTM(5, 9, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    weight = torch.randn(9, 3, 4, dtype=torch.float64)
    place = torch.zeros_like(x[..., :1]).index_put_((torch.tensor(1), torch.tensor(2)), torch.tensor(1.0).double())
    turned = weight.permute(2, 1, 0).contiguous()
    given = {
        "of a sum": (lambda y, h, c: y.sum(), lambda y, h, c: (y * torch.ones_like(y)).sum()),
        "turned": (lambda y, h, c: (y.permute(2, 1, 0) * weight).sum(), lambda y, h, c: (y * turned).sum()),
        "one row": (lambda y, h, c: y[1, 2].sum(), lambda y, h, c: (y * place).sum()),
        "states only": (lambda y, h, c: h.sum() + c.mean(), lambda y, h, c: (h * 1).sum() + (c / c.numel()).sum()),
        "negated": (lambda y, h, c: torch.complex(y, y).conj().imag.sum(), lambda y, h, c: (-1 * y).sum()),
    }
    for name, (odd, plain) in given.items():
        for a, b in zip(gradients(lstm, x, odd), gradients(lstm, x, plain), strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-14), name


def test_two_threads_give_what_one_gives():
    lstm, x = cellgate.LSTM(5, 64), torch.randn(30, 40, 5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = gradients(lstm, x, lambda y, h, c: y.square().sum())
        torch.set_num_threads(2)
        two = gradients(lstm, x, lambda y, h, c: y.square().sum())
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("recorded", [True, False])
def test_threads_with_sizes_of_their_own_share_a_module(recorded: bool):
    """Modules of the same sizes share what is known of them, also while another thread's call makes its tensors."""

    def work(lstm: nn.Module, steps: int) -> list[bool]:
        x = torch.randn(steps, 2, 5)
        with torch.set_grad_enabled(recorded):
            expected = lstm(x)[0].detach().clone()
            found = [lstm(x)[0] for _ in range(200)]
        if recorded:
            found[0].sum().backward()
        return [torch.equal(y, expected) for y in found]

    # Threads take turns a thousand times as often, so that they meet where results are replaced.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 1000)
    try:
        for _ in range(10):
            lstm = cellgate.LSTM(5, 9)
            with ThreadPoolExecutor(4) as pool:
                for same in pool.map(work, [lstm] * 4, (3, 40, 7, 120)):
                    assert all(same)
    finally:
        sys.setswitchinterval(interval)
