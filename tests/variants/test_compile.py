"""torch.compile and torch.export of variants: one operator in the graph, forward and backward, any T and B."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.variants.cases import SHAPES, VARIANTS, assert_close, make, on_backend
from torch._dynamo.testing import CompileCounterWithBackend

import cellgate
from cellgate.backends import cpu


@pytest.fixture(autouse=True)
def _no_graphs_of_others() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients(variant: str) -> None:
    """In evaluation, where nothing is drawn but zoneout mixes; every gradient goes through the operator's backward."""
    case = make(VARIANTS[variant], SHAPES["two layers, two directions"] | {"proj_size": 3})
    case.module.eval()
    want, _ = on_backend(case, "auto")
    module, case.module = case.module, torch.compile(case.module, backend="aot_eager", fullgraph=True)
    case.module.named_parameters = module.named_parameters
    got, _ = on_backend(case, "auto")
    assert_close(got, want, 1e-12)


class Counted:
    """The native module, with the calls of its kernels for variants counted."""

    def __init__(self) -> None:
        self.forward, self.backward = 0, 0

    def variant_forward(self, *arguments) -> None:
        self.forward += 1
        cpu.native().variant_forward(*arguments)

    def variant_backward(self, *arguments) -> None:
        self.backward += 1
        cpu.native().variant_backward(*arguments)


@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize(
    "variant", ["peephole", "zoneout", "layer norm", "slstm", "full gate recurrence", "residual", "highway"]
)
@pytest.mark.parametrize("ragged", [False, True], ids=["dense", "ragged"])
def test_training_runs_forward_once(variant: str, memory: str, ragged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are those outside a graph, for every length; the kernels run once for each direction of a layer."""
    counted, run = Counted(), cpu.cpu_variant.run
    monkeypatch.setattr(cpu.cpu_variant, "run", lambda _, *rest: run(counted, *rest))
    connected = variant in ("residual", "highway")
    module = make(VARIANTS[variant], {"num_layers": 2, "bidirectional": not connected}).module.eval()
    module.memory = memory
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    kernels = 2 if connected else 4
    for steps in (21, 5, 40):
        x = torch.randn(steps, 3, 3, dtype=torch.float64, requires_grad=True)
        found = []
        for layer in (module, compiled):
            counted.forward = counted.backward = 0
            with cellgate.use_backend("cpu"):
                output, (h_n, c_n) = layer(x, lengths=torch.tensor([steps, steps // 2, 1]) if ragged else None)
                loss = output.square().sum() + h_n.sum() + c_n.sin().sum()
                found.append([output.detach(), *torch.autograd.grad(loss, [x, *module.parameters()])])
        assert (counted.forward, counted.backward) == (kernels, kernels)
        for got, want in zip(found[1], found[0], strict=True):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    "variant", ["everything random", "layer norm, peepholes, zoneout", "slstm with noise", "highway"]
)
def test_training_draws_in_the_graph(variant: str) -> None:
    """Numbers of 64 bits cannot be drawn in a graph, so masks differ from those outside; but not from run to run."""
    case = make(VARIANTS[variant], {}, sizes=(9, 4, 3, 5))
    compiled = torch.compile(case.module, backend="aot_eager", fullgraph=True)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        x = case.x.clone().requires_grad_()
        output = compiled(x)[0]
        found.append([output.detach(), *torch.autograd.grad(output.sum(), [x, *case.module.parameters()])])
    for one, other in zip(found[0], found[1], strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other)
    if case.module.variant.draws:
        assert not torch.equal(found[0][0], found[2][0])


@pytest.mark.parametrize("variant", ["peephole", "zoneout", "layer norm", "slstm", "full gate recurrence", "highway"])
def test_one_node_for_every_length(variant: str) -> None:
    module = make(VARIANTS[variant], {}).module.eval()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(module, backend=counter, fullgraph=True)
    for steps, batch in ((5, 3), (7, 2), (40, 4)):
        x = torch.randn(steps, batch, 3, dtype=torch.float64)
        torch._dynamo.mark_dynamic(x, (0, 1))
        torch.testing.assert_close(compiled(x)[0], module(x)[0])
    assert counter.frame_count == 1
    calls = [node for node in counter.graphs[0].graph.nodes if node.target == torch.ops.cellgate.lstm.default]
    assert len(calls) == 1


@pytest.mark.parametrize("variant", ["peephole", "rms norm", "slstm", "residual"])
def test_export(variant: str) -> None:
    module = make(VARIANTS[variant], {"num_layers": 2}).module.eval()
    sizes = {0: torch.export.Dim("T"), 1: torch.export.Dim("B")}
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    program = torch.export.export(module, (x,), dynamic_shapes={"input": sizes}, strict=False)
    for steps, batch in ((5, 3), (11, 2)):
        x = torch.randn(steps, batch, 3, dtype=torch.float64)
        torch.testing.assert_close(program.module()(x)[0], module(x)[0])


def test_meta_and_the_operators_rules() -> None:
    module = cellgate.LSTM(3, 4, cell="slstm", device="meta")
    assert module(torch.zeros(5, 2, 3, device="meta"))[1][1].shape == (1, 2, 12)
    real = cellgate.LSTM(4, 8, cell="cifg", peephole=True, dtype=torch.float64)
    weights = [p.detach().requires_grad_() for p in real.parameters()]
    x = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(1, 4, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    sizes = (2, 4, [8], [0], 1, True, 0.0, "fast")
    arguments = (x, state, weights, [], None, None, None, *sizes, "cifg", True, "", False, 0.0, "", "", True)
    torch.library.opcheck(torch.ops.cellgate.lstm.default, arguments)


def test_penalty_of_ragged_output_in_a_graph() -> None:
    module, x, lengths = cellgate.LSTM(3, 4), torch.randn(6, 3, 3), torch.tensor([6, 2, 0])

    def loss(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        output, _ = module(x, lengths=lengths)
        return module.penalty(output, lengths=lengths)

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, lengths), loss(x, lengths))
