"""Every way of calling an LSTM is heard, and what the tape holds is the tape's own."""

import pytest
import torch
from torch import nn

import cellgate

KINDS = {
    "native": lambda **options: cellgate.LSTM(3, 4, 2, **options),
    "variant": lambda **options: cellgate.LSTM(3, 4, 2, norm="layer", zoneout=0.3, **options),
    "converted": lambda **options: cellgate.convert(nn.LSTM(3, 4, 2, **options)),
}


def equal(a, b):
    return torch.equal(a[0], b[0]) and all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_calls(kind, batch_first, grad):
    lstm = KINDS[kind](batch_first=batch_first)
    x = torch.randn(5, 2, 3)

    def decode():
        torch.manual_seed(1)
        found, state = [], None
        for x_t in x:
            h, state = lstm.step(x_t, state)
            found.append(h)
        return torch.stack(found), state

    with torch.set_grad_enabled(grad):
        untraced = decode()
        with cellgate.trace(lstm) as tape:
            traced = decode()
    assert equal(traced, untraced)
    joined = tape["lstm"].joined().layer(1)
    assert joined.steps == 5
    torch.testing.assert_close(joined.time_major("h"), untraced[0].detach())
    with cellgate.trace(lstm) as tape:
        lstm.step(x[0, 0])
    assert tape["lstm"].layer(0).f.shape == (1, 4)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("given", [{}, {"lengths": [5, 2]}])
@pytest.mark.parametrize("kind", KINDS)
def test_gates_that_a_model_asks_for_are_recorded_too(kind, given, grad):
    lstm, x = KINDS[kind](), torch.randn(5, 2, 3)
    with torch.set_grad_enabled(grad):
        torch.manual_seed(1)
        output, state, gates = lstm.gates(x, **given)
        then = torch.rand(3)
        torch.manual_seed(1)
        with cellgate.trace(lstm) as tape:
            traced = lstm.gates(x, **given)
        assert torch.equal(torch.rand(3), then)
    assert equal(traced, (output, state))
    for k, (mine, theirs) in enumerate(zip(traced[2], gates, strict=True)):
        for name in "ifgoch":
            recorded = getattr(tape["lstm"].layer(k), name)
            assert not recorded.requires_grad
            assert torch.equal(recorded, getattr(theirs, name))
            assert torch.equal(getattr(mine, name), recorded)
    assert tape["lstm"].only().distance == 0
    for layer in traced[2]:
        layer.f.detach().zero_()
    assert all(torch.equal(tape["lstm"].layer(k).f, layer.f) for k, layer in enumerate(gates))


def test_a_step_of_a_net_that_reads_backwards_is_refused_as_ever():
    lstm = cellgate.LSTM(3, 4, bidirectional=True)
    with cellgate.trace(lstm) as tape, pytest.raises(cellgate.InputError, match="step: expected an LSTM of one"):
        lstm.step(torch.randn(2, 3))
    assert len(tape["lstm"]) == 0


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"proj_size": 2}, {"batch_first": True}])
@pytest.mark.parametrize("kind", ["native", "converted"])
def test_writes_to_what_the_model_got_do_not_reach_the_tape(kind, options, grad):
    lstm, x = KINDS[kind](**options), torch.randn(5, 2, 3)
    with torch.set_grad_enabled(grad):
        with cellgate.trace(lstm) as tape:
            output, state = lstm(x)
        written = [part.detach() for part in (output, *state)]
        kept = {(k, d, n): getattr(direction, n).clone() for k, d, n, direction in parts(tape)}
        for part in written:
            part.fill_(7)
        assert all(torch.equal(getattr(direction, n), kept[k, d, n]) for k, d, n, direction in parts(tape))


def parts(tape):
    for layer in tape["lstm"].layers:
        for d, direction in enumerate(layer.directions):
            for name in direction.kept:
                yield layer.index, d, name, direction


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("options", [{"gates": "f"}, {"gates": "ch", "layers": [1]}, {"layers": [0]}])
def test_the_native_engine_keeps_no_more_than_was_asked_for(options, grad):
    lstm = cellgate.LSTM(3, 4, 2, bidirectional=True)
    with torch.set_grad_enabled(grad), cellgate.trace(lstm, **options) as tape:
        lstm(torch.randn(100, 2, 3))
    found = [getattr(direction, name) for _, _, name, direction in parts(tape)]
    held = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in found}
    assert sum(held.values()) == sum(part.nbytes for part in found)


@pytest.mark.parametrize("batch_first", [False, True])
def test_joined_calls_keep_the_resets_of_those_that_had_some(batch_first):
    lstm, x = cellgate.LSTM(3, 4, batch_first=batch_first), torch.randn(2, 6, 3)
    x = x if batch_first else x.transpose(0, 1)
    reset = torch.zeros(x.shape[:2], dtype=torch.bool)
    reset[(1, 4) if batch_first else (4, 1)] = True
    first, second, third = (lambda of, dim=int(batch_first): of.split(2, dim))(x)
    resets = reset.split(2, int(batch_first))
    with cellgate.trace(lstm) as tape:
        _, state = lstm(first)
        _, state = lstm(second, state)
        lstm(third, state, reset=resets[2])
    joined = tape["lstm"].joined().layer(0)
    assert torch.equal(joined.reset, reset)
    assert joined.heat_maps(1).resets == (4,)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # people still call it
def test_graphs_in_the_making_are_refused():
    lstm, x = cellgate.LSTM(3, 4), torch.randn(2, 2, 3)
    for make, what in (
        (lambda: torch.jit.trace(lstm, (x,)), "one of torch.jit.trace"),
        (lambda: torch.export.export(lstm, (x,)), "one of torch.export"),
    ):
        with cellgate.trace(lstm) as tape, pytest.raises(cellgate.InputError, match=f"got {what}.*outside the block"):
            make()
        assert len(tape["lstm"]) == 0


def test_what_has_no_lstm_says_why():
    with pytest.raises(cellgate.InputError, match=r"an LSTMCell is not recorded, use cellgate\.LSTM and its step"):
        cellgate.trace(nn.ModuleDict({"cell": nn.LSTMCell(3, 4)}))
    with pytest.raises(
        cellgate.InputError, match=r"layers: expected several numbers or None, got 0: write layers=\[0\]"
    ):
        cellgate.trace(nn.LSTM(3, 4), layers=0)
    with pytest.raises(cellgate.InputError, match="gates: expected some of i, f, g, o, c, h, got None"):
        cellgate.trace(nn.LSTM(3, 4), gates=None)
