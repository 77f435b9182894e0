"""Every gate of every layer, direction and step, against an oracle that shares no code with the package."""

import pytest
import torch
from tests.trace.oracle import NAMES, run
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import cellgate

T, B, I = 6, 4, 3  # noqa: E741
F64 = {"dtype": torch.float64}

SHAPES = [
    {"hidden_size": 5},
    {"hidden_size": 5, "num_layers": 3, "bias": False},
    {"hidden_size": 4, "num_layers": 2, "bidirectional": True},
    {"hidden_size": 5, "proj_size": 2, "num_layers": 2, "bidirectional": True},
    {"hidden_size": 1},
]
OWN_SHAPES = [
    *SHAPES,
    {"hidden_size": [6, 3]},
    {"hidden_size": [4, 6, 3], "proj_size": [2, 0, 2], "bidirectional": True},
]
BOTH = [(nn.LSTM, shape) for shape in SHAPES] + [(cellgate.LSTM, shape) for shape in OWN_SHAPES]


def check(tape, lstm, sequences, h0=None, c0=None, resets=None, name="lstm"):
    """Compare all gates, brought to (T, B, size), with those of the sequences, each run alone; zero past its end."""
    call = tape[name].only()
    assert [layer.index for layer in call.layers] == list(range(lstm.num_layers))
    for b, x in enumerate(sequences):
        state = [None if s is None else [[s_d[b] for s_d in s_l] for s_l in s] for s in (h0, c0)]
        expected = run(lstm, x, *state, None if resets is None else resets[b])
        for layer in call.layers:
            assert len(layer.directions) == (2 if lstm.bidirectional else 1)
            for d, direction in enumerate(layer.directions):
                for gate in NAMES:
                    got = direction.time_major(gate)[:, b]
                    if len(x):
                        torch.testing.assert_close(got[: len(x)], expected[layer.index][d][gate], rtol=0, atol=1e-12)
                    assert not got[len(x) :].any()


@pytest.mark.parametrize("backend", ["aten", "reference"])
@pytest.mark.parametrize(("kind", "shape"), BOTH)
def test_every_gate_of_a_batch(kind, shape, backend):
    lstm = kind(I, **shape, **F64)
    x = torch.randn(T, B, I, **F64)
    with cellgate.use_backend(backend), cellgate.trace(lstm) as tape:
        lstm(x)
    check(tape, lstm, x.unbind(1))
    layer = tape["lstm"].layer(0)
    size = lstm.hidden_size if isinstance(lstm.hidden_size, int) else lstm.hidden_size[0]
    assert layer.f.shape == (T, B, size)
    assert bool(layer.mask.all())
    assert layer.mask.shape == (T, B)


@pytest.mark.parametrize(("kind", "shape"), BOTH)
def test_batch_first(kind, shape):
    lstm = kind(I, **shape, batch_first=True, **F64)
    x = torch.randn(B, T, I, **F64)
    with cellgate.trace(lstm) as tape:
        output, _ = lstm(x)
    check(tape, lstm, x.unbind(0))
    last = tape["lstm"].layer(lstm.num_layers - 1)
    assert last.f.shape[:2] == (B, T)
    torch.testing.assert_close(torch.cat([d.h for d in last.directions], -1), output)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "shape"), BOTH)
def test_unbatched(kind, shape, batch_first):
    lstm = kind(I, **shape, batch_first=batch_first, **F64)
    x = torch.randn(T, I, **F64)
    with cellgate.trace(lstm) as tape:
        lstm(x)
    check(tape, lstm, [x])
    assert tape["lstm"].layer(0).c.dim() == 2
    assert tape["lstm"].layer(0).mask.shape == (T,)


@pytest.mark.parametrize("kind", [nn.LSTM, cellgate.LSTM])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("sort", [True, False])
def test_packed_sequences_come_back_in_the_callers_order(kind, batch_first, sort):
    lstm = kind(I, 4, 2, bidirectional=True, batch_first=batch_first, **F64)
    lengths = [6, 5, 5, 1] if sort else [2, 6, 1, 4]
    sequences = [torch.randn(n, I, **F64) for n in lengths]
    with cellgate.trace(lstm) as tape:
        lstm(pack_sequence(sequences, enforce_sorted=sort))
    check(tape, lstm, sequences)
    assert tape["lstm"].lengths.tolist() == lengths
    assert tape["lstm"].layer(1).backward.f.shape == ((4, 6, 4) if batch_first else (6, 4, 4))
    mask = tape["lstm"].layer(0).mask
    assert (mask.T if not batch_first else mask).sum(1).tolist() == lengths


@pytest.mark.parametrize("kind", [nn.LSTM, cellgate.LSTM])
def test_hx_of_packed_sequences(kind):
    lstm = kind(I, 4, 2, bidirectional=True, **F64)
    x = torch.randn(T, B, I, **F64)
    lengths = [3, 6, 2, 5]
    h0, c0 = torch.randn(4, B, 4, **F64), torch.randn(4, B, 4, **F64)
    with cellgate.trace(lstm) as tape:
        lstm(pack_padded_sequence(x, lengths, enforce_sorted=False), (h0, c0))
    sequences = [x[:n, b] for b, n in enumerate(lengths)]
    check(tape, lstm, sequences, h0.unflatten(0, (2, 2)), c0.unflatten(0, (2, 2)))


@pytest.mark.parametrize("backend", ["aten", "reference"])
@pytest.mark.parametrize("lengths", [[3, 6, 0, 5], [6, 6, 6, 6], [1, 0, 0, 2], torch.tensor([6, 1, 2, 3])])
def test_lengths(lengths, backend):
    lstm = cellgate.LSTM(I, 4, 2, bidirectional=True, batch_first=True, **F64)
    x = torch.randn(B, T, I, **F64)
    with cellgate.use_backend(backend), cellgate.trace(lstm) as tape:
        lstm(x, lengths=lengths)
    check(tape, lstm, [x[b, :n] for b, n in enumerate(torch.as_tensor(lengths).tolist())])


@pytest.mark.parametrize("batch_first", [False, True])
def test_resets_and_lengths_together(batch_first):
    lstm = cellgate.LSTM(I, 4, 2, bidirectional=True, batch_first=batch_first, **F64)
    x = torch.randn(T, B, I, **F64)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[0, 1] = reset[3, 1] = reset[5, 3] = True
    lengths = [6, 5, 3, 6]
    with cellgate.trace(lstm) as tape:
        if batch_first:
            lstm(x.transpose(0, 1), lengths=lengths, reset=reset.T)
        else:
            lstm(x, lengths=lengths, reset=reset)
    sequences = [x[:n, b] for b, n in enumerate(lengths)]
    check(tape, lstm, sequences, resets=[reset[:n, b] for b, n in enumerate(lengths)])
    assert torch.equal(tape["lstm"].layer(0).reset, reset.T if batch_first else reset)


def test_reset_of_an_unbatched_sequence():
    lstm = cellgate.LSTM(I, 4, **F64)
    x, reset = torch.randn(T, I, **F64), torch.tensor([False, False, True, False, False, True])
    with cellgate.trace(lstm) as tape:
        lstm(x, reset=reset)
    check(tape, lstm, [x], resets=[reset])
    assert torch.equal(tape["lstm"].layer(0).reset, reset)


@pytest.mark.parametrize("steps", [0, 1])
def test_no_steps_or_one(steps):
    lstm = cellgate.LSTM(I, 4, 2, **F64)
    x = torch.randn(steps, B, I, **F64)
    with cellgate.trace(lstm) as tape:
        lstm(x)
    check(tape, lstm, x.unbind(1))
    assert str(tape)


@pytest.mark.parametrize(("kind", "shape"), BOTH)
def test_the_gates_method_gives_the_same_tensors(kind, shape):
    if kind is nn.LSTM:
        lstm = cellgate.convert(kind(I, **shape, batch_first=True, **F64))
    else:
        lstm = kind(I, **shape, batch_first=True, **F64)
    x = torch.randn(B, T, I, **F64)
    with cellgate.trace(lstm) as tape:
        expected, (h_n, c_n) = lstm(x)
    output, state, gates = lstm.gates(x)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(state, (h_n, c_n))
    assert len(gates) == lstm.num_layers
    for got, layer in zip(gates, tape["lstm"].layers, strict=True):
        for name in NAMES:
            torch.testing.assert_close(getattr(got, name), getattr(layer, name), check_stride=False)
            assert getattr(got, name).requires_grad
        assert (got.backward is None) == (layer.backward is None)
        if got.backward is not None:
            torch.testing.assert_close(got.backward.c, layer.backward.c)
