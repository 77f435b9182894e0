"""The layer with a variant: construction, parameters, copies, noise, initial values, traces, streams, tbptt."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from tests.variants.cases import SHAPES, VARIANTS, make
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import cellgate
from cellgate.backends import cpu
from cellgate.nn.stream import Stream

REFUSED = [
    ({"cell": "gru"}, "cell: expected one of 'lstm', 'cifg'"),
    ({"norm": "batch"}, "norm: expected one of None, 'layer', 'rms'"),
    ({"zoneout": 1.0}, "zoneout: expected probabilities from 0 to below 1, got 1.0"),
    ({"zoneout": (0.1, 0.1, 0.1)}, r"zoneout: expected a number or 2 of them \(c, h\)"),
    ({"locked_dropout": "much"}, "locked_dropout: expected a number or 3 of them"),
    ({"cell_clip": 0}, "cell_clip: expected a number above 0"),
    ({"chrono": 2}, "chrono: expected more than 2"),
    ({"chrono": float("inf")}, "chrono: expected more than 2"),
    ({"forget_bias": float("nan")}, "forget_bias: expected a finite number"),
    ({"cell": "slstm", "peephole": True}, "peephole: expected none with cell='slstm'"),
    ({"cell": "slstm", "zoneout": 0.1}, "zoneout of c: expected none with cell='slstm'"),
    ({"cell": "original", "forget_bias": 1.0}, "forget_bias: expected None with cell='original'"),
    ({"forget_bias": 1.0, "chrono": 100}, "chrono: expected None beside forget_bias"),
    ({"forget_bias": 1.0, "bias": False}, "forget_bias: expected bias=True"),
    ({"single_bias": True, "bias": False}, "single_bias: expected bias=True"),
    ({"locked_dropout": 0.1, "dropout": 0.1, "num_layers": 2}, "dropout: expected 0 beside locked_dropout"),
    ({"connection": "residual", "hidden_size": [4, 5]}, "layer 1 with 4 inputs and 5 outputs"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[m[:30] for _, m in REFUSED])
def test_refused_with_the_reason(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cellgate.LSTM(3, **({"hidden_size": 4} | options))


def test_flags_are_bools() -> None:
    with pytest.raises(TypeError, match="peephole: expected a bool, got str"):
        cellgate.LSTM(3, 4, peephole="yes")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("variant", VARIANTS)
def test_copies_and_state_dict(variant: str) -> None:
    case = make(VARIANTS[variant], SHAPES["two layers, two directions"])
    module = case.module.eval()
    output = module(case.x)[0]
    loaded = cellgate.LSTM(3, 5, 2, bidirectional=True, dtype=torch.float64, **VARIANTS[variant]).eval()
    loaded.load_state_dict(module.state_dict())
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert torch.equal(other(case.x)[0], output)
        assert repr(other) == repr(module)


def test_state_dict_is_that_of_nn_lstm_and_more() -> None:
    """The parameters of nn.LSTM keep names, shapes, order among themselves and, from one seed, values."""
    torch.manual_seed(0)
    peer = nn.LSTM(3, 4, 2, bidirectional=True)
    for options in ({"cell": "peephole"}, {"norm": "layer"}, {"cell": "full_gate_recurrence"}, {"learned_state": True}):
        torch.manual_seed(0)
        ours = cellgate.LSTM(3, 4, 2, bidirectional=True, **options).state_dict()
        common = [name for name in ours if name in peer.state_dict()]
        assert common == list(peer.state_dict())
        assert len(ours) > len(common)
        for name, value in peer.state_dict().items():
            assert torch.equal(ours[name], value)


def test_defaults_are_nn_lstm() -> None:
    assert cellgate.LSTM(3, 4).variant is None
    assert repr(cellgate.LSTM(3, 4)) == repr(nn.LSTM(3, 4))
    assert "cell='cifg', zoneout=(0.1, 0.0)" in repr(cellgate.LSTM(3, 4, cell="cifg", zoneout=(0.1, 0)))


def test_convert_leaves_variants_alone() -> None:
    model = nn.ModuleList([nn.LSTM(3, 4), cellgate.LSTM(3, 4, cell="cifg")])
    converted = cellgate.convert(model)
    assert type(converted[1]) is cellgate.LSTM
    assert converted[1].variant.cell == "cifg"
    assert cellgate.revert(converted)[1].variant.cell == "cifg"


def test_aten_says_why_not() -> None:
    x = torch.zeros(2, 1, 3)
    for options, reason in (
        ({"cell": "cifg"}, "plain cell only; this has cell 'cifg'"),
        ({"norm": "rms"}, "this has rms norm"),
        ({"zoneout": 0.1}, "no masks inside the recurrence"),
        ({"connection": "highway", "num_layers": 2}, "no highway connections"),
    ):
        with cellgate.use_backend("aten"), pytest.raises(cellgate.BackendError, match=reason):
            cellgate.LSTM(3, 4, **options)(x)


# ---- noise -----------------------------------------------------------------------------------------------------------


def test_locked_dropout_is_one_mask_for_all_steps() -> None:
    """With an identity in the place of the layers' own numbers the masks show themselves."""
    module = cellgate.LSTM(8, 8, 2, locked_dropout=(0.5, 0.5, 0.0))
    seen = []
    hook = cellgate.nn.call.add_noise

    def spy(*args):
        hook(*args)
        seen.append((args[3].x, args[3].dropout_masks[0]))

    cellgate.nn.call.add_noise = spy
    try:
        module(torch.ones(6, 4, 8), lengths=[6] * 4)  # with lengths no short way is taken
    finally:
        cellgate.nn.call.add_noise = hook
    for data in seen[0]:
        assert torch.equal(data, data[:1].expand_as(data))
        assert set(data.unique().tolist()) == {0.0, 2.0}
        assert not torch.equal(data[0, 0], data[0, 1])


def test_locked_masks_of_packed_data_are_those_of_padded_data() -> None:
    lengths = torch.tensor([6, 4, 4, 1])
    module = cellgate.LSTM(3, 5, 2, locked_dropout=0.4, zoneout=0.2, recurrent_dropout=0.2)
    x = torch.randn(6, 4, 3)
    torch.manual_seed(3)
    padded, state = module(x, lengths=lengths)
    torch.manual_seed(3)
    packed, packed_state = module(pack_padded_sequence(x, lengths))
    torch.testing.assert_close(pad_packed_sequence(packed)[0], padded)
    torch.testing.assert_close(packed_state, state)


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5, 0.9, 1e-7])
def test_masks_are_ones_as_often_as_asked(p: float) -> None:
    """And one place says nothing of its neighbours, though four of them share a random number."""
    (mask,) = cellgate.nn.noise.draw_masks([((101, 100, 101), p, 1.0)], torch.zeros(0, dtype=torch.float64), False)
    assert mask.shape == (101, 100, 101)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    spread = (p * (1 - p) / mask.numel()) ** 0.5
    assert abs(float(mask.mean()) - p) < 5 * spread + 1e-5
    flat = mask.flatten() - p
    for shift in (1, 2, 3, 4):
        assert abs(float((flat[shift:] * flat[:-shift]).mean())) < 5 * p * (1 - p) / mask.numel() ** 0.5 + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_masks_are_the_same_by_the_native_core_and_by_pytorch(dtype: torch.dtype) -> None:
    wanted = [((3, 7, 5), 0.9, 1.0 / 0.9), ((3, 7, 9), 0.25, 1.0)]
    found = []
    for transformed in (False, True):
        torch.manual_seed(4)
        found.append(cellgate.nn.noise.draw_masks(wanted, torch.zeros(1, dtype=dtype), transformed))
    for one, other in zip(*found, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)
        assert 0 < one.count_nonzero() < one.numel()


def test_weight_drop_drops_recurrent_weights_only() -> None:
    module = cellgate.LSTM(3, 50, weight_drop=0.5)
    output = module(torch.randn(1, 2, 3))[0]
    module.eval()
    assert torch.allclose(output, module(torch.randn(1, 2, 3))[0]) is False
    module.train()
    leaf = module(torch.randn(5, 2, 3))[0].sum()
    leaf.backward()
    assert module.weight_hh_l0.grad is not None
    share = float((module.weight_hh_l0.grad == 0).float().mean())
    assert 0.45 < share < 0.55


def test_evaluation_draws_nothing() -> None:
    module = cellgate.LSTM(3, 4, 2, zoneout=0.3, recurrent_dropout=0.3, locked_dropout=0.3, weight_drop=0.3).eval()
    before = torch.get_rng_state()
    module(torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("variant", ["everything random", "slstm", "layer norm", "full gate recurrence", "highway"])
def test_traces(variant: str) -> None:
    """A trace shows what the untraced call computes, noise and all, and changes no random number after it."""
    case = make(VARIANTS[variant], {"num_layers": 2})
    torch.manual_seed(4)
    plain = case.module(case.x)[0]
    after = torch.rand(1)
    torch.manual_seed(4)
    with cellgate.trace(case.module) as tape:
        traced = case.module(case.x)[0]
    assert torch.equal(traced, plain)
    assert torch.equal(torch.rand(1), after)
    layer = tape["lstm"].layer(1)
    assert layer.c.shape == (6, 4, 5)
    if variant != "highway":
        torch.testing.assert_close(layer.h, plain)


# ---- initial values --------------------------------------------------------------------------------------------------


def test_forget_bias() -> None:
    module = cellgate.LSTM(3, 4, 2, bidirectional=True, forget_bias=1.5)
    for suffix in ("l0", "l1", "l0_reverse", "l1_reverse"):
        total = getattr(module, f"bias_ih_{suffix}") + getattr(module, f"bias_hh_{suffix}")
        assert torch.equal(total[4:8], torch.full((4,), 1.5))
        assert not torch.equal(total[:4], torch.full((4,), -1.5))
    coupled = cellgate.LSTM(3, 4, cell="cifg", forget_bias=1.0, single_bias=True)
    assert torch.equal(coupled.bias_ih_l0[:4], torch.full((4,), -1.0))  # f = 1 - i


def test_chrono() -> None:
    module = cellgate.LSTM(3, 400, chrono=100)
    total = (module.bias_ih_l0 + module.bias_hh_l0).detach()
    i, f = total[:400], total[400:800]
    assert torch.equal(i, -f)
    memory = f.exp()
    assert 1 <= float(memory.min()) <= 3
    assert 95 <= float(memory.max()) <= 99
    assert abs(float(memory.mean()) - 50) < 6  # uniform between 1 and 99


def test_orthogonal() -> None:
    module = cellgate.LSTM(3, 6, orthogonal=True, dtype=torch.float64)
    for block in module.weight_hh_l0.chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(6, dtype=torch.float64))
    projected = cellgate.LSTM(3, 6, proj_size=2, orthogonal=True, dtype=torch.float64)
    for block in projected.weight_hh_l0.chunk(4):
        torch.testing.assert_close(block.T @ block, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "keywords",
    [{"orthogonal": True}, {"chrono": 30}, {"forget_bias": 1.0}, {"learned_state": True}, {"norm": "layer"}],
    ids=str,
)
def test_initial_values_in_half_precision(keywords: dict, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    half = cellgate.LSTM(3, 6, dtype=dtype, **keywords)
    assert all(p.dtype == dtype and p.isfinite().all() for p in half.parameters())
    if "orthogonal" in keywords:
        for block in half.weight_hh_l0.float().chunk(4):
            torch.testing.assert_close(block @ block.T, torch.eye(6), rtol=0, atol=2e-2)


@pytest.mark.parametrize("hidden", [4, [4, 5]])
def test_learned_state(hidden) -> None:
    module = cellgate.LSTM(3, hidden, 2 if isinstance(hidden, int) else 1, bidirectional=True, learned_state=True)
    x = torch.randn(5, 3, 3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith(("h0", "c0")):
                assert not parameter.any()
                parameter.normal_()
    learned = module(x)[0]
    learned.sum().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in module.named_parameters() if n.startswith(("h0", "c0")))
    sizes = (hidden,) * 2 if isinstance(hidden, int) else hidden
    parts = {
        kind: [
            torch.stack([getattr(module, f"{kind}_l{n}{s}") for s in ("", "_reverse")]).unsqueeze(1).expand(2, 3, -1)
            for n in range(2)
        ]
        for kind in ("h0", "c0")
    }
    hx = tuple(torch.cat(p) if len(set(sizes)) == 1 else tuple(p) for p in parts.values())
    torch.testing.assert_close(module(x, hx)[0], learned)
    torch.testing.assert_close(module(x[:, 0])[0], learned[:, 0])


def test_highway_begins_by_carrying() -> None:
    module = cellgate.LSTM(3, 4, 3, connection="highway")
    assert torch.equal(module.bias_highway_l2, torch.full((4,), -1.0))
    assert not hasattr(module, "weight_highway_l0")


def test_sequence_model_takes_the_keywords() -> None:
    """And its config, as JSON keeps it, makes the same model."""
    options = {"cell": "peephole", "zoneout": (0.2, 0.1), "chrono": 50, "connection": "highway"}
    model = cellgate.SequenceModel(3, 4, 2, 1, "mean", device="cpu", **options).eval()
    config = json.loads(json.dumps(model.config()))
    assert config["zoneout"] == [0.2, 0.1]
    again = cellgate.SequenceModel(**config, device="cpu").eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 5, 3)
    assert torch.equal(again(x), model(x))
    assert "cell" not in cellgate.SequenceModel(3, 4, 2, 1, device="cpu").config()
    with pytest.raises(ValueError, match="reads h_n"):
        cellgate.SequenceModel(3, 4, 2, 1, device="cpu", connection="residual")


# ---- one step at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["peephole", "slstm", "full gate recurrence", "zoneout", "layer norm", "residual"])
def test_stream_and_chunks_go_on_where_they_stopped(variant: str) -> None:
    """State handed on: a sequence in two calls, step by step, and in chunks is the sequence in one."""
    case = make(VARIANTS[variant], {})
    module = case.module.eval()
    whole, (h_n, c_n) = module(case.x)
    first, state = module(case.x[:2])
    second, state = module(case.x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, (h_n, c_n))
    stream = module.stream(batch=4)
    torch.testing.assert_close(torch.stack([stream.push(x_t) for x_t in case.x]), whole)
    torch.testing.assert_close(stream.state, (h_n, c_n))
    many = module.stream(batch=4)
    torch.testing.assert_close(torch.cat([many.push_many(case.x[:2]), many.push_many(case.x[2:])]), whole)
    chunks = list(cellgate.tbptt(module, case.x, 4))
    torch.testing.assert_close(torch.cat([chunk.output for chunk in chunks]), whole)
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 4), (4, 6)]


@pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")
@pytest.mark.parametrize("variant", VARIANTS)
def test_stream_is_native_and_follows_the_weights(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(VARIANTS[variant], {"num_layers": 2, "proj_size": 3})
    module, x = case.module.eval(), case.x[:, 0]
    streams = [module.stream(), module.stream()]
    through_the_module: list[str] = []
    run = Stream._run_module
    monkeypatch.setattr(Stream, "_run_module", lambda self, *a: through_the_module.append("") or run(self, *a))
    for stream in streams:
        stream.push(x[0])
    assert bool(through_the_module) == (module.variant.connection == "highway")
    with torch.no_grad():
        module.weight_hh_l1.mul_(0.5)
        want, _ = module(x[1:2], streams[0].state)
    torch.testing.assert_close(streams[0].push(x[1]), want[0])
    fork = streams[1].fork()
    torch.testing.assert_close(fork.push_many(x[1:3])[0], want[0])
    assert streams[1].push(x[1].numpy()).shape == (3,)
    assert fork.push_many(x[:0]).shape == (0, 3)


def test_stream_begins_with_the_learned_state() -> None:
    module = cellgate.LSTM(3, 4, learned_state=True)
    nn.init.normal_(module.c0_l0)
    x = torch.randn(5, 3)
    stream = module.stream()
    torch.testing.assert_close(torch.stack([stream.push(x_t) for x_t in x]), module(x)[0].detach())


def test_tbptt_cuts_the_graph_and_sees_new_weights() -> None:
    module = cellgate.LSTM(3, 4, batch_first=True)
    x, y = torch.randn(2, 10, 3), torch.randn(2, 10, 1)
    lengths, reset = [10, 3], torch.zeros(2, 10, dtype=torch.bool)
    reset[0, 6] = True
    whole = module(x, lengths=lengths, reset=reset)[0].detach()
    outputs = []
    state = None
    for chunk in cellgate.tbptt(module, x, 4, target=y, lengths=lengths, reset=reset):
        outputs.append(chunk.output.detach())
        assert chunk.target is not None
        assert torch.equal(chunk.target, y[:, chunk.start : chunk.stop])
        if state is not None:
            assert not torch.autograd.grad(chunk.output.sum(), state[0], retain_graph=True, allow_unused=True)[0]
        state = chunk.state
        chunk.output.sum().backward()
    torch.testing.assert_close(torch.cat(outputs, 1), whole)
    chunks = cellgate.tbptt(module, x, 4)
    first = next(chunks)
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    torch.testing.assert_close(next(chunks).output, module(x[:, 4:8], first.state)[0])


def test_tbptt_refuses() -> None:
    x = torch.zeros(4, 1, 3)
    with pytest.raises(ValueError, match="one direction"):
        cellgate.tbptt(cellgate.LSTM(3, 4, bidirectional=True), x, 2)
    with pytest.raises(ValueError, match="steps: expected a positive integer, got 0"):
        cellgate.tbptt(cellgate.LSTM(3, 4), x, 0)
    with pytest.raises(ValueError, match=r"target: expected \(4, 1\) first"):
        cellgate.tbptt(cellgate.LSTM(3, 4), x, 2, target=torch.zeros(3, 1))


def test_penalty() -> None:
    module = cellgate.LSTM(3, 4, bidirectional=True)
    x, lengths = torch.randn(6, 3, 3), [6, 2, 1]
    output = module(x, lengths=lengths)[0]
    squares = torch.cat([output[:n, b].flatten() for b, n in enumerate(lengths)]).square().mean()
    changes = torch.cat([(output[1:n, b] - output[: n - 1, b]).flatten() for b, n in enumerate(lengths)])
    want = 2 * squares + 3 * changes.square().mean()
    torch.testing.assert_close(module.penalty(output, activation=2, temporal=3, lengths=lengths), want)
    packed = module(pack_padded_sequence(x, torch.tensor(lengths)))[0]
    torch.testing.assert_close(module.penalty(packed, activation=2, temporal=3), want)
    first = cellgate.LSTM(3, 4, batch_first=True)
    y = first(x)[0]
    want = 2 * y.square().mean() + (y[:, 1:] - y[:, :-1]).square().mean()
    torch.testing.assert_close(first.penalty(y), want)
    torch.testing.assert_close(first.penalty(y[0, :1]), 2 * y[0, :1].square().mean())


def test_an_episode_begins_with_zeros_beside_a_learned_state() -> None:
    lstm = cellgate.LSTM(3, 4, learned_state=True)
    with torch.no_grad():
        lstm.h0_l0.fill_(0.5)
        lstm.c0_l0.fill_(-0.5)
    x, reset, zeros = torch.randn(6, 1, 3), torch.zeros(6, 1, dtype=torch.bool), torch.zeros(1, 1, 4)
    reset[3] = True
    output, _ = lstm(x, reset=reset)
    torch.testing.assert_close(output[:3], lstm(x[:3])[0])
    torch.testing.assert_close(output[3:], lstm(x[3:], (zeros, zeros))[0])
    assert not torch.allclose(output[3:], lstm(x[3:])[0], atol=1e-3)
