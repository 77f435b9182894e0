"""The short way of ragged, packed and reset calls: when it is taken, and that it is the full way in every number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import cellgate
from cellgate.backends import cpu, cpu_plain
from cellgate.nn import call as door

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")

KINDS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True, "bias": False},
    {"proj_size": 3, "num_layers": 2, "bidirectional": True},
    {"dtype": torch.float64},
]
T, B = 23, 6
LENGTHS = [23, 4, 0, 17, 1, 9]
RESET = torch.zeros(T, B, dtype=torch.bool).index_put_(
    (torch.tensor([0, 5, 22, 5]), torch.tensor([1, 0, 3, 4])), torch.tensor(True)
)


def extent_of(kind: str, module: nn.LSTM, x: Tensor) -> tuple[Any, dict[str, Any]]:
    """Return the input and the keywords of a call."""
    reset = RESET.T if module.batch_first else RESET
    lengths = torch.tensor(LENGTHS)
    if kind == "packed":
        return pack_padded_sequence(x, lengths.clamp(min=1), module.batch_first, enforce_sorted=False), {}
    if kind == "sorted":
        falling = lengths.clamp(min=1).sort(descending=True).values
        return pack_padded_sequence(x, falling, module.batch_first), {}
    given = {"lengths": {"lengths": lengths}, "reset": {"reset": reset}, "both": {"lengths": lengths, "reset": reset}}
    return x, given[kind]


EXTENTS = ["lengths", "reset", "both", "packed", "sorted"]


def outcome(module: nn.LSTM, kind: str, quick: bool, recorded: bool, hx: Any, monkeypatch) -> list[Tensor]:
    """Return outputs and, where recorded, gradients by the short way or by the full one, asserting which it was."""
    taken = []

    def watched(way: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args):
            result = way(*args) if quick else None
            taken.append(result is not None)
            return result

        return run

    shape = (B, T, 5) if module.batch_first else (T, B, 5)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(module.weight_ih_l0.dtype)
    x.requires_grad_(recorded)
    with monkeypatch.context() as patch, torch.set_grad_enabled(recorded):
        patch.setattr(door, "run_quick", watched(door.run_quick))
        patch.setattr(door, "run_quick_training", watched(door.run_quick_training))
        source, options = extent_of(kind, module, x)
        output, (h_n, c_n) = module(source, hx, **options)
        assert any(taken) == quick
        if isinstance(output, PackedSequence):
            assert output[1:] == source[1:]
            output = output.data
        if not recorded:
            return [output, h_n, c_n]
        loss = output.square().sum() + h_n.square().sum() + 2 * c_n.square().sum()
        leaves = [x, *(hx or ()), *module.parameters()]
        patch.setattr(cpu_plain, "_backward_in_full", lambda *args: pytest.fail("backward went the full way"))
        return [output, h_n, c_n, *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("recorded", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
@pytest.mark.parametrize("kind", EXTENTS)
@pytest.mark.parametrize("kwargs", KINDS, ids=str)
def test_it_is_the_full_way_to_the_last_bit(kwargs: dict, kind: str, memory: str, recorded: bool, monkeypatch):
    module = cellgate.LSTM(5, 9, memory=memory, **kwargs)
    count, dtype = module.num_layers * (2 if module.bidirectional else 1), module.weight_ih_l0.dtype
    hx = tuple(torch.randn(count, B, size, dtype=dtype, requires_grad=True) for size in (module.proj_size or 9, 9))
    for state in (None, hx) if kind != "packed" else (None,):
        ways = [outcome(module, kind, quick, recorded, state, monkeypatch) for quick in (True, False)]
        for a, b in zip(*ways, strict=True):
            assert torch.equal(a, b)
            assert a.stride() == b.stride()


@pytest.mark.parametrize("recorded", [True, False], ids=["training", "inference"])
def test_lengths_come_in_several_forms(recorded: bool):
    module, x = cellgate.LSTM(5, 9), torch.randn(T, B, 5)
    ways = (door.run_quick_training,) if recorded else (door.run_quick,)
    with torch.set_grad_enabled(recorded):
        expected = module(x, lengths=LENGTHS)[0]
        wide = torch.tensor(LENGTHS).repeat_interleave(2)[::2]
        for form in (LENGTHS, tuple(LENGTHS), torch.tensor(LENGTHS), torch.tensor(LENGTHS).int(), wide):
            for way in ways:
                assert torch.equal(way(module, x, None, form)[0], expected)


@pytest.mark.parametrize("way", [door.run_quick, door.run_quick_training])
def test_it_is_not_taken_where_more_is_asked_for(way: Callable[..., Any]):
    module, x = cellgate.LSTM(5, 9), torch.randn(T, B, 5)
    packed, _ = extent_of("packed", module, x)
    by_hand = PackedSequence(packed.data, torch.cat([packed.batch_sizes, torch.tensor([0])]))
    refused: list[tuple[Any, Any, Any, Any]] = [
        (x, None, [*LENGTHS[:-1], T + 1], None),
        (x, None, [*LENGTHS[:-1], -1], None),
        (x, None, [*LENGTHS[:-1], 1 << 70], None),
        (x, None, [*LENGTHS[:-1], True], None),
        (x, None, [float(n) for n in LENGTHS], None),
        (x, None, LENGTHS[:-1], None),
        (x, None, torch.tensor(LENGTHS).float(), None),
        (x, None, torch.tensor(LENGTHS).short(), None),
        (x, None, torch.tensor([LENGTHS]), None),
        (x, None, None, RESET.T),
        (x, None, None, RESET.byte()),
        (x, None, None, RESET.tolist()),
        (x[:, 0], None, [5], None),
        (packed, None, LENGTHS, None),
        (packed, None, None, RESET),
        (packed, (torch.zeros(1, B, 9),) * 2, None, None),  # the caller's order is not that of the rows
        (by_hand, None, None, None),
        (PackedSequence(packed.data[1:], packed.batch_sizes), None, None, None),
        (PackedSequence(packed.data, packed.batch_sizes.flip(0)), None, None, None),
        (PackedSequence(packed.data, packed.batch_sizes * (1 << 62)), None, None, None),
    ]
    with torch.set_grad_enabled(way is door.run_quick_training):
        for call in refused:
            assert way(module, *call) is None
        assert way(module, x, None, LENGTHS, RESET) is not None
        assert way(module, packed, None) is not None
        with cellgate.use_backend("reference"):
            assert way(module, x, None, LENGTHS) is None
            assert way(module, packed, None) is None


@pytest.mark.parametrize("kind", EXTENTS)
def test_what_is_written_after_forward_changes_nothing(kind: str):
    module = cellgate.LSTM(5, 9, 2, bidirectional=True)
    found = []
    for written in (False, True):
        x = torch.ones(T, B, 5, requires_grad=True)
        source, options = extent_of(kind, module, x)
        options = {name: value.clone() for name, value in options.items()}
        if isinstance(source, PackedSequence):  # packing saves the batch sizes for a backward pass of its own
            x = source.data.detach().requires_grad_()
            source = PackedSequence(x, source.batch_sizes.clone(), *source[2:])
        output, _ = module(source, **options)
        if written:
            for part in options.values():
                part.fill_(1)
            if isinstance(source, PackedSequence):
                source.batch_sizes.fill_(5000)
        output = output.data if isinstance(output, PackedSequence) else output
        found.append(torch.autograd.grad(output.square().sum(), [x, *module.parameters()]))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", EXTENTS)
def test_derivatives_of_derivatives_go_by_the_reference(kind: str):
    module = cellgate.LSTM(5, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(T, B, 5, dtype=torch.float64)

    def call(*weights: Tensor) -> Tensor:
        source, options = extent_of(kind, module, x)
        named = dict(zip(dict(module.named_parameters()), weights, strict=True))
        output = torch.func.functional_call(module, named, (source,), options)[0]
        return (output.data if isinstance(output, PackedSequence) else output).sum(0)

    torch.autograd.gradgradcheck(call, tuple(module.parameters()), fast_mode=True)


@pytest.mark.parametrize("kind", EXTENTS)
def test_rows_of_another_number_that_hooks_give_back_are_refused(kind: str):
    """Backward reads as many rows as the lengths say, so a hook that gives back fewer must not get so far."""
    module = cellgate.LSTM(5, 9)
    x = torch.randn(T, B, 5, requires_grad=True)

    def shorter(t: Tensor) -> Tensor:
        return t[:-2] if t.shape[-1:] == (5,) and t.shape[0] > 30 - 7 * (t.dim() == 3) - 1 else t

    source, options = extent_of(kind, module, x)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, shorter):
        output, _ = module(source, **options)
        output = output.data if isinstance(output, PackedSequence) else output
        with pytest.raises(cellgate.ShapeError, match="hook of autograd"):
            output.square().sum().backward()
