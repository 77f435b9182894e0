"""The short ways of a layer with a variant: numbers and masks of the full way, and only where they may be taken."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from tests.variants.cases import VARIANTS
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import cellgate
from cellgate.backends import cpu, use_backend
from cellgate.nn import quick, quick_half, quick_training, quick_variant

pytestmark = pytest.mark.skipif(
    cpu.unavailable() is not None or cpu.tensors() is None or not cpu.tensors().usable,
    reason="without the native core, or with a PyTorch that has no exchange table, there is one way only",
)

EVERYTHING = {"zoneout": 0.2, "recurrent_dropout": 0.1, "locked_dropout": (0.2, 0.3, 0.1), "weight_drop": 0.2}
FULL_WAY = ("full gate recurrence", "residual", "highway")
SHAPES: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers, two directions": {"num_layers": 2, "bidirectional": True},
    "projected, batch first": {"proj_size": 3, "batch_first": True, "num_layers": 2},
    "no bias": {"bias": False},
}
ONLY_AT_START = [{"forget_bias": 1.0}, {"chrono": 30}, {"orthogonal": True}]
ONLY_NOISE = [{"locked_dropout": 0.3}, {"weight_drop": 0.3}, {"recurrent_dropout": 0.3}]


def full_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_variant, "_prepare", None)
    monkeypatch.setattr(quick_training, "_prepare", lambda *args: None)
    monkeypatch.setattr(quick, "_run", None)


def results(module: cellgate.LSTM, x: Tensor, loss: Any = None) -> list[Tensor | None]:
    """Return outputs and every gradient, with the masks of one seed."""
    module.zero_grad()
    x = x.detach().requires_grad_()
    torch.manual_seed(3)
    output, (h_n, c_n) = module(x)
    weights = torch.linspace(-1, 1, output.numel(), dtype=x.dtype).view(output.shape)
    made = (output * weights).sum() + h_n.sin().sum() + c_n.cos().sum() if loss is None else loss(output, h_n, c_n)
    made.backward()
    return [output, h_n, c_n, x.grad, *(p.grad for p in module.parameters())]


def assert_same(found: list[Tensor | None], wanted: list[Tensor | None]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.equal(one, other)


def count_short(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs: list[int] = []
    short = quick_variant.train_direction

    def counted(*arguments: Any) -> Any:
        runs.append(1)
        return short(*arguments)

    monkeypatch.setattr(quick_variant, "train_direction", counted)
    return runs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", [*(name for name in VARIANTS if name not in FULL_WAY), "all noise"])
def test_the_short_way_gives_the_numbers_of_the_full_way(
    monkeypatch: pytest.MonkeyPatch, variant: str, shape: str
) -> None:
    options = EVERYTHING if variant == "all noise" else VARIANTS[variant]
    if "single_bias" in options and shape == "no bias":
        pytest.skip("there is no bias to have once")
    torch.manual_seed(0)
    for memory, dtype in (("fast", torch.float32), ("lean", torch.float64), ("minimal", torch.float32)):
        module = cellgate.LSTM(3, 17, memory=memory, dtype=dtype, **SHAPES[shape], **options)
        x = torch.randn(19, 5, 3, dtype=dtype)
        for training in (True, False):
            module.train(training)
            with monkeypatch.context() as counted:
                runs = count_short(counted)
                found = results(module, x)
            # In evaluation what differs by noise only is plain: zoneout is not.
            assert module.variant is not None
            assert len(runs) == (0 if module.variant.plain_in_evaluation and not training else len(module._all_weights))
            with monkeypatch.context() as full:
                full_way(full)
                assert_same(found, results(module, x))


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"cell": "slstm"}, EVERYTHING], ids=str)
def test_gradients_that_come_in_many_forms(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module, x = cellgate.LSTM(3, 6, **options), torch.randn(7, 4, 3)
    losses = [
        lambda y, h, c: y.sum(),
        lambda y, h, c: h.sum(),
        lambda y, h, c: c.square().sum(),
        lambda y, h, c: y.transpose(0, 1).flip(0).transpose(1, 2).contiguous().square().sum(),
        lambda y, h, c: torch.view_as_complex(torch.stack([h, y[-1:]], -1)).conj().imag.sum(),
    ]
    for loss in losses:
        found = results(module, x, loss)
        with monkeypatch.context() as full:
            full_way(full)
            for one, other in zip(found, results(module, x, loss), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_only_the_gradients_that_are_wanted() -> None:
    module, x = cellgate.LSTM(3, 6, norm="layer"), torch.randn(7, 4, 3, requires_grad=True)
    wanted = torch.autograd.grad(module(x)[0].sum(), list(module.parameters()))
    for name, one in zip(dict(module.named_parameters()), wanted, strict=True):
        for other, p in module.named_parameters():
            p.requires_grad_(other == name)
        module.zero_grad()
        module(x.detach())[0].sum().backward()
        assert [n for n, p in module.named_parameters() if p.grad is not None] == [name]
        torch.testing.assert_close(module.get_parameter(name).grad, one)


@pytest.mark.parametrize(
    "options", [{"cell": "cifg", "peephole": True}, {"norm": "rms"}, {"proj_size": 3, **EVERYTHING}]
)
def test_gradients_of_gradients(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = cellgate.LSTM(2, 4, 2, bidirectional=True, dtype=torch.float64, **options)
    found = []
    for full in (False, True):
        with monkeypatch.context() as ways:
            if full:
                full_way(ways)
            torch.manual_seed(2)
            x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
            (dx,) = torch.autograd.grad(module(x)[0].sin().sum(), x, create_graph=True)
            found.append(torch.autograd.grad(dx.square().sum(), [x, *module.parameters()], allow_unused=True))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_checkpoints_and_other_hooks() -> None:
    torch.manual_seed(0)
    module, x = cellgate.LSTM(3, 6, **EVERYTHING), torch.randn(7, 4, 3, requires_grad=True)
    wanted = results(module, x)[3:]
    module.zero_grad()
    torch.manual_seed(3)
    checkpointed = cellgate.LSTM.forward.__get__(module)
    output, (h_n, c_n) = checkpoint(checkpointed, x, use_reentrant=False)  # pyright: ignore[reportGeneralTypeIssues]
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    ((output * weights).sum() + h_n.sin().sum() + c_n.cos().sum()).backward()
    assert_same([x.grad, *(p.grad for p in module.parameters())], wanted)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: t.clone(), lambda t: t.mT.contiguous().mT if t.dim() > 1 else t
    ):
        assert_same(results(module, x)[3:], wanted)


@pytest.mark.parametrize("options", [{"cell": "cifg"}, {"norm": "layer"}, EVERYTHING], ids=str)
def test_another_backend_is_obeyed(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    module, x = cellgate.LSTM(3, 6, dtype=torch.float64, **options), torch.randn(7, 4, 3, dtype=torch.float64)
    runs = count_short(monkeypatch)
    found = results(module, x)
    assert runs
    runs.clear()
    with use_backend("reference"):
        wanted = results(module, x)
    assert not runs
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_not_known_at_once_takes_the_full_way(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_short(monkeypatch)
    x = torch.randn(7, 4, 3)
    module = cellgate.LSTM(3, 6, cell="cifg")
    module(x, (torch.zeros(1, 4, 6), torch.zeros(1, 4, 6)))
    module(x, lengths=[7, 3, 2, 1])
    module(x, reset=torch.zeros(7, 4, dtype=torch.bool))
    module(x[:, 0])
    module.gates(x)
    with torch.no_grad():
        module(x)
    cellgate.LSTM(3, 6, cell="cifg", learned_state=True)(x)
    cellgate.LSTM(3, [6, 5], cell="cifg")(x)
    with pytest.raises(ValueError, match="expected"):
        module(x[..., :2])
    assert not runs
    module(x)
    assert len(runs) == 1


def is_plain(module: cellgate.LSTM, x: Tensor) -> tuple[bool, bool]:
    """Return whether the plain cell's short ways take a call that computes, and one that trains."""
    with torch.no_grad():
        computes = quick.run_quick(module, x, None) is not None
    trained = quick_training.run_quick_training(module, x, None)
    return computes, trained is not None and type(trained[0].grad_fn).__name__ == "_PlainBackward"


@pytest.mark.parametrize("options", ONLY_AT_START, ids=str)
def test_initial_values_alone_leave_a_plain_layer(options: dict[str, Any]) -> None:
    module, x = cellgate.LSTM(3, 6, 2, **options), torch.randn(7, 4, 3)
    peer = torch.nn.LSTM(3, 6, 2)
    peer.load_state_dict(module.state_dict())
    for training in (True, False, True):
        module.train(training)
        assert is_plain(module, x) == (True, True)
        torch.testing.assert_close(module(x), peer(x))
    with torch.no_grad():
        stream = module.stream(4)
        torch.testing.assert_close(torch.stack([stream.push(step) for step in x]), peer(x)[0])
        assert stream._any_cell is None


@pytest.mark.parametrize("options", ONLY_NOISE, ids=str)
def test_noise_alone_leaves_a_plain_layer_in_evaluation(options: dict[str, Any]) -> None:
    module, x = cellgate.LSTM(3, 6, 2, **options), torch.randn(7, 4, 3)
    peer = torch.nn.LSTM(3, 6, 2)
    for copied in (module, copy.deepcopy(module)):
        copied.load_state_dict(peer.state_dict())
        for training in (True, False, True, False):
            copied.train(training)
            assert is_plain(copied, x) == (not training, not training)
            assert torch.allclose(copied(x)[0], peer(x)[0], atol=1e-6) is not training
    # Another probability is a new variant: none leaves a plain layer in training, one of zoneout in neither.
    assert module.variant is not None
    (name,) = options
    module.train().variant = dataclasses.replace(
        module.variant, **{name: (0.0,) * 3 if name == "locked_dropout" else 0.0}
    )
    assert is_plain(module, x) == (True, True)
    torch.testing.assert_close(module(x), peer(x))
    module.eval().variant = dataclasses.replace(module.variant, zoneout=(0.0, 0.2))
    assert is_plain(module, x) == (False, False)
    assert not torch.allclose(module(x)[0], peer(x)[0], atol=1e-3)


@pytest.mark.parametrize(
    "options", [{"zoneout": 0.1}, {"learned_state": True}, {"single_bias": True}, {"connection": "residual"}], ids=str
)
def test_what_computes_something_else_is_never_plain(options: dict[str, Any]) -> None:
    module, x = cellgate.LSTM(6, 6, 2, forget_bias=1.0, **options).eval(), torch.randn(7, 4, 6)
    assert is_plain(module, x) == (False, False)


def test_half_precision_without_noise_is_plain_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module = cellgate.LSTM(3, 6, weight_drop=0.5, dtype=torch.bfloat16)
    x = torch.randn(7, 4, 3, dtype=torch.bfloat16)
    assert quick_half.run_quick_half(module, x) is None
    found, wanted = module.eval()(x), cellgate.LSTM(3, 6, dtype=torch.bfloat16)
    wanted.load_state_dict(module.state_dict())
    torch.testing.assert_close(found, wanted(x))
