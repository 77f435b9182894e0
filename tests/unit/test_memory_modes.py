"""``memory=``: what training keeps for backward, as a keyword of the layer and of convert."""

import copy
import pickle

import pytest
import torch
from torch import nn

import cellgate
from cellgate.backends import cpu
from cellgate.backends.cpu_autograd import KEEP, saved_scalars

MODES = ("fast", "lean", "minimal")
X = torch.randn(40, 3, 5, generator=torch.Generator().manual_seed(0))


def gradients(module: nn.Module, x: torch.Tensor = X) -> list[torch.Tensor]:
    module.zero_grad()
    module(x)[0].square().sum().backward()
    return [p.grad.clone() for p in module.parameters()]


@pytest.mark.parametrize("memory", MODES)
def test_the_mode_is_an_attribute_shown_copied_and_pickled(memory: str):
    torch.manual_seed(0)
    lstm = cellgate.LSTM(5, 9, 2, memory=memory)
    shown = "LSTM(5, 9, num_layers=2)" if memory == "fast" else f"LSTM(5, 9, num_layers=2, memory='{memory}')"
    assert repr(lstm) == shown
    torch.manual_seed(0)
    plain = cellgate.LSTM(5, 9, 2)
    for other in (lstm, copy.copy(lstm), copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm))):
        assert other.memory == memory
        for got, want in zip(gradients(other), gradients(plain), strict=True):
            torch.testing.assert_close(got, want)
    assert "memory" not in lstm.state_dict()


@pytest.mark.parametrize("memory", MODES)
def test_what_is_kept_is_what_was_asked_for(memory: str):
    lstm = cellgate.LSTM(5, 9, memory=memory)
    kept: list[int] = []

    def keep(t: torch.Tensor) -> torch.Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        output = lstm(X)[0]
    own = sum(p.numel() for p in lstm.parameters()) + X.numel() + output.numel()
    unit = output.numel()
    # "minimal" keeps steps 15, 31 and the last one begun; each array is rounded up to 32 scalars.
    block = {"fast": 5 * unit, "lean": unit, "minimal": 3 * X.shape[1] * 9}[memory]
    assert own + block <= sum(kept) < own + block + 64


def test_modes_change_on_the_way_and_wrong_ones_are_refused():
    lstm = cellgate.LSTM(5, 9)
    want = gradients(lstm)
    lstm.memory = "minimal"
    for got, w in zip(gradients(lstm), want, strict=True):
        torch.testing.assert_close(got, w)
    lstm.memory = "small"
    for call in (lambda: lstm(X), lambda: cellgate.LSTM(5, 9, memory="small")):
        with pytest.raises(ValueError, match=r"memory: expected one of 'fast', 'lean', 'minimal', got 'small'"):
            call()
    del lstm.memory
    assert lstm.memory == "fast", "as in modules saved before there was a choice"


@pytest.mark.parametrize("keep_type", [True, False])
def test_convert_sets_it_and_revert_takes_it_away(keep_type: bool):
    model = nn.ModuleList([nn.LSTM(5, 9), nn.LSTMCell(5, 9), cellgate.LSTM(5, 9, memory="lean")])
    want = gradients(model[0])
    cellgate.convert(model, keep_type=keep_type)
    assert model[2].memory == "lean"
    assert getattr(model[0], "memory", "fast") == "fast"
    cellgate.convert(model, memory="minimal")
    assert [getattr(m, "memory", None) for m in model] == ["minimal", None, "minimal"]
    for m in (model[0], copy.deepcopy(model[0]), pickle.loads(pickle.dumps(model[0]))):
        assert m.memory == "minimal"
        for got, w in zip(gradients(m), want, strict=True):
            torch.testing.assert_close(got, w)
    assert type(cellgate.revert(model)[0]) is nn.LSTM
    assert "memory" not in vars(model[0])
    assert model[2].memory == "minimal"
    with pytest.raises(ValueError, match="memory: expected one of"):
        cellgate.convert(model, memory="small")


def test_a_broadcast_gradient_is_that_of_the_whole_one():
    lstm = cellgate.LSTM(5, 9, 2)
    (want,) = torch.autograd.grad(lstm(X)[0], lstm.weight_hh_l0, torch.full((40, 3, 9), -3.0))
    for grad in (torch.tensor(-3.0).expand(40, 3, 9), torch.tensor(3.0).expand(40, 3, 9)._neg_view()):
        (got,) = torch.autograd.grad(lstm(X)[0], lstm.weight_hh_l0, grad)
        torch.testing.assert_close(got, want)


@pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")
@pytest.mark.parametrize("memory", MODES)
def test_the_size_of_the_block_is_what_the_core_says(memory: str):
    every = 16 if memory == "minimal" else 1
    for layers in ([(5, 7, 0)], [(5, 7, 3), (6, 9, 0), (18, 33, 8)], [(1, 1, 0), (2, 1, 0)]):
        hidden, proj = [h for _, h, _ in layers], [p for _, _, p in layers]
        stack = cpu.native().Stack(0, 2, True, layers)
        for steps, batch, rows in ((1, 1, 0), (15, 3, 0), (16, 3, 0), (33, 7, 100)):
            for dropout in (False, True):
                size = stack.saved_size(steps, batch, rows, KEEP[memory], every, dropout)
                n = rows or steps * batch
                assert saved_scalars(steps, batch, n, hidden, proj, 2, dropout, memory) == size
