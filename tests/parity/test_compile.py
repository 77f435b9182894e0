"""torch.compile and torch.export: one operator in the graph, any T and B, the backend chosen when the graph runs."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Sequence

import pytest
import torch
from tests.parity.compare import BACKEND_NAMES, only
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import cellgate
from cellgate.backends.dispatch import BACKENDS

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*. is deprecated:DeprecationWarning")

FLAGS = list(itertools.product((1, 2), (False, True), (False, True), (False, True)))
RESET = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1]], dtype=torch.bool)
WAYS = {
    "dense": {},
    "lengths list": {"lengths": [2, 5, 0]},
    "lengths tensor": {"lengths": torch.tensor([2, 5, 0])},
    "reset": {"reset": RESET},
    "both": {"lengths": [2, 5, 0], "reset": RESET},
}


@pytest.fixture(autouse=True)
def _no_graphs_of_others():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def layer(flags: tuple, **kwargs) -> cellgate.LSTM:
    layers, batch_first, bidirectional, projected = flags
    proj = 2 if projected else 0
    return cellgate.LSTM(4, 6, layers, True, batch_first, 0.0, bidirectional, proj, **kwargs)


def gradients(module: nn.Module, result, leaves: Sequence[Tensor] = ()) -> list[Tensor]:
    output, (h_n, c_n) = result
    parts = [*h_n, *c_n] if isinstance(h_n, tuple) else [h_n, c_n]
    loss = output.square().sum() + sum(s.sum() for s in parts)
    return list(torch.autograd.grad(loss, [*leaves, *module.parameters()]))


# The graph is one and the same whichever backend runs it: each set of flags on one of them.
@pytest.mark.parametrize(
    ("flags", "backend"), list(zip(FLAGS[::2], itertools.cycle(BACKEND_NAMES), strict=False)), ids=str
)
def test_full_graph_with_gradients(flags: tuple, backend: str):
    lstm = layer(flags)
    x = torch.randn(3, 5, 4, requires_grad=True)
    rows, batch = len(lstm.all_weights), 3 if lstm.batch_first else 5
    hx = tuple(torch.randn(rows, batch, size, requires_grad=True) for size in (lstm.proj_size or 6, 6))
    compiled = torch.compile(lstm, backend="aot_eager", fullgraph=True)
    for state in (None, hx):
        leaves = [x, *(state or ())]
        with only(backend):
            want = lstm(x, state)
        with only(backend):
            got = compiled(x, state)
            found = gradients(lstm, got, leaves)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(found, gradients(lstm, want, leaves), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_ragged_and_reset(way: str):
    lstm = cellgate.LSTM(4, [6, 3], bidirectional=True)
    x, kwargs = torch.randn(5, 3, 4), WAYS[way]
    want = lstm(x, **kwargs)
    got = torch.compile(lstm, backend="aot_eager", fullgraph=True)(x, **kwargs)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradients(lstm, got), gradients(lstm, want), rtol=1e-4, atol=1e-5)


# PyTorch's inductor looks for this one.
CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")


@pytest.mark.skipif(not shutil.which(CXX), reason="PyTorch's inductor compiles C++, and there is no compiler")
def test_inductor():
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True)
    model = nn.Sequential(lstm)
    x = torch.randn(5, 3, 4)
    compiled = torch.compile(lambda x: model(x.sin())[0].tanh(), fullgraph=True)
    want = model(x.sin())[0].tanh()
    got = compiled(x)
    torch.testing.assert_close(got, want)
    for a, b in zip(
        *(torch.autograd.grad(o.square().sum(), list(lstm.parameters())) for o in (got, want)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not shutil.which(CXX), reason="PyTorch's inductor compiles C++, and there is no compiler")
@pytest.mark.parametrize("sizes", [{}, {"proj_size": 3}, {"cell": "slstm"}, {"dtype": torch.bfloat16}], ids=str)
def test_inductor_reads_gradients_as_they_lie(sizes: dict):
    """Batch-major input that needs a gradient, as it comes from an embedding."""
    torch.manual_seed(0)
    lstm = cellgate.LSTM(4, 6, batch_first=True, **sizes)
    x = torch.randn(3, 5, 4, dtype=lstm.weight_hh_l0.dtype)
    compiled = torch.compile(lambda x: lstm(x.sin())[0].tanh(), fullgraph=True, dynamic=True)
    for one in (x, x[:2, :3], x):
        leaf, own = (one.clone().requires_grad_() for _ in range(2))
        compiled(leaf).square().sum().backward()
        lstm(own.sin())[0].tanh().square().sum().backward()
        tolerance = 2e-2 if x.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(leaf.grad, own.grad, rtol=tolerance, atol=tolerance)


def test_no_graph_for_every_length():
    counter = CompileCounterWithBackend("aot_eager")
    lstm = cellgate.LSTM(4, 6)
    compiled = torch.compile(lstm, backend=counter, fullgraph=True)
    for t, b in ((5, 3), (7, 2), (9, 4), (63, 5)):
        x = torch.randn(t, b, 4)
        torch._dynamo.mark_dynamic(x, (0, 1))
        torch.testing.assert_close(compiled(x), lstm(x))
    assert counter.frame_count == 1
    assert counter.op_count < 20, "steps must not be nodes of the graph"


def test_the_backend_is_chosen_when_the_graph_runs():
    lstm = cellgate.LSTM(4, 6)
    compiled = torch.compile(lstm, backend="eager", fullgraph=True)
    x = torch.randn(5, 3, 4)
    for name in BACKENDS:
        if cellgate.info().backends[name] == "ready":
            with only(name):
                compiled(x)


def test_a_length_out_of_range_is_still_an_error():
    lstm = cellgate.LSTM(4, 6)
    compiled = torch.compile(lstm, backend="eager", fullgraph=True)
    with pytest.raises(cellgate.InputError, match=r"lengths\[1\]: expected 0 to 5 .* got 6"):
        compiled(torch.randn(5, 3, 4), lengths=torch.tensor([1, 6, 2]))


def test_wrong_arguments_are_the_same_errors():
    compiled = torch.compile(cellgate.LSTM(4, 6), backend="eager")
    with pytest.raises(cellgate.ShapeError, match="expected 4 features"):
        compiled(torch.randn(5, 3, 3))


def test_packed_input_breaks_the_graph_and_works():
    lstm = cellgate.LSTM(4, 6)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 3, 4), [5, 3, 1])
    got = torch.compile(lstm, backend="eager")(packed)
    torch.testing.assert_close(got, lstm(packed))


def test_dropout_draws_in_the_graph():
    lstm = cellgate.LSTM(4, 6, 2, dropout=0.5)
    compiled = torch.compile(lstm, backend="aot_eager", fullgraph=True)
    x = torch.randn(5, 3, 4)
    torch.manual_seed(3)
    want = lstm(x)
    torch.manual_seed(3)
    torch.testing.assert_close(compiled(x), want)
    torch.testing.assert_close(compiled.eval()(x), lstm.eval()(x))


def test_autocast_inside_a_graph():
    lstm = cellgate.LSTM(4, 6, 2)
    x = torch.randn(5, 3, 4)

    def run(x):
        with torch.autocast("cpu", torch.bfloat16):
            return lstm(x)[0]

    got = torch.compile(run, backend="aot_eager", fullgraph=True)(x)
    assert got.dtype == run(x).dtype
    torch.testing.assert_close(got.float(), lstm(x)[0], rtol=0, atol=0.03)
    got.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in lstm.parameters())


def test_vmap_inside_a_graph():
    lstm = cellgate.LSTM(4, 6)
    x = torch.randn(2, 5, 3, 4)
    compiled = torch.compile(lambda x: torch.vmap(lambda v: lstm(v)[0])(x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), torch.stack([lstm(v)[0] for v in x]))


def test_cell():
    cell = cellgate.LSTMCell(4, 6)
    x = torch.randn(3, 4)
    got = torch.compile(cell, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(got, cell(x))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("flags", FLAGS[::5], ids=str)
def test_export_with_any_t_and_b(flags: tuple, strict: bool):
    lstm = layer(flags)
    t, b = torch.export.Dim("t"), torch.export.Dim("b")
    axes = (b, t) if lstm.batch_first else (t, b)
    program = torch.export.export(
        lstm, (torch.randn(3, 5, 4),), dynamic_shapes=({0: axes[0], 1: axes[1]},), strict=strict
    )
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    assert sum("cellgate.lstm" in str(node.target) for node in calls) == 1
    assert len(calls) < 30, "steps must not be nodes of the graph"
    for size in ((2, 2), (7, 11), (30, 4)):
        x = torch.randn(*size, 4)
        torch.testing.assert_close(program.module()(x), lstm(x))


def test_exported_program_trains_and_is_saved(tmp_path):
    lstm = cellgate.LSTM(4, 6)
    x = torch.randn(5, 3, 4)
    program = torch.export.export(lstm, (x,), dynamic_shapes=({0: torch.export.Dim("t")},))
    torch.export.save(program, tmp_path / "lstm.pt2")
    loaded = torch.export.load(tmp_path / "lstm.pt2").module()
    torch.testing.assert_close(loaded(x.repeat(3, 1, 1)), lstm(x.repeat(3, 1, 1)))
    output, _ = loaded(x)
    output.square().sum().backward()
    lstm(x)[0].square().sum().backward()
    grads = dict(loaded.named_parameters())
    for name, p in lstm.named_parameters():
        torch.testing.assert_close(grads[name].grad, p.grad)


def test_the_operator_keeps_pytorchs_rules():
    """torch.library.opcheck: schema, autograd registration, fake kernel and dynamic shapes agree."""
    # Of these sizes no array of the block for backward is padded, so that two runs agree in all of it.
    lstm = cellgate.LSTM(4, 8, 2)
    weights = [p.detach().requires_grad_() for p in lstm.parameters()]
    x = torch.randn(2, 4, 4, requires_grad=True)
    state = [torch.randn(2, 4, 8, requires_grad=True) for _ in range(2)]
    sizes = (2, 4, [8, 8], [0, 0], 1, True, 0.0, "fast")
    arguments = (x, state, weights, [], None, None, None, *sizes, "lstm", False, "", False, 0.0, "", "", True)
    torch.library.opcheck(torch.ops.cellgate.lstm.default, arguments)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("hidden", [6, [6, 3]], ids=str)
def test_trace_by_the_jit(hidden, grad: bool):
    """Deprecated by PyTorch, still what older exporters use. What the engine writes would be taken for constants."""
    lstm = cellgate.LSTM(4, hidden, 2, bidirectional=True)
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(lstm, torch.randn(5, 3, 4))  # which traces again, without autograd, and compares
        for t, b in ((5, 3), (7, 2)):
            x = torch.randn(t, b, 4)
            torch.testing.assert_close(traced(x), lstm(x))
    with cellgate.use_backend("cpu"), pytest.raises(cellgate.BackendError):
        torch.jit.trace(lstm, torch.randn(5, 3, 4), check_trace=False)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("sizes", [{}, {"proj_size": 2}, {"cell": "peephole"}], ids=str)
def test_a_trace_says_that_it_trains_where_the_module_does(sizes: dict, train: bool):
    """As that of nn.LSTM; whether autograd was on at the moment makes no other graph."""
    lstm, x = cellgate.LSTM(4, 6, **sizes).train(train), torch.randn(5, 3, 4)
    traced = torch.jit.trace(lstm, x)  # which traces again, without autograd, and compares
    graph = traced.inlined_graph
    calls = graph.findAllNodes("aten::lstm")
    assert len(calls) == (0 if "cell" in sizes else 1)
    for call in calls:
        bias, layers, dropout, trains, *_ = (constant.toIValue() for constant in list(call.inputs())[-6:])
        assert (bias, layers, dropout, trains) == (True, 1, 0.0, train)
    got, want = (torch.autograd.grad(f(x)[0].sum(), list(lstm.parameters())) for f in (traced, lstm))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize("name", ["cpu", "aten"])
def test_training_keeps_what_the_engine_needs_and_runs_forward_once(memory: str, name: str, monkeypatch):
    if name not in cellgate.info().backends or BACKENDS["cpu"].unavailable():
        pytest.skip("the native core is not built")
    runs = []
    for module in BACKENDS.values():
        run = module.run
        monkeypatch.setattr(module, "run", lambda *call, run=run, of=module.NAME: runs.append(of) or run(*call))
    lstm = cellgate.LSTM(4, [6, 40], dropout=0.5, bidirectional=True, proj_size=[3, 0], memory=memory)
    compiled = torch.compile(lstm, backend="aot_eager", fullgraph=True)
    for steps in (21, 5, 40):
        x = torch.randn(steps, 3, 4, requires_grad=True)
        with cellgate.use_backend(name):
            torch.manual_seed(1)
            want = gradients(lstm, lstm(x), [x])
            runs.clear()
            torch.manual_seed(1)
            got = gradients(lstm, compiled(x), [x])
        assert runs == ([name] if name == "cpu" else [name, name])
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w)


def test_an_exported_program_keeps_nothing_for_training():
    program = torch.export.export(cellgate.LSTM(4, 6), (torch.randn(5, 3, 4),), strict=False)
    (node,) = [n for n in program.graph.nodes if n.target == torch.ops.cellgate.lstm.default]
    assert node.args[-1] is False
    assert node.meta["val"][-1].numel() == 0
