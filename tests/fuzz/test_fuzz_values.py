"""Configurations and inputs drawn at random: every backend against each other, and against nn.LSTM where it can."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.conftest import examples
from tests.parity.compare import BACKEND_NAMES, only, quiet_nn_lstm
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import cellgate

# Rounding apart, a wrong number is wrong by more than this; the tight budgets are those of tests/parity.
TOLERANCE = {torch.float32: {"rtol": 2e-4, "atol": 2e-5}, torch.float64: {"rtol": 1e-9, "atol": 1e-11}}


@st.composite
def calls(draw, nn_lstm: bool):
    """Draw a layer and a call of it; with ``nn_lstm`` one that nn.LSTM can run too."""
    layers = draw(st.integers(1, 3))
    least = 1 if nn_lstm else 0
    per_layer = not nn_lstm and draw(st.booleans())
    sizes = st.integers(1, 40)
    hidden = [draw(sizes) for _ in range(layers)] if per_layer else [draw(sizes)] * layers
    projected = draw(st.booleans()) and min(hidden) > 1
    if per_layer:
        proj = [draw(st.integers(0, h - 1)) for h in hidden] if projected else [0] * layers
    else:
        proj = [draw(st.integers(1, hidden[0] - 1)) if projected else 0] * layers
    t, b = draw(st.integers(least, 9)), draw(st.integers(least, 9))
    return {
        "t": t,
        "b": b,
        "i": draw(st.integers(least, 30)),
        "hidden": hidden,
        "proj": proj,
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
        "hx": draw(st.booleans()),
        "lengths": draw(st.none() | st.lists(st.integers(least, t), min_size=b, max_size=b)),
        "reset": None if nn_lstm else draw(st.none() | st.floats(0, 1)),
        "dropout": draw(st.sampled_from([0.0, 0.0, 0.5])) if layers > 1 and not nn_lstm else 0.0,
        "grad": draw(st.booleans()),
        "scale": draw(st.sampled_from([1.0, 1.0, 10.0])),
        "seed": draw(st.integers(0, 2**31)),
    }


def build(c: dict) -> tuple[cellgate.LSTM, Tensor, tuple | None, Tensor | None]:
    torch.manual_seed(c["seed"])
    lstm = cellgate.LSTM(
        c["i"],
        c["hidden"],
        bias=c["bias"],
        batch_first=c["batch_first"],
        dropout=c["dropout"],
        bidirectional=c["bidirectional"],
        proj_size=c["proj"],
        dtype=c["dtype"],
    )
    d = 2 if c["bidirectional"] else 1
    leading = (c["b"], c["t"]) if c["batch_first"] else (c["t"], c["b"])
    x = (torch.randn(*leading, c["i"], dtype=c["dtype"]) * c["scale"]).requires_grad_(c["grad"])
    outs = [p or h for h, p in zip(c["hidden"], c["proj"], strict=True)]
    hx = None
    if c["hx"]:
        h0, c0 = ([torch.randn(d, c["b"], s, dtype=c["dtype"]) for s in sizes] for sizes in (outs, c["hidden"]))
        uniform = isinstance(lstm.hidden_size, int) and isinstance(lstm.proj_size, int)
        hx = (torch.cat(h0), torch.cat(c0)) if uniform else (tuple(h0), tuple(c0))
    reset = None if c["reset"] is None else torch.rand(*leading) < c["reset"]
    return lstm, x, hx, reset


def flat(result) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flat(part)]


def gradients(values: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    loss = torch.stack([(v * torch.arange(1, v.numel() + 1).view(v.shape).sin()).sum() for v in values]).sum()
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


@settings(max_examples=examples(700))
@given(calls(nn_lstm=False))
def test_every_backend_computes_the_same(c: dict):
    lstm, x, hx, reset = build(c)
    kwargs = {"lengths": c["lengths"], "reset": reset}
    results = {}
    with torch.set_grad_enabled(c["grad"]):
        for name in ("reference", *(n for n in BACKEND_NAMES if n != "reference")):
            torch.manual_seed(c["seed"])
            with cellgate.use_backend("auto"):
                able = name not in lstm.explain_backend(x, hx, **kwargs).reasons or name == "reference"
            try:
                with only(name):
                    values = flat(lstm(x, hx, **kwargs))
            except cellgate.BackendError:
                # aten has no kernel for nothing to compute; no other refusal is right here.
                assert name == "aten", (name, able)
                assert 0 in (c["t"], c["b"], c["i"])
                continue
            results[name] = values
    want = results.pop("reference")
    for values in results.values():
        torch.testing.assert_close(values, want, **TOLERANCE[c["dtype"]])
    if c["grad"]:
        leaves = [x, *lstm.parameters()]
        clean = gradients(want, leaves)
        for values in results.values():
            torch.testing.assert_close(gradients(values, leaves), clean, **TOLERANCE[c["dtype"]])


@settings(max_examples=examples(700))
@given(calls(nn_lstm=True), st.sampled_from(BACKEND_NAMES), st.booleans())
def test_equal_to_nn_lstm(c: dict, backend: str, packed: bool):
    lstm, x, hx, _ = build(c)
    peer = nn.LSTM(
        c["i"], c["hidden"][0], len(c["hidden"]), c["bias"], c["batch_first"], 0.0, c["bidirectional"], c["proj"][0]
    ).to(c["dtype"])
    peer.load_state_dict(lstm.state_dict())
    lengths = c["lengths"]

    def pack() -> PackedSequence:
        return pack_padded_sequence(x, torch.tensor(lengths), c["batch_first"], enforce_sorted=False)

    with torch.set_grad_enabled(c["grad"]), quiet_nn_lstm():
        if lengths is None:
            want = flat(peer(x, hx))
        else:
            output, state = peer(pack(), hx)
            want = flat((pad_packed_sequence(output, c["batch_first"], total_length=c["t"])[0], state))
        with only(backend):
            if packed and lengths is not None:
                output, state = lstm(pack(), hx)
                got = flat((pad_packed_sequence(output, c["batch_first"], total_length=c["t"])[0], state))
            else:
                got = flat(lstm(x, hx, lengths=lengths))
    torch.testing.assert_close(got, want, **TOLERANCE[c["dtype"]])
    if c["grad"]:
        ours, theirs = gradients(got, [x, *lstm.parameters()]), gradients(want, [x, *peer.parameters()])
        torch.testing.assert_close(ours, theirs, **TOLERANCE[c["dtype"]])
