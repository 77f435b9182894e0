"""Derivatives of every kind: gradcheck, double backward, vmap, jvp, per-sample gradients, ensembles, autocast."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from tests.parity.compare import Case, only, quiet_nn_lstm
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jvp, stack_module_state, vjp, vmap
from torch.utils.checkpoint import checkpoint

import cellgate
from cellgate.backends import aten

FLAGS = list(itertools.product((1, 2), (False, True), (False, True), (False, True)))
WAYS = {
    "dense": {},
    "lengths": {"lengths": [2, 0, 3]},
    "reset": {"reset": torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.bool)},
    "both": {"lengths": [2, 0, 3], "reset": torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.bool)},
}


def leaves_and_call(flags: tuple, way: str):
    layers, bias, bidirectional, projected = flags
    case = Case(3, 3, 2, 3, layers, bias, False, bidirectional, 2 if projected else 0, dtype=torch.float64)
    lstm = case.ours()
    names = [n for n, _ in lstm.named_parameters()]
    leaves = [t.double().requires_grad_() for t in case.numbers()] + [
        p.detach().requires_grad_() for p in lstm.parameters()
    ]

    def call(x: Tensor, h0: Tensor, c0: Tensor, *weights: Tensor):
        given = dict(zip(names, weights, strict=True))
        output, (h_n, c_n) = functional_call(lstm, given, (x, (h0, c0)), WAYS[way])
        return output, h_n, c_n

    return leaves, call


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_gradcheck(flags: tuple, way: str, backend: str):
    leaves, call = leaves_and_call(flags, way)
    with only(backend):
        assert gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize("flags", [FLAGS[0], FLAGS[-1]], ids=str)
def test_gradcheck_of_every_single_number(flags: tuple, backend: str):
    leaves, call = leaves_and_call(flags, "dense")
    with only(backend):
        assert gradcheck(call, leaves, fast_mode=False)


@pytest.mark.parametrize("way", ["dense", "both"])
@pytest.mark.parametrize("flags", FLAGS[::3], ids=str)
def test_gradgradcheck(flags: tuple, way: str, backend: str):
    leaves, call = leaves_and_call(flags, way)
    with cellgate.use_backend(backend):
        assert gradgradcheck(call, leaves, fast_mode=True)


def test_double_backward_in_float32(backend: str):
    """A gradient penalty, as in WGAN-GP, against nn.LSTM's."""
    case = Case(5, 3, 4, 17, 2, bidirectional=True)
    found = []
    for module in (case.ours(), case.peer()):
        x = case.numbers()[0].requires_grad_()
        with cellgate.use_backend(backend):
            (dx,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
            (dx.norm() - 1).square().backward()
        found.append([x.grad, *(p.grad for p in module.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_backward_in_eval_mode(backend: str):
    case = Case(5, 3, 4, 17, 2)
    ours, peer = case.ours().eval(), case.peer().eval()
    ours.dropout = peer.dropout = 0.5
    x = case.numbers()[0]
    with only(backend):
        ours(x)[0].sum().backward()
    peer(x)[0].sum().backward()
    torch.testing.assert_close([p.grad for p in ours.parameters()], [p.grad for p in peer.parameters()])


@pytest.mark.parametrize("flags", FLAGS[::3], ids=str)
def test_vmap_over_the_input(flags: tuple):
    layers, bias, bidirectional, projected = flags
    lstm = cellgate.LSTM(4, 6, layers, bias, bidirectional=bidirectional, proj_size=2 if projected else 0)
    x = torch.randn(7, 5, 3, 4)
    output, (h_n, c_n) = vmap(lstm)(x)
    for k in range(7):
        torch.testing.assert_close((output[k], (h_n[k], c_n[k])), lstm(x[k]))


def test_vmap_over_lengths_resets_and_states():
    lstm = cellgate.LSTM(4, 6, bidirectional=True)
    x, h0, c0 = torch.randn(2, 5, 3, 4), torch.randn(2, 2, 3, 6), torch.randn(2, 2, 3, 6)
    lengths, reset = torch.tensor([[1, 5, 0], [5, 2, 3]]), torch.rand(2, 5, 3) < 0.3
    got = vmap(lambda x, h, c, n, r: lstm(x, (h, c), lengths=n, reset=r)[0])(x, h0, c0, lengths, reset)
    for k in range(2):
        want, _ = lstm(x[k], (h0[k], c0[k]), lengths=lengths[k], reset=reset[k])
        torch.testing.assert_close(got[k], want)


@pytest.mark.parametrize(
    "noise", [{"zoneout": 0.2}, {"recurrent_dropout": 0.3}, {"recurrent_dropout": 1e-4, "zoneout": (0.5, 0.0)}], ids=str
)
@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap_draws_masks_for_each_or_for_all(randomness: str, noise: dict):
    lstm, x = cellgate.LSTM(3, 4, **noise), torch.randn(9, 1, 1, 3).expand(9, 6, 1, 3)
    each = vmap(lambda one: lstm(one)[0], 1, randomness=randomness)(x)
    assert all(torch.equal(each[0], one) for one in each) == (randomness == "same")
    if noise.get("recurrent_dropout") == 1e-4:
        return  # left to PyTorch's Bernoulli, whose forms draw other numbers
    torch.manual_seed(3)
    want, _ = lstm(x[:, 0])
    torch.manual_seed(3)
    torch.testing.assert_close(vjp(lambda one: lstm(one)[0], x[:, 0])[0], want)


@pytest.mark.parametrize("cls", [cellgate.LSTM, cellgate.LSTMCell])
def test_vmap_over_an_ensemble_of_weights(cls: type):
    models = [cls(4, 6) for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")
    x = torch.randn(5, 3, 4) if cls is cellgate.LSTM else torch.randn(3, 4)
    got = vmap(lambda p, b: functional_call(base, (p, b), (x,))[0])(parameters, buffers)
    torch.testing.assert_close(got, torch.stack([m(x)[0] for m in models]))


def test_gradients_of_each_sample():
    """What Opacus and influence functions need: one gradient a sequence, equal to the gradient of it alone."""
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True)
    weights = {k: p.detach() for k, p in lstm.named_parameters()}
    x = torch.randn(5, 3, 4)

    def loss(weights: dict, sequence: Tensor) -> Tensor:
        return functional_call(lstm, weights, (sequence,))[0].square().sum()

    each = vmap(grad(loss), in_dims=(None, 1))(weights, x)
    for b in range(3):
        lstm.zero_grad()
        lstm(x[:, b])[0].square().sum().backward()
        for name, p in lstm.named_parameters():
            torch.testing.assert_close(each[name][b], p.grad)


# PyTorch's forward-mode rules are compiled by the jit that PyTorch itself calls deprecated.
jit_is_deprecated = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


@jit_is_deprecated
def test_forward_mode_equals_reverse_mode():
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True).double()
    x, v = torch.randn(5, 3, 4).double(), torch.randn(5, 3, 4).double()
    output, tangent = jvp(lambda x: lstm(x)[0], (x,), (v,))
    torch.testing.assert_close(output, lstm(x)[0])
    u = torch.randn_like(output)
    (pulled,) = vjp(lambda x: lstm(x)[0], x)[1](u)
    torch.testing.assert_close((tangent * u).sum(), (v * pulled).sum())

    with torch.autograd.forward_ad.dual_level():
        dual = lstm(torch.autograd.forward_ad.make_dual(x, v))[0]
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, tangent)


@jit_is_deprecated
def test_hessian():
    lstm = cellgate.LSTM(2, 3).double()
    x = torch.randn(2, 1, 2).double()
    found = hessian(lambda x: lstm(x)[0].sum())(x)
    want = torch.autograd.functional.hessian(lambda x: lstm(x)[0].sum(), x)
    torch.testing.assert_close(found, want)
    assert torch.count_nonzero(found) > 0


def test_transforms_say_which_backend_serves_them():
    lstm = cellgate.LSTM(2, 3)
    seen = []

    def look(x):
        seen.append(lstm.explain_backend(x))
        return lstm(x)[0]

    vmap(look)(torch.randn(4, 5, 1, 2))
    assert seen[0].name == "reference"
    assert "vmap" in seen[0].reasons["aten"]
    with cellgate.use_backend("aten"), pytest.raises(cellgate.BackendError, match="vmap"):
        vmap(look)(torch.randn(4, 5, 1, 2))


# ---------------------------------------------------------------- dtypes and autocast


def ours_declines(backend: str, call) -> str | None:
    """Return why a backend declines a call, or None if it takes it."""
    try:
        with cellgate.use_backend(backend):
            call()
    except cellgate.BackendError as error:
        return str(error)
    return None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("flags", FLAGS[::3], ids=str)
def test_half_precision(flags: tuple, dtype: torch.dtype, backend: str):
    """As near to the truth as twice nn.LSTM's own distance, and a backend may decline a dtype by name only."""
    layers, bias, bidirectional, projected = flags
    case = Case(9, 3, 4, 17, layers, bias, False, bidirectional, 5 if projected else 0)
    x, h0, c0 = (t.to(dtype) for t in case.numbers())
    ours, peer = case.ours(dtype=torch.float32).to(dtype), case.peer(dtype=dtype)
    truth = copy.deepcopy(peer).double()
    with torch.no_grad(), quiet_nn_lstm():
        want = truth(x.double(), (h0.double(), c0.double()))[0]
        plain = peer(x, (h0, c0))[0]
        if backend not in ("aten", "reference"):
            refusal = ours_declines(backend, lambda: ours(x, (h0, c0)))
            if refusal:
                assert str(dtype).removeprefix("torch.") in refusal
                return
        with only(backend):
            got = ours(x, (h0, c0))[0]
    assert got.dtype == dtype
    allowed = 2 * float((plain.double() - want).abs().max()) + 2 * torch.finfo(dtype).eps
    assert float((got.double() - want).abs().max()) <= allowed


def as_autocast_would(peer: nn.LSTM, x: Tensor, *state: Tensor):
    """nn.LSTM's result under autocast on a CPU without instructions for bfloat16, where itself it ends in an error."""
    weights = {name: p.bfloat16() for name, p in peer.named_parameters()}
    with torch.autocast("cpu", enabled=False):
        return functional_call(peer, weights, (x.bfloat16(), tuple(s.bfloat16() for s in state)))


@pytest.mark.parametrize("training", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize(("way", "flags"), [(w, f) for w in ("plain", "packed") for f in FLAGS[::3]], ids=str)
def test_autocast_on_the_cpu(way: str, flags: tuple, training: bool):
    """Values and dtypes are those nn.LSTM has under autocast, whichever of its own paths it takes."""
    layers, bias, bidirectional, projected = flags
    case = Case(9, 3, 4, 16, layers, bias, False, bidirectional, 5 if projected else 0)
    ours, peer = case.ours(), case.peer()
    x, h0, c0 = case.numbers()
    results = []
    for module in (ours, peer):
        given = nn.utils.rnn.pack_padded_sequence(x, [9, 4, 1]) if way == "packed" else x
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(training), quiet_nn_lstm():
            if module is peer and not (way == "packed" or projected or aten.onednn_computes(torch.bfloat16)):
                output, state = as_autocast_would(peer, x, h0, c0)
            else:
                output, state = module(given, (h0, c0))
        output = output.data if way == "packed" else output
        if training:
            output.float().square().sum().backward()
        results.append((output, *state, *(p.grad for p in module.parameters() if training)))
    for got, want in zip(*results, strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("way", WAYS)
def test_autocast_never_fails(way: str, backend: str):
    lstm = cellgate.LSTM(2, 6, 2, dropout=0.5, bidirectional=True)
    kwargs = WAYS[way]
    x = torch.randn(3, 3, 2)
    clean, _ = copy.deepcopy(lstm).eval()(x, **kwargs)
    for data in (x, x.bfloat16()):
        with cellgate.use_backend(backend), torch.autocast("cpu", torch.bfloat16):
            if backend not in ("aten", "reference"):
                refusal = ours_declines(backend, lambda data=data: lstm(data, **kwargs))
                if refusal:
                    assert "autocast" in refusal
                    return
            output, _ = lstm.train()(data, **kwargs)
            quiet, _ = lstm.eval()(data, **kwargs)
        output.float().sum().backward()
        torch.testing.assert_close(quiet.float(), clean, rtol=0, atol=0.05)
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in lstm.parameters())


# ---------------------------------------------------------------- devices without numbers, determinism, threads


@pytest.mark.parametrize("way", WAYS)
def test_meta_device_gives_shapes(way: str):
    lstm = cellgate.LSTM(2, 6, 2, bidirectional=True, device="meta")
    kwargs = {k: v.to("meta") if isinstance(v, Tensor) else v for k, v in WAYS[way].items()}
    output, (h_n, c_n) = lstm(torch.empty(3, 3, 2, device="meta"), **kwargs)
    assert output.device.type == "meta"
    assert (output.shape, h_n.shape, c_n.shape) == ((3, 3, 12), (4, 3, 6), (4, 3, 6))
    output.sum().backward()
    assert lstm.weight_hh_l1.grad.shape == (24, 6)


@pytest.mark.parametrize("hidden", [6, [6, 4]], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_fake_tensors_give_shapes_and_strides(way: str, hidden):
    from torch._subclasses import FakeTensorMode

    real = cellgate.LSTM(2, hidden, 2, bidirectional=True, batch_first=True)
    kwargs = {k: v.T if isinstance(v, Tensor) else v for k, v in WAYS[way].items()}
    want = torch.utils._pytree.tree_leaves(real(torch.randn(3, 3, 2), **kwargs))
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = cellgate.LSTM(2, hidden, 2, bidirectional=True, batch_first=True)
        got = torch.utils._pytree.tree_leaves(fake(torch.randn(3, 3, 2), **kwargs))
        sum(t.sum() for t in got).backward()
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.stride() == b.stride()
        assert a.dtype == b.dtype


def test_deterministic_algorithms(backend: str):
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True)
    x, reset = torch.randn(7, 5, 4, requires_grad=True), torch.rand(7, 5) < 0.2
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            with only(backend):
                output, _ = lstm(x, lengths=[2, 7, 0, 5, 5], reset=reset)
            runs.append((output, *torch.autograd.grad(output.square().sum(), (x, *lstm.parameters()))))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_numbers(threads: int, backend: str):
    case = Case(20, 33, 20, 100, 2, bidirectional=True)
    ours, x = case.ours(), case.numbers()[0]
    want = case.peer()(x)[0]
    torch.set_num_threads(threads)
    with only(backend):
        got = ours(x)[0]
    torch.testing.assert_close(got, want)


def test_calls_from_several_python_threads(backend: str):
    """Layers, weights and the choice of a backend are shared by threads of a server."""
    from concurrent.futures import ThreadPoolExecutor

    lstm = cellgate.LSTM(4, 17, 2, bidirectional=True)
    inputs = [torch.randn(9, b, 4) for b in (1, 2, 3, 7) * 4]
    want = [lstm(x)[0] for x in inputs]

    def call(x: Tensor):
        with cellgate.use_backend(backend):
            output, _ = lstm(x)
            return output.detach(), torch.autograd.grad(output.sum(), lstm.weight_hh_l0)[0]

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(call, inputs))
    for (output, _), clean in zip(got, want, strict=True):
        torch.testing.assert_close(output, clean)
    for (_, dw), clean in zip(got, want, strict=True):
        torch.testing.assert_close(dw, torch.autograd.grad(clean.sum(), lstm.weight_hh_l0)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("state", [False, True], ids=["zero state", "given state"])
@pytest.mark.parametrize("way", ["checkpoint", "save_on_cpu"])
def test_tensors_that_hooks_of_autograd_give_back(way: str, state: bool):
    """Checkpointing and offloading drop what forward saved and hand backward other tensors in its place."""
    lstm = cellgate.LSTM(5, 40, 2)
    x = torch.randn(30, 8, 5, requires_grad=True)
    hx = (torch.randn(2, 8, 40), torch.randn(2, 8, 40)) if state else None
    want = torch.autograd.grad(lstm(x, hx)[0].square().sum(), [x, *lstm.parameters()])
    if way == "checkpoint":
        output = checkpoint(lambda x: lstm(x, hx)[0].square(), x, use_reentrant=False)
        assert isinstance(output, torch.Tensor)
    else:
        with torch.autograd.graph.save_on_cpu():
            output = lstm(x, hx)[0].square()
    ruin = [torch.full((n,), torch.nan) for n in (9600, 9600, 48000, 105600) for _ in range(8)]
    got = torch.autograd.grad(output.sum(), [x, *lstm.parameters()])
    assert len(ruin) == 32
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w)


KINDS = {
    "plain": {},
    "deep": {"num_layers": 2, "bidirectional": True, "proj_size": 2},
    "sizes": {"hidden_size": [4, 3]},
    "peephole": {"cell": "peephole"},
}
LONG = {"dense": {}, "lengths": {"lengths": [5, 2]}, "reset": {"reset": torch.eye(5, 2, dtype=torch.bool)}}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", LONG)
@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_gradients(kind: str, way: str, dtype: torch.dtype):
    """is_grads_batched hands backward tensors that have no memory of their own."""
    lstm = cellgate.LSTM(**{"input_size": 3, "hidden_size": 4, "dtype": dtype, **KINDS[kind]})
    x = torch.randn(5, 2, 3, dtype=dtype, requires_grad=True)
    output, (_, c_n) = lstm(x, **LONG[way])
    c = c_n[-1]
    leaves = (x, *lstm.parameters())
    dy, dc = torch.randn(3, *output.shape, dtype=dtype), torch.randn(3, *c.shape, dtype=dtype)
    got = torch.autograd.grad((output, c), leaves, (dy, dc), is_grads_batched=True, retain_graph=True)
    assert not any(g.requires_grad for g in got)
    for k in range(3):
        want = torch.autograd.grad((output, c), leaves, (dy[k], dc[k]), retain_graph=True)
        for g, w in zip(got, want, strict=True):
            bound = 0.1 if dtype == torch.bfloat16 else 1e-5
            torch.testing.assert_close(g[k], w, rtol=bound, atol=bound)


def test_jacobian_of_all_rows_at_once():
    lstm, x = cellgate.LSTM(3, 4), torch.randn(5, 2, 3)
    rows, at_once = (
        torch.autograd.functional.jacobian(lambda z: lstm(z)[0], x, vectorize=vectorize) for vectorize in (False, True)
    )
    torch.testing.assert_close(at_once, rows)


@pytest.mark.parametrize("create_graph", [False, True], ids=["once", "recorded"])
@pytest.mark.parametrize("way", ["quick", "lengths", "state"])
@pytest.mark.parametrize("flags", [(1, False, True), (2, True, False), (2, True, True)], ids=str)
def test_after_one_step_c_n_has_no_gradient_of_the_last_projection(flags: tuple, way: str, create_graph: bool):
    """As in nn.LSTM: an optimiser with momentum or decay tells None from zeros."""
    layers, bidirectional, bias = flags
    sizes = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias, "proj_size": 2}
    lstm, peer = cellgate.LSTM(3, 4, **sizes), nn.LSTM(3, 4, **sizes)
    peer.load_state_dict(lstm.state_dict())
    rows = layers * (1 + bidirectional)
    hx = (torch.zeros(rows, 2, 2), torch.zeros(rows, 2, 4)) if way == "state" else None
    for steps, which in ((1, "c"), (1, "h"), (1, "y"), *([(2, "c")] if way != "lengths" else [])):
        x = torch.randn(steps, 2, 3)
        found = []
        for module in (lstm, peer):
            further = {"lengths": [1, 0]} if way == "lengths" and module is lstm else {}
            with quiet_nn_lstm():
                y, (h, c) = module(x, hx, **further)
                out = {"y": y, "h": h, "c": c}[which]
                found.append(
                    torch.autograd.grad(out.sum(), module.parameters(), create_graph=create_graph, allow_unused=True)
                )
        ours, theirs = ([g is None for g in grads] for grads in found)
        assert ours == theirs, (steps, which)


def test_after_one_step_c_n_of_a_variant_has_no_gradient_of_the_projection():
    for further in ({}, {"lengths": [1, 0]}):
        lstm = cellgate.LSTM(3, 4, proj_size=2, cell="peephole")
        lstm(torch.randn(1, 2, 3), **further)[1][1].sum().backward()
        assert [name for name, p in lstm.named_parameters() if p.grad is None] == ["weight_hr_l0"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("recorded", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("way", LONG)
@pytest.mark.parametrize("kind", KINDS)
def test_negated_views(kind: str, way: str, recorded: bool, dtype: torch.dtype):
    """z.conj().imag and the like have the other sign in memory: of states, weights and incoming gradients too."""
    lstm = cellgate.LSTM(**{"input_size": 3, "hidden_size": 4, "dtype": dtype, **KINDS[kind]})
    names = [name for name, _ in lstm.named_parameters()]
    x = torch.randn(5, 2, 3, dtype=dtype)
    with torch.no_grad():
        state = tuple(tuple(map(torch.randn_like, s)) if isinstance(s, tuple) else torch.randn_like(s)
                      for s in lstm(x)[1])  # fmt: skip

    def run(negated: bool) -> list[Tensor]:
        leaves = []

        def given(t: Tensor) -> Tensor:
            leaves.append(t.detach().clone().requires_grad_(recorded))
            return torch._neg_view(-leaves[-1]) if negated else leaves[-1]

        hx = tuple(tuple(map(given, s)) if isinstance(s, tuple) else given(s) for s in state)
        weights = {name: given(p) for name, p in zip(names, lstm.parameters(), strict=True)}
        output, states = functional_call(lstm, weights, (given(x), hx), LONG[way])
        outs = [output, *(part for s in states for part in (s if isinstance(s, tuple) else (s,)))]
        if not recorded:
            return outs
        torch.manual_seed(0)
        grads = [torch.randn_like(out) for out in outs]
        return outs + list(torch.autograd.grad(outs, leaves, [torch._neg_view(-g) if negated else g for g in grads]))

    with torch.set_grad_enabled(recorded):
        for got, want in zip(run(True), run(False), strict=True):
            torch.testing.assert_close(got, want)
