"""The native backward pass: every gradient, on every instruction set, with every save mode, and nothing out of bounds.

Other tests compare whole layers with nn.LSTM; here the engine's own backward is compared with the reference in float64,
in the arrangements that its kernels treat as cases of their own.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cellgate.backends import Inputs, Problem, cpu, reference
from cellgate.backends.cpu_autograd import run_recorded
from cellgate.equations import LSTMWeights

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")
ISAS = [] if cpu.unavailable() else list(cpu.native().isas())
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-13}


@dataclasses.dataclass(frozen=True)
class Case:
    """Sizes of a stack and which of its options are in use."""

    steps: int
    batch: int
    inputs: int
    hidden: tuple[int, ...]
    proj: tuple[int, ...] = ()
    directions: int = 1
    bias: bool = True
    state: bool = True
    lengths: bool = False
    reset: bool = False
    dropout: bool = False
    gates: bool = False
    batch_first: bool = False


CASES = {
    "one step, one row, one unit": Case(1, 1, 1, (1,)),
    "no input features": Case(3, 3, 0, (17,)),
    "one row": Case(63, 1, 20, (100,)),
    "odd sizes": Case(7, 33, 3, (17,), bias=False, state=False),
    "one step of many rows": Case(1, 16, 20, (64,), state=False),
    "few steps": Case(3, 32, 20, (100,), state=False),
    "few steps in two directions": Case(3, 5, 20, (40,), directions=2),
    "two panels and a part": Case(5, 7, 20, (131,)),
    "two features, ragged in two directions": Case(9, 19, 2, (33,), directions=2, lengths=True),
    "four features": Case(5, 7, 4, (131,)),
    "panels read in pieces": Case(2, 9, 20, (300,)),
    "gradients written panel by panel": Case(10, 14, 3, (520,), state=False),
    "several chunks": Case(80, 33, 5, (24,), directions=2),
    "a size per layer": Case(9, 5, 4, (33, 16, 7), directions=2),
    "batch first": Case(9, 5, 4, (33,), batch_first=True),
    "ragged": Case(40, 19, 4, (33,), lengths=True),
    "ragged in two directions": Case(40, 19, 4, (33, 9), directions=2, lengths=True),
    "resets": Case(23, 6, 4, (18,), reset=True),
    "resets in two directions, ragged": Case(23, 6, 4, (18,), directions=2, reset=True, lengths=True),
    "projection": Case(11, 9, 4, (35, 20), proj=(5, 19), directions=2),
    "projection, ragged, reset": Case(11, 9, 4, (35,), proj=(5,), lengths=True, reset=True),
    "dropout": Case(6, 5, 4, (9, 17, 33), directions=2, dropout=True),
    "trace": Case(6, 5, 4, (9, 17), directions=2, dropout=True, gates=True),
    "trace, ragged": Case(6, 5, 4, (17,), lengths=True, gates=True),
    "no steps": Case(0, 3, 4, (5,)),
    "no rows": Case(3, 0, 4, (5,), lengths=True),
}


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this CPU has; the one before is put back."""
    native = cpu.native()
    before = native.isa()
    native.force_isa(request.param)
    assert native.isa() == request.param
    yield request.param
    native.force_isa(before)


@pytest.fixture
def poison() -> Iterator[None]:
    """Memory from torch.empty is full of NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def build(case: Case, dtype: torch.dtype, memory: str = "fast") -> tuple[Problem, Inputs]:
    """Return a problem and random float64 tensors of a case, rounded to dtype."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype).requires_grad_()

    proj = case.proj or (0,) * len(case.hidden)
    shape = (case.batch, case.steps) if case.batch_first else (case.steps, case.batch)
    x = draw(*shape, case.inputs)
    lengths = reset = None
    if case.lengths:
        lengths = torch.randint(0, case.steps + 1, (case.batch,), generator=random)
    if case.reset:
        reset = torch.rand(case.steps, case.batch, generator=random) < 0.2
    weights, h0, c0, size = [], [], [], case.inputs
    for hidden, p in zip(case.hidden, proj, strict=True):
        out, scale = p or hidden, hidden**-0.5
        cells = []
        for _ in range(case.directions):
            tensors = [draw(4 * hidden, size), draw(4 * hidden, out)]
            tensors += [draw(4 * hidden), draw(4 * hidden)] if case.bias else [None, None]
            tensors.append(draw(p, hidden) if p else None)
            cells.append(LSTMWeights(*(None if t is None else (t * scale).detach().requires_grad_() for t in tensors)))
        weights.append(cells)
        h0.append(draw(case.directions, case.batch, out))
        c0.append(draw(case.directions, case.batch, hidden))
        size = out * case.directions
    uniform = len(set(case.hidden)) == 1 and len(set(proj)) == 1
    h0, c0 = ((torch.cat(s).detach().requires_grad_() if uniform else tuple(s)) for s in (h0, c0))
    masks = None
    if case.dropout:
        widths = [(p or h) * case.directions for h, p in zip(case.hidden, proj, strict=True)][:-1]
        masks = [(torch.rand(case.steps, case.batch, w, generator=random) < 0.7).to(dtype) / 0.7 for w in widths]
    problem = Problem(
        steps=case.steps,
        batch=case.batch,
        input_size=case.inputs,
        hidden_sizes=case.hidden,
        proj_sizes=proj,
        directions=case.directions,
        bias=case.bias,
        dtype=dtype,
        device="cpu",
        needs_grad=True,
        lengths=case.lengths,
        reset=case.reset,
        dropout=0.3 if case.dropout else 0.0,
        gates=case.gates,
        memory=memory,
    )
    inputs = Inputs(x, h0 if case.state else None, c0 if case.state else None, weights, lengths, None, reset, masks)
    return problem, inputs


def leaves_of(inputs: Inputs) -> list[Tensor]:
    """Return every tensor of which a gradient is due."""
    states = [] if inputs.h0 is None else [*parts(inputs.h0), *parts(inputs.c0)]
    return [inputs.x, *states, *(w for layer in inputs.weights for cell in layer for w in cell if w is not None)]


def parts(state: Tensor | tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
    """Return a state as a tuple of tensors."""
    return () if state is None else (state,) if isinstance(state, Tensor) else state


def gradients(result, leaves: list[Tensor]) -> list[Tensor]:
    """Differentiate a loss in which every part of the result has a random share."""
    outputs = [result.output, *parts(result.h_n), *parts(result.c_n)]
    for gates in result.gates or ():
        outputs += [getattr(gates, field.name) for field in dataclasses.fields(gates)]
    random = torch.Generator().manual_seed(2)
    shares = [torch.randn(o.shape, generator=random, dtype=torch.float64).to(o.dtype) for o in outputs]
    loss = torch.stack([(o * s).sum() for o, s in zip(outputs, shares, strict=True)]).sum()
    return list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))


def on_reference(case: Case) -> list[Tensor]:
    """Return the gradients of a case by the reference in float64."""
    problem, inputs = build(case, torch.float64)
    if case.batch_first:
        leaf = inputs.x
        inputs.x = leaf.transpose(0, 1)
        return gradients(reference.run(problem, inputs), [leaf, *leaves_of(inputs)[1:]])
    return gradients(reference.run(problem, inputs), leaves_of(inputs))


def on_engine(case: Case, dtype: torch.dtype, memory: str = "fast", threads: int = 1, stack=None) -> list[Tensor]:
    """Return the gradients of a case by the engine."""
    problem, inputs = build(case, dtype, memory)
    leaves = leaves_of(inputs)
    if case.lengths and case.steps and case.batch:
        # Padding may hold anything.
        past = torch.arange(case.steps).unsqueeze(1) >= inputs.lengths
        inputs.x = torch.where(past.unsqueeze(-1), torch.nan, inputs.x)
    if case.batch_first:
        inputs.x = inputs.x.transpose(0, 1)
    stack = cpu.stack_of(problem) if stack is None else stack(problem)
    return gradients(run_recorded(stack, problem, inputs, threads), leaves)


def assert_equal(got: list[Tensor], want: list[Tensor], dtype: torch.dtype) -> None:
    """Compare every gradient, relative to its own largest entry; in float32 inputs were rounded before, by so much."""
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.shape == b.shape
        if a.numel():
            error = ((a.double() - b).abs().max() / (1 + b.abs().max())).item()
            assert error < ROUNDING[dtype], f"gradient {k} of shape {tuple(a.shape)}: error {error:.1e}"


@pytest.mark.parametrize("dtype", ROUNDING, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", CASES)
def test_gradients(isa: str, poison: None, name: str, dtype: torch.dtype) -> None:
    """Every gradient is that of the reference, though all memory handed to the engine was NaN."""
    case = CASES[name]
    assert_equal(on_engine(case, dtype), on_reference(case), dtype)


@pytest.mark.parametrize("memory", ["lean", "minimal"])
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if not case.gates])
def test_save_modes(isa: str, poison: None, name: str, memory: str) -> None:
    """What a save mode does not keep is computed again to the same gradients."""
    case = CASES[name]
    assert_equal(on_engine(case, torch.float64, memory), on_reference(case), torch.float64)


# Large enough that a second and third thread are used: batch split, directions beside each other, units split.
LARGE = {
    "batch split": Case(20, 64, 24, (96,)),
    "batch split, ragged": Case(30, 64, 24, (96,), lengths=True, reset=True),
    "directions": Case(21, 40, 24, (96,), directions=2),
    "directions, ragged": Case(21, 40, 24, (96,), directions=2, lengths=True),
    "directions, projection": Case(21, 40, 24, (96,), proj=(40,), directions=2),
    "few rows": Case(3, 32, 100, (200,), state=False),
    "few rows, directions": Case(4, 20, 100, (200,), directions=2),
    "one step, units split": Case(1, 8, 40, (360,)),
    "units split": Case(9, 8, 40, (360,)),
    "large gradients, written once": Case(16, 40, 40, (360,)),
    "units split, projection": Case(9, 8, 40, (600,), proj=(300,)),
    "units split, ragged": Case(9, 24, 40, (360,), lengths=True),
    "many rows": Case(40, 40, 90, (100,), lengths=True),
}


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize("name", LARGE)
def test_threads(poison: None, name: str, memory: str, threads: int) -> None:
    """Threads share the work without changing a gradient, and twice the same call gives twice the same bits."""
    case = LARGE[name]
    once, again = (on_engine(case, torch.float64, memory, threads) for _ in range(2))
    assert_equal(once, on_reference(case), torch.float64)
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a, b)


class GuardedStack:
    """A native stack whose backward writes into guarded buffers, which are checked and copied to where they belong."""

    GUARD = 64

    def __init__(self, problem: Problem, sizes: dict[str, list[int]]) -> None:
        """Take the sizes of the outputs in scalars: dx, dweights, dh0, dc0."""
        self.stack, self.sizes, self.checked = cpu.stack_of(problem), sizes, 0
        self.saved_size, self.forward = self.stack.saved_size, self.stack.forward

    def backward(self, *arguments) -> None:
        *before, dx, dx_step, dx_row, dweights, dh0, dc0 = arguments
        buffers: list[tuple[int, Tensor]] = []

        def guarded(address: int, size: int) -> int:
            buffer = torch.full((size + 2 * self.GUARD,), 12345.0)
            buffers.append((address, buffer))
            return buffer.data_ptr() + self.GUARD * buffer.element_size()

        swapped = [
            tuple(guarded(a, n) for a, n in zip(addresses, self.sizes[key], strict=True))
            for key, addresses in (("dx", (dx,)), ("dweights", dweights), ("dh0", dh0), ("dc0", dc0))
        ]
        self.stack.backward(*before, swapped[0][0], dx_step, dx_row, *swapped[1:])
        for address, buffer in buffers:
            inner = buffer[self.GUARD : -self.GUARD].clone()
            for guard in (buffer[: self.GUARD], buffer[-self.GUARD :]):
                assert (guard == 12345.0).all(), "backward wrote outside an output"
            ctypes.memmove(address, inner.data_ptr(), inner.numel() * inner.element_size())
            self.checked += 1


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if len(case.hidden) == 1 and case.steps * case.batch])
def test_canaries(isa: str, name: str) -> None:
    """No output is written outside its bounds, and all of it is written."""
    case = dataclasses.replace(CASES[name], state=True)
    guards = []

    def guarded(problem: Problem) -> GuardedStack:
        _, inputs = build(case, torch.float32)
        rest = leaves_of(inputs)[3:]
        sizes = {
            "dx": [inputs.x.numel()],
            "dweights": [w.numel() for w in rest],
            "dh0": [parts(inputs.h0)[0].numel()],
            "dc0": [parts(inputs.c0)[0].numel()],
        }
        guards.append(GuardedStack(problem, sizes))
        return guards[0]

    assert_equal(on_engine(case, torch.float32, stack=guarded), on_reference(case), torch.float32)
    assert guards[0].checked >= 5


def test_only_what_is_wanted_is_computed() -> None:
    """Frozen weights and a constant input get no gradient; the others are the same as if all were wanted."""
    case = Case(7, 5, 4, (17, 17), directions=2)
    problem, inputs = build(case, torch.float64)
    leaves = leaves_of(inputs)
    everything = gradients(run_recorded(cpu.stack_of(problem), problem, inputs, 1), leaves)
    for k in (0, 3, 4):
        leaves[k].requires_grad_(False)
    wanted = [k for k, leaf in enumerate(leaves) if leaf.requires_grad]
    some = gradients(run_recorded(cpu.stack_of(problem), problem, inputs, 1), [leaves[k] for k in wanted])
    for k, grad in zip(wanted, some, strict=True):
        assert torch.equal(grad, everything[k])


def test_gradient_of_gradient() -> None:
    """A recorded backward pass is exact, also where one tensor stands in two places."""
    case = Case(3, 2, 4, (4,))
    problem, inputs = build(case, torch.float64)
    weights = inputs.weights[0][0]
    stack = cpu.stack_of(problem)

    def run(x: Tensor, w: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
        tied = Inputs(x, h0, c0, [[weights._replace(w_ih=w, w_hh=w)]])
        return run_recorded(stack, problem, tied, 1).output

    tensors = (inputs.x, weights.w_ih, inputs.h0, inputs.c0)
    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


def test_writing_to_what_backward_needs_is_noticed() -> None:
    """In-place changes of the output before backward raise, as with any PyTorch operator."""
    problem, inputs = build(Case(3, 2, 4, (4,)), torch.float64)
    output = run_recorded(cpu.stack_of(problem), problem, inputs, 1).output
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
