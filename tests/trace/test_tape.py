"""What a tape keeps, what it says about it, and how it refuses."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import cellgate
from cellgate.trace.layer import Layer


def layer_of(parts, lengths=None, batch_first=False, batched=True):
    """Return a layer that holds the given (T, B, H) tensors."""
    if batch_first:
        parts = {n: p.transpose(0, 1) for n, p in parts.items()}
    lengths = None if lengths is None else torch.tensor(lengths)
    return Layer(0, None, parts, title="t", lengths=lengths, reset=None, batch_first=batch_first, batched=batched)


@pytest.mark.parametrize("batch_first", [False, True])
def test_saturation_counts_within_the_lengths(batch_first):
    f = torch.tensor([[0.05, 0.95], [0.5, 0.99], [0.05, 0.0]])[:, :, None].repeat(1, 1, 2)
    f[0, 0, 1] = 0.5
    layer = layer_of({"f": f}, [3, 2], batch_first)
    below, above = layer.saturation("f")
    # Unit 0: .05 .5 .05 | .95 .99; unit 1: .5 .5 .05 | .95 .99. The 0.0 past the end is no value.
    assert below == pytest.approx((2 / 5 + 1 / 5) / 2)
    assert above == pytest.approx(2 / 5)
    torch.testing.assert_close(layer.saturation("f", per_unit=True).below, torch.tensor([0.4, 0.2]))
    assert layer.saturation("f", below=0.6, above=0.98) == pytest.approx((3 / 5, 1 / 5))


def test_memory_time_is_that_of_a_cell_which_only_forgets():
    f = torch.tensor([0.9, 0.5, 1.0]).expand(4, 2, 3).clone()
    f[3, 1] = 0  # past the end
    times = layer_of({"f": f}, [4, 3]).memory_time()
    torch.testing.assert_close(times, torch.tensor([-1 / math.log(0.9), -1 / math.log(0.5), math.inf]))
    # After that many steps a cell is down to 1/e.
    assert 0.9 ** float(times[0]) == pytest.approx(1 / math.e, rel=1e-5)


def test_cell_norm_averages_the_sequences_that_are_there():
    c = torch.zeros(3, 2, 2)
    c[0, 0] = torch.tensor([3.0, 4.0])
    c[0, 1] = torch.tensor([0.0, 1.0])
    c[1, 0] = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(layer_of({"c": c}, [2, 1]).cell_norm(), torch.tensor([3.0, 2.0, 0.0]))


def test_statistics_of_a_padded_batch_are_those_of_its_sequences():
    lstm = nn.LSTM(3, 5, bidirectional=True)
    x, lengths = torch.randn(8, 3, 3), [8, 3, 5]
    with cellgate.trace(lstm) as tape:
        lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))
        for b, n in enumerate(lengths):
            lstm(x[:n, b])
    whole, *alone = list(tape["lstm"])
    f = torch.cat([call.layer(0).backward.f for call in alone])
    ours = whole.layer(0).backward
    torch.testing.assert_close(ours.mean("f"), f.mean(0))
    assert ours.saturation("f", 0.45, 0.55) == pytest.approx(
        (float((f < 0.45).float().mean()), float((f > 0.55).float().mean()))
    )
    torch.testing.assert_close(ours.memory_time(), -1 / f.mean(0).log())


def test_keep_some_gates_some_layers_some_modules():
    model = nn.ModuleDict({"a": nn.LSTM(3, 4, 3), "b": cellgate.LSTM(3, 4)})
    x = torch.randn(5, 2, 3)
    with cellgate.trace(model, gates="cf", layers=[2], modules=["a"]) as tape:
        model["a"](x)
        model["b"](x)
    assert list(tape) == ["a"]
    assert [layer.index for layer in tape["a"].layers] == [2]
    layer = tape["a"].layer(2)
    assert layer.kept == ("f", "c")
    assert layer.units == 4
    with pytest.raises(AttributeError, match=r"o: not recorded, because the trace was opened with gates=\('f', 'c'\)"):
        _ = layer.o
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        _ = layer.x
    with pytest.raises(IndexError, match=r"expected one of \[2\], got 0"):
        tape["a"].layer(0)
    assert "f" in dir(layer)
    assert "o" not in dir(layer)
    assert "a layer 2" in str(tape)


def test_unused_memory_is_not_kept():
    lstm = nn.LSTM(3, 4)
    with cellgate.trace(lstm, gates="f") as tape:
        lstm(torch.randn(100, 2, 3))
    layer = tape["lstm"].layer(0)
    assert layer.f.untyped_storage().nbytes() == 100 * 2 * 4 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gates": "fx"}, "gates: expected some of i, f, g, o, c, h, got 'x'"),
        ({"gates": ()}, "gates: expected some of i, f, g, o, c, h, got none"),
        ({"layers": [2]}, r"layers: expected numbers from 0 to 1, got \[2\]"),
        ({"layers": []}, r"layers: expected numbers from 0 to 1, got \[\]"),
        ({"modules": ["rnn"]}, "modules: expected some of 'lstm', got 'rnn'"),
        ({"modules": []}, "modules: expected some of 'lstm', got none"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(cellgate.InputError, match=message):
        cellgate.trace(nn.LSTM(3, 4, 2), **options)


def test_models_without_an_lstm():
    with pytest.raises(cellgate.InputError, match="got a Sequential without: scripted, quantized"):
        cellgate.trace(nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 3)))
    with pytest.raises(TypeError, match=r"expected an nn\.Module, got str"):
        cellgate.trace("model")


def test_joined_calls_of_a_decoder_are_one_run():
    lstm = cellgate.LSTM(3, 4, 2, batch_first=True)
    x = torch.randn(2, 6, 3)
    with cellgate.trace(lstm) as tape:
        state = None
        for t in range(6):
            _, state = lstm(x[:, t : t + 1], state)
    joined = tape["lstm"].joined()
    with cellgate.trace(lstm) as whole:
        lstm(x)
    for name in "ifgoch":
        torch.testing.assert_close(getattr(joined.layer(1), name), getattr(whole["lstm"].layer(1), name))
    assert joined.layer(0).steps == 6
    assert "[call 5]" in str(tape)


def test_what_cannot_be_joined():
    lstm = cellgate.LSTM(3, 4)
    tape = cellgate.trace(lstm)
    with pytest.raises(cellgate.InputError, match="got 0: run the model"):
        tape["lstm"].joined()
    with tape:
        lstm(torch.randn(2, 2, 3))
        lstm(torch.randn(2, 1, 3))
    with pytest.raises(cellgate.InputError, match="calls of 2 sequences, got one of 1"):
        tape["lstm"].joined()
    tape.clear()
    with tape:
        lstm(torch.randn(2, 2, 3), lengths=[1, 2])
    with pytest.raises(cellgate.InputError, match="ragged sequences"):
        tape["lstm"].joined()
    with cellgate.trace(nn.LSTM(3, 4, bidirectional=True)) as tape:
        pass
    assert str(tape) == "a tape without calls (listens to: lstm)"


def test_summary_holds_the_statistics():
    lstm = nn.LSTM(3, 4, bidirectional=True)
    with torch.no_grad():
        for p in lstm.parameters():
            p.zero_()
        lstm.bias_ih_l0[4:8] = 5  # the forget gate of the forward direction
        lstm.bias_ih_l0[8:12] = 1  # its candidate
    with cellgate.trace(lstm) as tape:
        lstm(torch.zeros(7, 2, 3))
    header, _, forward, backward = str(tape).splitlines()
    assert header.split()[:4] == ["layer", "T", "B", "H"]
    layer = tape["lstm"].layer(0)
    assert forward.split() == [
        *"lstm layer 0 forward 7 2 4 0% 0% 0% 100% 0% 0%".split(),
        f"{float(layer.memory_time()[0]):.1f}",
        f"{float(layer.cell_norm()[0]):.2f}",
        f"{float(layer.cell_norm()[-1]):.2f}",
    ]
    assert backward.split()[-3:] == ["1.4", "0.00", "0.00"]


def test_a_long_summary_is_cut():
    lstm = nn.LSTM(3, 4)
    with cellgate.trace(lstm) as tape:
        for _ in range(50):
            lstm(torch.zeros(1, 1, 3))
    lines = str(tape).splitlines()
    assert len(lines) == 2 + 40 + 1
    assert lines[-1] == "... and 10 more rows, of 50 calls in all"


def test_a_tape_can_be_pickled_and_copied() -> None:
    lstm, x = cellgate.LSTM(3, 4, bidirectional=True), torch.randn(5, 2, 3)
    with cellgate.trace(lstm) as tape:
        lstm(x, lengths=[5, 2])
        inside = pickle.loads(pickle.dumps(tape))
    for other in (inside, pickle.loads(pickle.dumps(tape)), copy.deepcopy(tape)):
        assert str(other) == str(tape)
        torch.testing.assert_close(other["lstm"].layer(0).backward.f, tape["lstm"].layer(0).backward.f)
    with pytest.raises(cellgate.InputError, match="got one that was pickled"):
        inside.__enter__()
    with copy.deepcopy(tape) as other:
        lstm(x)
    assert (len(other["lstm"]), len(tape["lstm"])) == (2, 1)
