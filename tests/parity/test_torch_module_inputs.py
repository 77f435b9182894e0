"""PyTorch's own module tests for LSTM and LSTMCell, run on cellgate's.

The inputs are those of the installed PyTorch, the checks those of its ``test/test_modules.py``: forward against the
reference function, factory arguments, repr, pickle, non-contiguous tensors, first and second gradients, errors.
What differs is listed in ``DIFFERENT_ERRORS`` with the reason, and in docs/compatibility.md.
"""

from __future__ import annotations

import copy
import io
import itertools
import warnings

import pytest
import torch
from tests.parity.compare import only
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import cellgate

pytest.importorskip("expecttest", reason="torch.testing._internal needs expecttest")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the internal module is not written to be imported under -W error
    from torch.testing._internal import common_modules

OURS = {nn.LSTM: cellgate.LSTM, nn.LSTMCell: cellgate.LSTMCell}
INFOS = {info.module_cls: info for info in common_modules.module_db if info.module_cls in OURS}

INPUT_SIZE_ZERO = "input_size 0 is accepted: a layer without features computes from its biases and state"
DIFFERENT_ERRORS = {"input_size must be greater than zero (0)": INPUT_SIZE_ZERO}

# nn.LSTM's words on the left; ours name the argument, what was expected and what came.
WORDS = {
    "hidden_size must be greater than zero": r"hidden_size: expected more than 0, got 0",
    "num_layers must be greater than zero": r"num_layers: expected more than 0, got 0",
    "input_size must be greater than zero": r"input_size: expected 0 or more, got -1",
    "RNN input dtype .*": r"input: expected dtype torch.float\d+ \(that of the weights\), got torch.float\d+",
    "bias should be of type bool, got: int": r"bias: expected a bool, got int",
    "bias should be of type bool, got: str": r"bias: expected a bool, got str",
    "batch_first should be of type bool, got: int": r"batch_first: expected a bool, got int",
    "batch_first should be of type bool, got: str": r"batch_first: expected a bool, got str",
    "input_size should be of type int, got: float": r"input_size: expected an int, got float",
    "input_size should be of type int, got: str": r"input_size: expected an int, got str",
    "hidden_size should be of type int, got: float": r"hidden_size: expected an int, got float",
    "input has inconsistent input_size: got 11 expected 10": r"input: expected 10 features .* got \(3, 11\)",
    "hidden0 has inconsistent hidden_size: got 21, expected 20": r"hx\[0\]: expected \(3, 20\), got \(3, 21\)",
    "Input batch size 3 doesn't match hidden0 batch size 5": r"hx\[0\]: expected \(3, 20\), got \(5, 20\)",
    r"Expected hx\[0\] to be 1D or 2D, got 4D instead": r"hx\[0\]: expected \(3, 20\), got \(3, 1, 1, 20\)",
}


def inputs(cls: type, dtype: torch.dtype, requires_grad: bool = False) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(INFOS[cls].module_inputs_func(INFOS[cls], "cpu", dtype, requires_grad, training=True))


def error_inputs(cls: type, dtype: torch.dtype) -> list:
    """LSTM has no error inputs in PyTorch's own list, so those of its siblings RNN and GRU stand in."""
    if cls is nn.LSTM:
        make = common_modules.module_error_inputs_torch_nn_RNN_GRU
    else:
        make = common_modules.module_error_inputs_torch_nn_LSTMCell
    return list(make(INFOS[cls], "cpu", dtype, requires_grad=False, training=True))


CASES = [(cls, k) for cls in OURS for k in range(len(inputs(cls, torch.float32)))]
each_input = pytest.mark.parametrize(("cls", "k"), CASES, ids=lambda v: getattr(v, "__name__", v))


def build(cls: type, k: int, dtype: torch.dtype = torch.float64, requires_grad: bool = False):
    """Return our module, nn's with the same weights, and the arguments of the call."""
    case = inputs(cls, dtype, requires_grad)[k]
    args, kwargs = case.constructor_input.args, case.constructor_input.kwargs
    torch.manual_seed(1)
    ours = OURS[cls](*args, **kwargs, dtype=dtype)
    torch.manual_seed(1)
    peer = cls(*args, **kwargs, dtype=dtype)
    return ours, peer, case


def flat(result) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in flat(part)]


def noncontiguous(argument):
    if isinstance(argument, torch.Tensor):
        wide = argument.detach().unsqueeze(-1).repeat_interleave(2, -1)[..., 0]
        assert wide.numel() <= 1 or not wide.is_contiguous()
        return wide.requires_grad_(argument.requires_grad)
    return tuple(noncontiguous(a) for a in argument)


def test_there_are_inputs_for_both():
    assert len(inputs(nn.LSTM, torch.float32)) == 32
    assert len(inputs(nn.LSTMCell, torch.float32)) == 2


@each_input
def test_forward(cls: type, k: int):
    ours, peer, case = build(cls, k)
    got = ours(*case.forward_input.args, **case.forward_input.kwargs)
    torch.testing.assert_close(got, peer(*case.forward_input.args, **case.forward_input.kwargs))
    # PyTorch's reference function takes the module itself and calls it with a batch of one.
    want = case.reference_fn(ours, *case.forward_input.args, **case.forward_input.kwargs)
    torch.testing.assert_close(flat(got), flat(want))


@each_input
def test_factory_arguments(cls: type, k: int):
    case = inputs(cls, torch.float32)[k]
    args, kwargs = case.constructor_input.args, case.constructor_input.kwargs
    for dtype, device in itertools.product((torch.float64, torch.bfloat16), ("cpu", "meta")):
        made = OURS[cls](*args, **kwargs, device=device, dtype=dtype)
        assert all(p.dtype == dtype and p.device.type == device for p in made.parameters())
        assert [(n, p.shape) for n, p in made.named_parameters()] == [
            (n, p.shape) for n, p in cls(*args, **kwargs, device=device, dtype=dtype).named_parameters()
        ]


@each_input
def test_repr(cls: type, k: int):
    ours, peer, _ = build(cls, k)
    assert repr(ours) == repr(peer)
    assert str(ours) == str(peer)


@each_input
@pytest.mark.parametrize("swap", [False, True], ids=["ours", "nn's, class swapped"])
def test_pickle(cls: type, k: int, swap: bool):
    ours, peer, case = build(cls, k)
    want = ours(*case.forward_input.args)
    module = peer if swap else ours
    if swap:
        module.__class__ = OURS[cls]
    with io.BytesIO() as file:
        torch.save(module, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
    assert type(loaded) is OURS[cls]
    torch.testing.assert_close(loaded(*case.forward_input.args), want)


@each_input
def test_non_contiguous_tensors(cls: type, k: int, backend: str):
    ours, _, case = build(cls, k, requires_grad=True)
    args = case.forward_input.args
    strided = tuple(noncontiguous(a) for a in args)
    module = copy.deepcopy(ours)
    with torch.no_grad():
        for name, p in list(module.named_parameters()):
            setattr(module, name, nn.Parameter(noncontiguous(p.detach())))
    gradients = []
    for m, given in ((ours, args), (module, strided)):
        if cls is nn.LSTM:
            with only(backend):
                result = flat(m(*given))
        else:
            result = flat(m(*given))
        leaves = [t for a in given for t in flat(a)] + list(m.parameters())
        gradients.append((result, torch.autograd.grad(sum(r.square().sum() for r in result), leaves)))
    torch.testing.assert_close(gradients[1], gradients[0])


@each_input
def test_gradients(cls: type, k: int, backend: str):
    ours, _, case = build(cls, k, requires_grad=True)
    run_gradcheck(gradcheck, cls, ours, case, backend)


# Second derivatives are slow by finite differences: one input in five here, more in test_autograd.py.
@pytest.mark.parametrize(("cls", "k"), [*CASES[::5], CASES[-1]], ids=lambda v: getattr(v, "__name__", v))
def test_second_gradients(cls: type, k: int, backend: str):
    ours, _, case = build(cls, k, requires_grad=True)
    run_gradcheck(gradgradcheck, cls, ours, case, backend, fast_mode=True)


def run_gradcheck(check, cls: type, module: nn.Module, case, backend: str, **kwargs) -> None:
    names, parameters = zip(*module.named_parameters(), strict=True)
    arguments = [t for a in case.forward_input.args for t in flat(a)]
    unbatched_state = len(arguments) == 3

    def call(*leaves):
        x, *state = leaves[: len(arguments)]
        given = (x, tuple(state)) if unbatched_state else (x,)
        weights = dict(zip(names, leaves[len(arguments) :], strict=True))
        return tuple(flat(torch.func.functional_call(module, weights, given)))

    kwargs.setdefault("fast_mode", True)
    with cellgate.use_backend(backend if cls is nn.LSTM or backend in ("aten", "reference") else "auto"):
        assert check(call, (*arguments, *parameters), **kwargs)


ERRORS = [
    (cls, dtype, k)
    for cls in OURS
    for dtype in (torch.float32, torch.float64)
    for k in range(len(error_inputs(cls, dtype)))
]


@pytest.mark.parametrize(("cls", "dtype", "k"), ERRORS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_errors(cls: type, dtype: torch.dtype, k: int):
    case = error_inputs(cls, dtype)[k]
    args, kwargs = case.module_error_input.constructor_input.args, case.module_error_input.constructor_input.kwargs

    def act():
        module = OURS[cls](*args, **kwargs)
        if case.error_on is not common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            given = case.module_error_input.forward_input
            if cls is nn.LSTMCell:
                module = module.to(dtype)  # as PyTorch's own test does
            module(*given.args, **given.kwargs)

    if args == (0, 5):
        assert DIFFERENT_ERRORS["input_size must be greater than zero (0)"] == INPUT_SIZE_ZERO
        assert OURS[cls](0, 5)(torch.zeros(2, 3, 0))[0].shape == (2, 3, 5)
        return
    words = next(ours for theirs, ours in WORDS.items() if case.error_regex.startswith(theirs.removesuffix(".*")))
    with pytest.raises(case.error_type, match=words) as caught:
        act()
    assert isinstance(caught.value, cellgate.InputError)


def test_differences_that_are_listed_are_all():
    """The list above names every error input of PyTorch's that does not raise here."""
    silent = []
    for cls, dtype, k in ERRORS:
        case = error_inputs(cls, dtype)[k]
        if case.error_on is not common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            continue
        given = case.module_error_input.constructor_input
        try:
            OURS[cls](*given.args, **given.kwargs)
        except cellgate.InputError:
            continue
        silent.append(f"{case.error_regex} ({given.args[0]})")
    assert set(silent) == set(DIFFERENT_ERRORS)
