"""A stream follows its module: its dtype, and whatever is written to its weights by whatever way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import cellgate
from cellgate.nn.stream import Stream

I, T = 5, 6  # noqa: E741 - the letter of the input size, as everywhere
PACKED = {
    "rows": (4, 37, {}),
    "large": (None, 1100, {}),  # more than 4 MB
    "cell": (1, 37, {"peephole": True}),
    "layers": (7, 20, {"num_layers": 2, "proj_size": 6}),
}
NOT_PACKED = {"few": (1, 37, {})}


def made(case: str, dtype: torch.dtype = torch.float32) -> tuple[cellgate.LSTM, int | None, torch.Tensor]:
    batch, hidden, kwargs = (PACKED | NOT_PACKED)[case]
    torch.manual_seed(7)
    module = cellgate.LSTM(I, hidden, dtype=dtype, **kwargs)
    return module, batch, torch.randn(*((T, I) if batch is None else (T, batch, I)), dtype=dtype)


def says(module: nn.Module, x: torch.Tensor, hx=None) -> torch.Tensor:
    """What a copy that nobody has seen before computes."""
    with torch.no_grad(), cellgate.use_backend("reference"):
        return copy.deepcopy(module)(x, hx)[0]


def _fused(kind: type[torch.optim.Optimizer]) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        for p in module.parameters():
            p.grad = torch.ones_like(p)
        kind(module.parameters(), lr=0.1, fused=True).step()  # pyright: ignore[reportCallIssue]

    return change


def _written_through_data(module: nn.Module) -> None:
    module.weight_hh_l0.data.mul_(0.5)


def _written_through_numpy(module: nn.Module) -> None:
    module.weight_hh_l0.detach().numpy()[:] *= 0.5


def _written_in_shared_memory(module: nn.Module) -> None:
    module.share_memory()
    module.stream(batch=4).push(torch.zeros(4, I))
    _written_through_numpy(module)


def _data_replaced(module: nn.Module) -> None:
    module.weight_hh_l0.data = module.weight_hh_l0.data * 0.5


def _rounded(module: nn.Module) -> None:
    module.bfloat16().float()


def _from_a_vector(module: nn.Module) -> None:
    vector = nn.utils.parameters_to_vector(module.parameters()).detach() * 0.5
    nn.utils.vector_to_parameters(vector, module.parameters())


def _bias_written(module: nn.Module) -> None:
    module.bias_ih_l0.data[3] += 1


CHANGES = {
    **{f"fused {k.__name__}": _fused(k) for k in (torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)},
    **{
        change.__name__.strip("_"): change
        for change in (
            _written_through_data,
            _written_through_numpy,
            _written_in_shared_memory,
            _data_replaced,
            _rounded,
            _from_a_vector,
            _bias_written,
        )
    },
}

NEXT: dict[str, Callable[[Stream], Stream | None]] = {
    "push": lambda stream: None,
    "reset": lambda stream: stream.reset(),
    "reset rows": lambda stream: stream.reset(rows=slice(None)),
    "fork": lambda stream: stream.fork(),
    "state": lambda stream: setattr(stream, "state", stream.state),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("case", [*PACKED, *NOT_PACKED])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_whatever_comes_next(case, change):
    for then, call in NEXT.items():
        module, batch, x = made(case)
        stream = module.stream(batch)
        stream.push(x[0])
        CHANGES[change](module)
        state = stream.state if "reset" not in then else None
        stream = call(stream) or stream
        pushed = torch.stack([stream.push(x_t) for x_t in x])
        torch.testing.assert_close(pushed, says(module, x, state), rtol=1e-4, atol=1e-5, msg=f"{change}, then {then}")


@pytest.mark.parametrize("case", [*PACKED, *NOT_PACKED])
@pytest.mark.parametrize("change", ["fused AdamW", "written_through_numpy", "data_replaced"])
def test_push_alone_and_push_many_alone_see_a_change(case, change):
    for many in (False, True):
        module, batch, x = made(case)
        stream = module.stream(batch)
        CHANGES[change](module)
        pushed = stream.push_many(x) if many else torch.stack([stream.push(x_t) for x_t in x])
        torch.testing.assert_close(pushed, says(module, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [1, 2, 3, 37, 130])
@pytest.mark.parametrize("inputs", [0, 1, 5, 70])
def test_a_write_to_one_gate_of_any_matrix_is_seen(hidden, inputs):
    module = cellgate.LSTM(inputs, hidden, 2, dtype=torch.float64)
    stream, x = module.stream(batch=3), torch.randn(3, inputs, dtype=torch.float64)
    for name, weight in module.named_parameters():
        for gate in range(4 if weight.dim() == 2 else 0):
            stream.reset()
            weight.detach().numpy()[gate * hidden : (gate + 1) * hidden] += 0.25
            torch.testing.assert_close(stream.push(x), says(module, x[None])[0], msg=f"{name}, gate {gate}")


def test_weights_made_in_inference_mode_are_followed():
    with torch.inference_mode():
        module, batch, x = made("rows")
        stream = module.stream(batch)
        module.weight_hh_l0.mul_(0.5)
        pushed = stream.push_many(x)
        stream.reset()
        module.weight_hh_l0.mul_(0.5)
        again = torch.stack([stream.push(x_t) for x_t in x])
        assert not torch.allclose(pushed, again)
        torch.testing.assert_close(again, says(module, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [*PACKED, *NOT_PACKED])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32"), ("float32", "bfloat16")])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_the_state_follows_the_dtype_of_the_module(case, dtypes):
    first, second = (getattr(torch, name) for name in dtypes)
    module, batch, x = made(case, first)
    stream = module.stream(batch)
    stream.push_many(x)
    state = tuple(part.to(second) for part in stream.state)
    module.to(second)
    expected = says(module, x.to(second), state)
    pushed = torch.stack([stream.push(x_t) for x_t in x.to(second)])
    loose = second == torch.bfloat16
    torch.testing.assert_close(pushed, expected, rtol=2e-2 if loose else 1e-4, atol=2e-2 if loose else 1e-5)
    assert {part.dtype for part in stream.state} == {second}
    module.to(first)
    assert stream.push_many(x).dtype == first


def test_a_state_given_after_a_change_of_dtype_keeps_its_digits():
    module, batch, x = made("rows")
    stream = module.stream(batch)
    module.double()
    state = tuple(torch.randn(1, batch, 37, dtype=torch.float64) for _ in range(2))
    stream.state = state
    assert all(torch.equal(ours, given) for ours, given in zip(stream.state, state, strict=True))
    torch.testing.assert_close(stream.push_many(x.double()), says(module, x.double(), state), rtol=1e-12, atol=1e-13)


def test_a_refused_dtype_names_the_input():
    stream = (module := cellgate.LSTM(I, 37)).stream(4)
    module.bfloat16()
    with pytest.raises(cellgate.DtypeError, match=r"^x: expected torch.bfloat16"):
        stream.push(torch.zeros(4, I))


def test_weights_swapped_for_others_are_followed():
    module, batch, x = made("rows")
    stream = module.stream(batch)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        module.load_state_dict({k: v * 0.5 for k, v in module.state_dict().items()})
        module.double().float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
    torch.testing.assert_close(stream.push_many(x), says(module, x), rtol=1e-4, atol=1e-5)


def test_negated_weights_are_left_to_the_module():
    module, batch, x = made("rows")
    stream = module.stream(batch)
    stream.push(x[0])
    module.weight_hh_l0 = nn.Parameter(torch._neg_view(module.weight_hh_l0.detach().clone()))
    stream.push(x[0])
    assert stream._stack is None
    module.weight_hh_l0 = nn.Parameter(module.weight_hh_l0.detach().resolve_neg())
    stream.reset()
    torch.testing.assert_close(stream.push_many(x), says(module, x), rtol=1e-4, atol=1e-5)
