"""The engine keeps packed weights from call to call; whatever changes a weight, the next call must see it.

Each change is made after a call that filled the cache. Afterwards the module must agree with an nn.LSTM built from its
present weights, in every way a call can go: training and inference, one step and many, one row and several.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")

WAYS: dict[str, Callable[[nn.Module], torch.Tensor]] = {}


def _way(function: Callable[[nn.Module], torch.Tensor]) -> Callable[[nn.Module], torch.Tensor]:
    WAYS[function.__name__] = function
    return function


def _input(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@_way
def many_steps(module: nn.Module) -> torch.Tensor:
    return module(_input(30, 8, 12))[0]


@_way
def one_step(module: nn.Module) -> torch.Tensor:
    state = _input(module.num_layers, 1, 40)
    return module(_input(1, 1, 12), (state, state.neg()))[0]


@_way
def one_row(module: nn.Module) -> torch.Tensor:
    return module(_input(20, 12))[0]


@_way
def in_training(module: nn.Module) -> torch.Tensor:
    """As in training: autograd records the call."""
    return module(_input(12, 4, 12))[0].detach()


def run_all(module: nn.Module) -> list[torch.Tensor]:
    """Return the output of every way; all but the last compute without autograd."""
    with torch.no_grad():
        outputs = [WAYS[name](module) for name in ("many_steps", "one_step", "one_row")]
    return [*outputs, in_training(module)]


def present(module: nn.Module) -> nn.LSTM:
    """Return an nn.LSTM with the weights that the module has now, whatever they are derived from."""
    other = nn.LSTM(12, 40, module.num_layers)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            weight.copy_(getattr(module, name))
    return other


def assert_present(module: nn.Module) -> None:
    """The module computes with the weights it has now."""
    for way, ours, theirs in zip(WAYS, run_all(module), run_all(present(module)), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-6), way


def made(layers: int = 1) -> cellgate.LSTM:
    torch.manual_seed(2)
    return cellgate.LSTM(12, 40, layers)


def _optimiser(kind: type, **options: object) -> Callable[[nn.Module], object]:
    def step(module: nn.Module) -> None:
        optimiser = kind(module.parameters(), 0.1, **options)
        for _ in range(2):
            optimiser.zero_grad()
            many_steps(module).sum().backward()
            optimiser.step()

    return step


def _no_grad(change: Callable[[nn.Module], object]) -> Callable[[nn.Module], object]:
    return lambda module: torch.no_grad()(change)(module)


def _swapped(module: nn.Module) -> None:
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        module.load_state_dict({k: v * 0.5 for k, v in module.state_dict().items()})
        module.double().float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _other_tensor(module: nn.Module) -> None:
    """A new parameter, perhaps at the address of the old one."""
    weight = module.weight_hh_l0.detach() * 0.5
    del module.weight_hh_l0
    module.weight_hh_l0 = nn.Parameter(weight)


def _averaged(module: nn.Module) -> None:
    target = [torch.zeros_like(p) for p in module.parameters()]
    torch._foreach_lerp_([p.data for p in module.parameters()], target, 0.3)


def _set_storage(module: nn.Module) -> None:
    with torch.no_grad():
        module.weight_hh_l0.set_(torch.randn(160, 40) * 0.1)


def _bits(module: nn.Module) -> None:
    """One bit of one number."""
    module.weight_hh_l0.detach().numpy().view("int32")[77, 13] ^= 1 << 29


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "SGD": _optimiser(torch.optim.SGD, foreach=False),
    "SGD, momentum, foreach": _optimiser(torch.optim.SGD, momentum=0.9, foreach=True),
    "SGD, fused": _optimiser(torch.optim.SGD, fused=True),
    "Adam": _optimiser(torch.optim.Adam, foreach=False),
    "Adam, foreach": _optimiser(torch.optim.Adam, foreach=True),
    "Adam, fused": _optimiser(torch.optim.Adam, fused=True),
    "AdamW, fused": _optimiser(torch.optim.AdamW, fused=True),
    "load_state_dict": lambda m: m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()}),
    "load_state_dict, assign": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}, assign=True),
    "swap_module_params": _swapped,
    "vector_to_parameters": lambda m: nn.utils.vector_to_parameters(torch.randn(160 * 54) * 0.1, m.parameters()),
    "copy_": _no_grad(lambda m: m.weight_hh_l0.copy_(torch.randn(160, 40) * 0.1)),
    "in place": _no_grad(lambda m: m.weight_ih_l0.mul_(-1)),
    "in place, out=": _no_grad(lambda m: torch.mul(m.weight_ih_l0, 3, out=m.weight_ih_l0)),
    "one element": _no_grad(lambda m: m.weight_hh_l0.__setitem__((3, 5), 4.0)),
    "nn.init": lambda m: nn.init.orthogonal_(m.weight_hh_l0),
    "reset_parameters": lambda m: m.reset_parameters(),
    "data write": lambda m: m.weight_hh_l0.data.mul_(1.5),
    "data replaced": lambda m: setattr(m.weight_hh_l0, "data", torch.randn(160, 40) * 0.2),
    "data, set_": _set_storage,
    "data of a detached view": lambda m: m.weight_hh_l0.detach()[5:9].fill_(0.7),
    "numpy view": lambda m: m.weight_hh_l0.detach().numpy().__imul__(2.0),
    "one bit": _bits,
    "signs": lambda m: m.weight_hh_l0.data.neg_(),
    "rolled rows": lambda m: m.weight_hh_l0.data.copy_(m.weight_hh_l0.data.roll(1, 0)),
    "swapped columns": lambda m: m.weight_hh_l0.data.copy_(m.weight_hh_l0.data.flip(1)),
    "two rows exchanged": lambda m: m.weight_ih_l0.data.__setitem__([0, 1], m.weight_ih_l0.data[[1, 0]]),
    "bias": lambda m: m.bias_ih_l0.data.add_(1.0),
    "foreach": _averaged,
    "a new Parameter": _other_tensor,
    "rounded to bfloat16": lambda m: m.bfloat16().float(),
    "share_memory": lambda m: (m.share_memory(), m.weight_hh_l0.data.mul_(-0.5)),
    "pruning": lambda m: prune.l1_unstructured(m, "weight_hh_l0", amount=0.7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_by_the_next_call(change: str) -> None:
    module = made()
    before = run_all(module)
    assert_present(module)
    CHANGES[change](module)
    assert_present(module)
    for old, new in zip(before, run_all(module), strict=True):
        assert not torch.allclose(old, new, atol=1e-6), "the change was to change something"


@pytest.mark.parametrize("layers", [1, 2])
def test_a_long_training(layers: int) -> None:
    """Step after step, as in a loop that validates after each."""
    module = made(layers)
    optimiser = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(6):
        optimiser.zero_grad()
        many_steps(module).square().sum().backward()
        optimiser.step()
        assert_present(module)


def test_changed_and_changed_back() -> None:
    """The numbers of before give the results of before, to the bit, whether or not they are still in the cache."""
    module = made()
    before = run_all(module)
    for _ in range(3):
        module.weight_hh_l0.data.mul_(2)
        assert_present(module)
        module.weight_hh_l0.data.mul_(0.5)
        for old, new in zip(before, run_all(module), strict=True):
            assert torch.equal(old, new)


class _Scaled(nn.Module):
    """The parametrization w * factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.factor


def test_parametrization() -> None:
    module = made()
    scale = _Scaled()
    parametrize.register_parametrization(module, "weight_hh_l0", scale)
    assert_present(module)
    before = run_all(module)
    with torch.no_grad():
        scale.factor.fill_(2.0)
    assert_present(module)
    assert not torch.allclose(run_all(module)[0], before[0])
    with parametrize.cached():
        assert_present(module)
        assert_present(module)
    module.parametrizations.weight_hh_l0.original.data.neg_()
    assert_present(module)
    parametrize.remove_parametrizations(module, "weight_hh_l0")
    assert_present(module)


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_norms_of_weights(norm: str) -> None:
    module = made()
    assert_present(module)
    getattr(nn.utils.parametrizations, norm)(module, "weight_hh_l0")
    module.eval()  # spectral_norm iterates while training
    assert_present(module)
    first = run_all(module)[0]
    for original in module.parametrizations.weight_hh_l0.parameters():
        original.data.mul_(1.7)
        if original.dim() == 2:
            original.data[::2] += 0.3
    assert_present(module)
    assert not torch.allclose(run_all(module)[0], first)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
def test_old_weight_norm() -> None:
    """The hook that recomputes a plain tensor attribute before each call."""
    module = nn.utils.weight_norm(made(), "weight_hh_l0")
    assert_present(module)
    first = run_all(module)[0]
    module.weight_hh_l0_g.data.mul_(3)
    second = run_all(module)[0]
    assert_present(module)
    assert not torch.allclose(first, second)


def test_tied_weights() -> None:
    module, tied = made(), made()
    tied.weight_hh_l0 = module.weight_hh_l0
    assert_present(tied)
    module.weight_hh_l0.data.mul_(2)
    assert_present(module)
    assert_present(tied)


def test_copies_go_their_own_ways() -> None:
    module = made()
    run_all(module)
    twin = copy.deepcopy(module)
    before = run_all(twin)
    module.weight_hh_l0.data.mul_(2)
    assert_present(module)
    assert_present(twin)
    for old, new in zip(before, run_all(twin), strict=True):
        assert torch.equal(old, new)
    twin.weight_hh_l0.data.neg_()
    assert_present(module)
    assert_present(twin)


def test_functional_call() -> None:
    """Other weights for one call leave no trace, and are themselves seen."""
    module = made()
    before = run_all(module)[0]
    x = _input(30, 8, 12)
    for factor in (0.5, 2.0, 0.5):
        others = {name: p.detach() * factor for name, p in module.named_parameters()}
        with torch.no_grad():
            ours = torch.func.functional_call(module, others, (x,))[0]
            theirs = torch.func.functional_call(present(module), others, (x,))[0]
            assert torch.allclose(ours, theirs, atol=2e-6)
            assert torch.equal(run_all(module)[0], before)


def test_memory_used_again() -> None:
    """Modules made and dropped in turn lie at the same addresses with other numbers."""
    for seed in range(12):
        torch.manual_seed(seed)
        assert_present(cellgate.LSTM(12, 40))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")  # of Python 3.12 and JAX: there are several threads
def test_shared_memory_written_by_another_process() -> None:
    """No counter in this process notices the write of another."""
    module = made().share_memory()
    before = run_all(module)[0]
    child = os.fork()
    if child == 0:
        module.weight_hh_l0.data.mul_(-0.5)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert_present(module)
    assert not torch.allclose(run_all(module)[0], before)


def test_written_by_another_thread() -> None:
    """A call that begins after a write in another thread sees it."""
    module = made()
    run_all(module)
    for factor in (2.0, -1.0, 0.5):
        writer = threading.Thread(target=lambda f=factor: module.weight_hh_l0.data.mul_(f))
        writer.start()
        writer.join(60)
        assert_present(module)


@pytest.mark.parametrize("options", [{}, {"cell": "peephole"}], ids=["plain", "variant"])
def test_weights_written_while_they_are_packed_are_not_kept_under_another_s_name(options: dict[str, str]) -> None:
    """A thread computes while another writes: its results may be of either; a set that comes back is itself again."""
    module = cellgate.LSTM(64, 512, **options)
    x, stop, sets = _input(8, 32, 64), threading.Event(), []

    @torch.no_grad()
    def compute() -> None:
        while not stop.is_set():
            module(x)

    actor = threading.Thread(target=compute)
    actor.start()
    with torch.no_grad():
        for k in range(30):
            new = [torch.randn(p.shape, generator=torch.Generator().manual_seed(k)) * 0.05 for p in module.parameters()]
            for p, value in zip(module.parameters(), new, strict=True):
                p.copy_(value)
            sets.append(new)
            stop.wait(0.003 * (k % 3))
        stop.set()
        actor.join(60)
        assert not actor.is_alive()
        for new in sets:
            for p, value in zip(module.parameters(), new, strict=True):
                p.copy_(value)
            with cellgate.use_backend("reference"):
                want = module(x)[0]
            assert torch.allclose(module(x)[0], want, atol=1e-5)


def test_threads_that_change_their_own_weights() -> None:
    """Threads change and run modules of their own; none sees another's weights."""
    wrong = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        module = cellgate.LSTM(12, 40)
        for _ in range(12):
            for p in module.parameters():
                p.data.copy_(torch.randn(p.shape, generator=generator) * 0.2)
            with torch.no_grad():
                if not torch.allclose(many_steps(module), many_steps(present(module)), atol=2e-6):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_the_cache_is_bounded() -> None:
    """Thousands of sets of weights do not stay for ever."""
    native = cpu.native()
    native.clear_cache()
    for _ in range(300):
        with torch.no_grad():
            many_steps(cellgate.LSTM(12, 8))
    entries, size, _, _ = native.cache_statistics()
    assert 0 < entries <= 256
    assert size < 2**29
    native.clear_cache()
    assert native.cache_statistics()[:2] == (0, 0)
