"""Shapes, strides and layouts: what goes in in any form, and what comes out in nn.LSTM's."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.parity.compare import Case, only, quiet_nn_lstm
from torch import nn

import cellgate

FLAGS = list(itertools.product((1, 2), (False, True), (False, True), (False, True)))


def pair(flags: tuple, device: str = "cpu") -> tuple[Case, cellgate.LSTM, nn.LSTM]:
    layers, batch_first, bidirectional, projected = flags
    case = Case(5, 3, 4, 6, layers, True, batch_first, bidirectional, 2 if projected else 0)
    return case, case.ours(device), case.peer(device)


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("hx", [False, True], ids=["zeros", "hx"])
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_shapes_and_strides_are_nn_lstms(flags: tuple, hx: bool, grad: bool, backend: str, device: str):
    case, ours, peer = pair(flags, device)
    x, h0, c0 = (t.to(device) for t in case.numbers())
    state = (h0, c0) if hx else None
    with only(backend), torch.set_grad_enabled(grad):
        got = ours(x, state)
    with quiet_nn_lstm(), torch.set_grad_enabled(grad):
        want = peer(x, state)
    assert isinstance(got, tuple)
    assert isinstance(got[1], tuple)
    for a, b in zip((got[0], *got[1]), (want[0], *want[1]), strict=True):
        assert a.shape == b.shape
        assert a.stride() == b.stride()
        assert a.is_contiguous() == b.is_contiguous()
        assert a.requires_grad is b.requires_grad


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_unbatched_equals_a_batch_of_one(flags: tuple, backend: str, device: str):
    case, ours, peer = pair(flags, device)
    x, h0, c0 = (t.to(device) for t in case.numbers())
    x = (x[0] if case.batch_first else x[:, 0]).clone().requires_grad_()
    for state in (None, (h0[:, 0], c0[:, 0])):
        with only(backend):
            got = ours(x, state)
        with quiet_nn_lstm():
            want = peer(x, state)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got[0].square().sum(), x), torch.autograd.grad(want[0].square().sum(), x)
        )


def views(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return tensors equal to x that lie in memory in other ways."""
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    wide[..., ::2] = x
    shifted = torch.zeros(x.numel() + 1, dtype=x.dtype)
    shifted[1:] = x.flatten()
    return {
        "every other feature": wide[..., ::2],
        "transposed": x.transpose(0, 1).contiguous().transpose(0, 1),
        "features first": x.movedim(-1, 0).contiguous().movedim(0, -1),
        "flipped and back": x.flip(0).contiguous().flip(0),
        "odd address": shifted[1:].view(x.shape),
        "a slice of more": torch.cat([x, x])[: x.shape[0]],
        "lazily negated": torch.complex(torch.zeros_like(x), -x).conj().imag,
        "a narrow slice": torch.cat([x, x], dim=-1)[..., : x.shape[-1]],
    }


@pytest.mark.parametrize("view", views(torch.zeros(1, 1, 1)))
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_input_and_state_of_any_strides(view: str, grad: bool, backend: str):
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True)
    x, h0, c0 = torch.randn(5, 3, 4), torch.randn(4, 3, 6), torch.randn(4, 3, 6)
    with only(backend), torch.set_grad_enabled(grad):
        want = lstm(x, (h0, c0))
        got = lstm(views(x)[view], (views(h0)[view], views(c0)[view]))
    torch.testing.assert_close(got, want)


def test_expanded_input_and_state(backend: str):
    """One initial state for every sequence, one input for all of them: memory of stride 0, gradients summed."""
    lstm = cellgate.LSTM(4, 6)
    x, h0 = torch.randn(5, 1, 4, requires_grad=True), torch.randn(1, 1, 6, requires_grad=True)
    with only(backend):
        got, _ = lstm(x.expand(5, 3, 4), (h0.expand(1, 3, 6), h0.expand(1, 3, 6)))
        want, _ = lstm(x.repeat(1, 3, 1), (h0.repeat(1, 3, 1), h0.repeat(1, 3, 1)))
    torch.testing.assert_close(got, want)
    for a, b in zip(*(torch.autograd.grad(o.square().sum(), (x, h0)) for o in (got, want)), strict=True):
        torch.testing.assert_close(a, b)


def test_weights_of_any_strides(backend: str):
    """A weight may be a view, as of one flat buffer, or transposed, as loaded from elsewhere."""
    lstm = cellgate.LSTM(4, 6, proj_size=3)
    x = torch.randn(5, 3, 4)
    with only(backend), torch.no_grad():
        want, _ = lstm(x)
    for name, weight in list(lstm.named_parameters()):
        if weight.dim() == 2:
            setattr(lstm, name, nn.Parameter(weight.detach().T.contiguous().T))
            assert not lstm.get_parameter(name).is_contiguous()
        else:
            buffer = torch.zeros(2 * len(weight))
            buffer[::2] = weight.detach()
            setattr(lstm, name, nn.Parameter(buffer[::2]))
    with only(backend):
        torch.testing.assert_close(lstm(x)[0], want)
        lstm(x)[0].sum().backward()


def test_a_sequence_as_hx_and_the_last_state_handed_on(backend: str):
    """Truncated backpropagation through time: chunk by chunk equals the whole, hx as a list or a tuple."""
    lstm = cellgate.LSTM(4, 6, 2)
    x = torch.randn(9, 3, 4)
    with only(backend):
        whole, (h_n, c_n) = lstm(x)
        state, parts = None, []
        for chunk in x.split(4):
            out, state = lstm(chunk, None if state is None else [s.detach() for s in state])
            parts.append(out)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, (h_n, c_n))
    parts[-1].sum().backward()
    assert all(p.grad is not None for p in lstm.parameters())


@pytest.mark.parametrize("which", ["x", "h0", "c0", "weight_hh_l0", "bias_ih_l0", "weight_hr_l0"])
def test_gradients_of_one_tensor_alone(which: str, backend: str):
    """Everything else frozen, as when only an embedding, a learned h0 or one matrix is trained."""
    case = Case(5, 3, 4, 6, 2, proj=2)
    lstm, peer = case.ours(), case.peer()
    gradients = []
    for module in (lstm, peer):
        module.requires_grad_(False)
        tensors = dict(zip(("x", "h0", "c0"), case.numbers(), strict=True))
        wanted = tensors[which] if which in tensors else module.get_parameter(which)
        wanted.requires_grad_()
        with quiet_nn_lstm():
            if module is lstm:
                with only(backend):
                    output, (h_n, c_n) = module(tensors["x"], (tensors["h0"], tensors["c0"]))
            else:
                output, (h_n, c_n) = module(tensors["x"], (tensors["h0"], tensors["c0"]))
        gradients.append(torch.autograd.grad(output.square().sum() + h_n.sum() + c_n.sum(), wanted)[0])
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["output", "h_n", "c_n"])
def test_a_loss_on_one_output_alone(part: str, backend: str):
    case = Case(5, 3, 4, 6, 2, bidirectional=True)
    found = []
    for module in (case.ours(), case.peer()):
        x, h0, c0 = case.numbers()
        if isinstance(module, cellgate.LSTM):
            with only(backend):
                output, (h_n, c_n) = module(x, (h0, c0))
        else:
            output, (h_n, c_n) = module(x, (h0, c0))
        {"output": output, "h_n": h_n, "c_n": c_n}[part].square().sum().backward()
        found.append({k: p.grad for k, p in module.named_parameters()})
    for name, grad in found[1].items():
        torch.testing.assert_close(found[0][name], grad, rtol=1e-4, atol=1e-5)


def test_backward_twice_through_a_kept_graph(backend: str):
    lstm = cellgate.LSTM(4, 6, 2)
    with only(backend):
        loss = lstm(torch.randn(5, 3, 4))[0].sum()
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in lstm.parameters()]
    loss.backward()
    for first, p in zip(once, lstm.parameters(), strict=True):
        torch.testing.assert_close(p.grad, 2 * first)


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_without_gradients(mode: str, backend: str):
    lstm = cellgate.LSTM(4, 6, 2)
    x = torch.randn(5, 3, 4)
    with only(backend):
        want, _ = lstm(x)
        with getattr(torch, mode)():
            got, (h_n, c_n) = lstm(x)
            again, _ = lstm(x, (h_n, c_n), lengths=[2, 5, 0])
    torch.testing.assert_close(got, want.detach())
    assert not got.requires_grad
    assert not again.requires_grad


def test_the_input_is_left_alone(backend: str):
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True, batch_first=True)
    x, state, lengths = torch.randn(3, 5, 4), (torch.randn(4, 3, 6), torch.randn(4, 3, 6)), torch.tensor([2, 5, 0])
    reset = torch.rand(3, 5) < 0.3
    given = (x, *state, lengths, reset, *lstm.parameters())
    before = [t.detach().clone() for t in given]
    with only(backend):
        lstm(x, state, lengths=lengths, reset=reset)[0].sum().backward()
    for a, b in zip(given, before, strict=True):
        assert torch.equal(a, b)


def test_results_are_the_callers_own(backend: str):
    """Writing into what one call returned must not change the weights, the input or the next call."""
    lstm = cellgate.LSTM(4, 6, bidirectional=True)
    x, state = torch.randn(5, 3, 4), (torch.randn(2, 3, 6), torch.randn(2, 3, 6))
    with only(backend), torch.no_grad():
        output, (h_n, c_n) = lstm(x, state)
        want = output.clone(), h_n.clone(), c_n.clone()
        for t in (output, h_n, c_n):
            t.fill_(float("nan"))
        again, (h_again, c_again) = lstm(x, state)
    torch.testing.assert_close((again, h_again, c_again), want)
