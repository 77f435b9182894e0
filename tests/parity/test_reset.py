"""``reset=``: every episode as if it were run by itself, in values and gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.parity.compare import Case, assert_within, budget, dense_call, dense_inputs, measure, only, quiet_nn_lstm
from torch import Tensor, nn

import cellgate

RESETS = {
    "none": [[0] * 6] * 3,
    "one": [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]],
    "many": [[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]],
    "first": [[1, 0, 0, 0, 0, 0], [0] * 6, [1, 0, 0, 0, 0, 1]],
}
FLAGS = list(itertools.product((1, 2), (False, True), (False, True), (False, True), (False, True)))


def episodes_call(module: nn.LSTM, case: Case, reset: Tensor, lengths: list[int]):
    """Run nn.LSTM once for every episode, with the state that reaches it, and put the results together."""

    def call(x: Tensor, h0: Tensor | None = None, c0: Tensor | None = None):
        x = x.transpose(0, 1) if case.batch_first else x
        rows = case.layers * case.directions
        h0 = x.new_zeros(rows, case.B, case.P) if h0 is None else h0
        c0 = x.new_zeros(rows, case.B, case.H) if c0 is None else c0
        backward = (torch.arange(rows, device=x.device) % case.directions == 1).unsqueeze(1)
        outputs, h_n, c_n = [], [], []
        for b, length in enumerate(lengths):
            begins = sorted({0, *(t for t in range(length) if reset[t, b])})
            parts, finals = [], []
            for start, end in zip(begins, [*begins[1:], length], strict=True):
                # Forwards the initial state enters at the first step, unless that is a reset; backwards at the last.
                enters = torch.where(backward, end == length, start == 0 and not bool(reset[0, b]))
                state = tuple((s[:, b] * enters).contiguous() for s in (h0, c0))
                episode = x[start:end, b]
                part, final = module(
                    episode.unsqueeze(0 if case.batch_first else 1), tuple(s.unsqueeze(1) for s in state)
                )
                parts.append(part.squeeze(0 if case.batch_first else 1))
                finals.append(tuple(s.squeeze(1) for s in final))
            outputs.append(torch.cat([*parts, x.new_zeros(case.T - length, parts[0].shape[-1])]))
            h_n.append(torch.where(backward, finals[0][0], finals[-1][0]))
            c_n.append(torch.where(backward, finals[0][1], finals[-1][1]))
        output = torch.stack(outputs, 0 if case.batch_first else 1)
        return {"output": output, "h_n": torch.stack(h_n, 1), "c_n": torch.stack(c_n, 1)}

    return call


@pytest.mark.parametrize("lengths", [None, [4, 6, 1]], ids=["full", "ragged"])
@pytest.mark.parametrize("reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("flags", FLAGS[::3], ids=str)
def test_episodes_by_themselves(flags: tuple, reset: list, lengths: list[int] | None, backend: str, device: str):
    layers, batch_first, bidirectional, projected, hx = flags
    case = Case(6, 3, 4, 17, layers, True, batch_first, bidirectional, 5 if projected else 0, hx)
    mask = torch.tensor(reset, dtype=torch.bool, device=device).T
    numbers = []
    with quiet_nn_lstm():
        for dtype in (torch.float64, torch.float32):
            peer = case.peer(device, dtype)
            call = episodes_call(peer, case, mask, lengths or [case.T] * case.B)
            numbers.append(measure(peer, call, dense_inputs(case, device, dtype, case.I)))
    want = budget(*numbers, case.T * case.B)

    for dtype in (torch.float32, torch.float64):
        ours = case.ours(device, torch.float32).to(dtype)
        call = dense_call(ours, reset=mask.T if batch_first else mask, lengths=lengths)
        with only(backend):
            got = measure(ours, call, dense_inputs(case, device, dtype, case.I))
        assert_within(got, want, dtype)


def test_unbatched(backend: str):
    lstm = cellgate.LSTM(3, 5)
    x, state = torch.randn(6, 3), (torch.randn(1, 5), torch.randn(1, 5))
    reset = torch.tensor([False, False, True, False, False, False])
    with only(backend):
        output, (h_n, c_n) = lstm(x, state, reset=reset)
        first, _ = lstm(x[:2], state)
        second, (h_want, c_want) = lstm(x[2:])
    torch.testing.assert_close(output, torch.cat([first, second]))
    torch.testing.assert_close((h_n, c_n), (h_want, c_want))


def test_lists_and_other_strides(backend: str):
    lstm = cellgate.LSTM(3, 5)
    x = torch.randn(6, 3, 3)
    mask = torch.tensor(RESETS["many"], dtype=torch.bool).T
    with only(backend):
        want = lstm(x, reset=mask.contiguous())
        torch.testing.assert_close(lstm(x, reset=mask), want)
        torch.testing.assert_close(lstm(x, reset=mask.tolist()), want)
        expanded = mask[:, :1].expand(6, 3)
        torch.testing.assert_close(lstm(x, reset=expanded), lstm(x, reset=expanded.contiguous()))


def test_no_gradient_crosses_a_reset(backend: str):
    lstm = cellgate.LSTM(3, 5, 2)
    x = torch.randn(6, 2, 3, requires_grad=True)
    h0 = torch.randn(2, 2, 5, requires_grad=True)
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[4, 0] = True
    with only(backend):
        output, _ = lstm(x, (h0, torch.zeros_like(h0)), reset=reset)
    output[4:, 0].sum().backward()
    assert torch.count_nonzero(x.grad[:4]) == 0
    assert torch.count_nonzero(x.grad[4:, 0]) == 6
    assert torch.count_nonzero(h0.grad) == 0


def test_resets_past_the_end_mean_nothing(backend: str):
    lstm = cellgate.LSTM(3, 5, bidirectional=True)
    x, hx = torch.randn(6, 2, 3), (torch.randn(2, 2, 5), torch.randn(2, 2, 5))
    late = torch.zeros(6, 2, dtype=torch.bool)
    late[4, 0] = late[0, 1] = True
    with only(backend):
        got = lstm(x, hx, lengths=[4, 0], reset=late)
        want = lstm(x, hx, lengths=[4, 0], reset=torch.zeros_like(late))
    torch.testing.assert_close(got, want, rtol=0, atol=0)
