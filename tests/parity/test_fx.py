"""The recorders of torch.fx: symbolic_trace sees a module of PyTorch's, make_fx an operator."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.parity.compare import BACKEND_NAMES, covering
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import cellgate


class Tagger(nn.Module):
    def __init__(self, lstm: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 5)
        self.lstms = nn.ModuleList([lstm])
        self.readout = nn.Linear(8, 3)

    def forward(self, tokens, hx=None):
        output, state = self.lstms[0](self.embedding(tokens), hx)
        return self.readout(output.relu()), state


def _nodes(traced: torch.fx.GraphModule) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in traced.graph.nodes]


def test_symbolic_trace_as_of_nn_lstm():
    """One node, with or without a state; the traced model runs, trains and is copied."""
    torch.manual_seed(0)
    theirs = Tagger(nn.LSTM(5, 8))
    ours = copy.deepcopy(theirs)
    ours.lstms[0] = cellgate.LSTM(5, 8)
    ours.load_state_dict(theirs.state_dict())
    traced = torch.fx.symbolic_trace(ours)
    assert _nodes(traced) == _nodes(torch.fx.symbolic_trace(theirs))
    tokens = torch.randint(20, (7, 4))
    state = tuple(torch.randn(1, 4, 8) for _ in range(2))
    for hx in (None, state):
        for model in (traced, copy.deepcopy(traced)):
            torch.testing.assert_close(model(tokens, hx), theirs(tokens, hx))
    traced(tokens, None)[0].square().sum().backward()
    theirs(tokens)[0].square().sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_symbolic_trace_with_lengths_and_reset():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = cellgate.LSTM(5, 8, cell="slstm")

        def forward(self, x, lengths, reset):
            return self.lstm(x, lengths=lengths, reset=reset)[0]

    model = Model()
    x, lengths, reset = torch.randn(7, 4, 5), torch.tensor([7, 0, 2, 3]), torch.rand(7, 4) < 0.3
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x, lengths, reset), model(x, lengths, reset))


def test_a_module_that_is_traced_itself_says_what_to_do():
    with pytest.raises(cellgate.InputError, match="trace a model that has it for a submodule"):
        torch.fx.symbolic_trace(cellgate.LSTM(5, 8))


WAYS = {
    "dense": lambda lstm, x: lstm(x),
    "lengths": lambda lstm, x: lstm(x, lengths=[7, 0, 2, 3]),
    "gates": lambda lstm, x: [part for layer in lstm.gates(x)[2] for part in (layer.i, layer.f, layer.c, layer.h)],
    "no_grad": torch.no_grad()(lambda lstm, x: lstm(x)),
}


@pytest.mark.parametrize(
    ("sizes", "way", "pre_dispatch", "backend"),
    covering(
        [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 3}],
        WAYS,
        [False, True],
        ["auto", *BACKEND_NAMES],
        rows=40,
    ),
    ids=str,
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_make_fx_records_what_runs(sizes: dict, way: str, pre_dispatch: bool, backend: str):
    """With real tensors: the engine's results are memory that is written to, which no operator of the graph would."""
    if backend == "cpu" and way == "gates":
        pytest.skip("has no operator for gates, and says so")
    torch.manual_seed(0)
    lstm = cellgate.LSTM(5, 8, **sizes)
    x, other = torch.randn(7, 4, 5), torch.randn(7, 4, 5)
    with cellgate.use_backend(backend):
        graph = make_fx(lambda x: WAYS[way](lstm, x), pre_dispatch=pre_dispatch)(x)
    torch.testing.assert_close(graph(other), WAYS[way](lstm, other), rtol=1e-4, atol=1e-5)


def test_make_fx_of_a_training_step():
    lstm = cellgate.LSTM(5, 8)

    def gradients(x):
        return torch.autograd.grad(lstm(x)[0].square().sum(), [x, *lstm.parameters()])

    x, other = (torch.randn(7, 4, 5, requires_grad=True) for _ in range(2))
    graph = make_fx(gradients)(x)
    for a, b in zip(graph(other), gradients(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif("cpu" not in BACKEND_NAMES, reason="asks for the native core, which is not built here")
def test_gates_on_the_engine_are_refused():
    lstm = cellgate.LSTM(5, 8)
    with cellgate.use_backend("cpu"), pytest.raises(cellgate.BackendError, match="make_fx"):
        make_fx(lambda x: lstm.gates(x)[2][0].f)(torch.randn(7, 4, 5))
