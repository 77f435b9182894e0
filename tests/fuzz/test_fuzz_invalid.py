"""Wrong arguments drawn at random: an InputError every time, nothing else, and the module as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.conftest import examples
from torch.nn.utils.rnn import PackedSequence

import cellgate

LSTM = cellgate.LSTM(4, 6, 2, bidirectional=True)
T, B = 5, 3
JUNK = [None, "abc", b"x", 1.5, object(), {}, {1}, [[1], [1, 2]], np.array(["a"]), float("nan"), 2**70, [None], ...]

shapes = st.lists(st.integers(0, 7), max_size=5).map(tuple)
dtypes = st.sampled_from([torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
junk = st.sampled_from(range(len(JUNK))).map(JUNK.__getitem__)


def zeros(shape: tuple, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


state_shape = (4, B, 6)
bad_inputs = st.one_of(
    shapes.filter(lambda s: len(s) not in (2, 3) or s[-1] != 4).map(zeros),
    dtypes.map(lambda d: zeros((T, B, 4), d)),
    st.just(zeros((T, B, 4)).to_sparse()),
    st.just(zeros((T, B, 4)).to("meta")),
    junk,
    st.tuples(st.integers(0, 6), st.lists(st.integers(-1, 4), max_size=4))
    .filter(lambda p: not any(p[1]) or sum(p[1]) != p[0] or min(p[1]) < 0 or sorted(p[1], reverse=True) != p[1])
    .map(lambda p: PackedSequence(zeros((p[0], 4)), torch.tensor(p[1], dtype=torch.int64))),
)
bad_states = st.one_of(
    shapes.filter(lambda s: s != state_shape).map(lambda s: (zeros(s), zeros(state_shape))),
    shapes.filter(lambda s: s != state_shape).map(lambda s: (zeros(state_shape), zeros(s))),
    dtypes.map(lambda d: (zeros(state_shape, d), zeros(state_shape))),
    shapes.map(zeros),
    st.just((zeros(state_shape),)),
    st.just((zeros(state_shape),) * 3),
    junk.filter(lambda j: j is not None),
    junk.map(lambda j: (zeros(state_shape), j)),
)
bad_lengths = st.one_of(
    st.lists(st.integers(-3, 9), max_size=5).filter(lambda n: len(n) != B or min(n) < 0 or max(n) > T),
    st.lists(st.floats(allow_nan=True), min_size=B, max_size=B),
    st.lists(st.booleans(), min_size=B, max_size=B),
    shapes.filter(lambda s: s != (B,)).map(lambda s: zeros(s, torch.int64)),
    junk.filter(lambda j: j is not None),
)
bad_resets = st.one_of(
    shapes.filter(lambda s: s != (T, B)).map(lambda s: zeros(s, torch.bool)),
    dtypes.filter(lambda d: d != torch.bool).map(lambda d: zeros((T, B), d)),
    junk.filter(lambda j: j is not None),
)
wrong = st.one_of(
    bad_inputs.map(lambda v: {"input": v}),
    bad_states.map(lambda v: {"hx": v}),
    bad_lengths.map(lambda v: {"lengths": v}),
    bad_resets.map(lambda v: {"reset": v}),
)


@settings(max_examples=examples(1500))
@given(wrong, st.booleans(), st.sampled_from(["auto", *cellgate.backends.dispatch.BACKENDS]))
def test_a_wrong_argument_is_an_input_error(argument: dict, grad: bool, backend: str):
    before = {k: v.clone() for k, v in LSTM.state_dict().items()}
    attributes = set(vars(LSTM))
    call = {"input": zeros((T, B, 4))} | argument
    with torch.set_grad_enabled(grad), cellgate.use_backend(backend), pytest.raises(cellgate.InputError) as caught:
        LSTM(**call)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RuntimeError)
    assert "expected" in str(caught.value)
    assert "got" in str(caught.value) or "None with a PackedSequence" in str(caught.value)
    assert set(vars(LSTM)) == attributes
    for name, value in LSTM.state_dict().items():
        assert torch.equal(value, before[name])


constructors = st.one_of(
    junk.map(lambda j: {"input_size": j}),
    junk.filter(lambda j: j != b"x").map(lambda j: {"hidden_size": j}),
    junk.map(lambda j: {"num_layers": j}),
    junk.map(lambda j: {"bias": j}),
    junk.map(lambda j: {"batch_first": j}),
    junk.filter(lambda j: not isinstance(j, bytes)).map(lambda j: {"proj_size": j}),
    junk.map(lambda j: {"dropout": j}),
    st.integers(-5, -1).map(lambda n: {"input_size": n}),
    st.integers(-5, 0).map(lambda n: {"hidden_size": n}),
    st.integers(-5, 0).map(lambda n: {"num_layers": n}),
    st.integers(6, 9).map(lambda n: {"proj_size": n}),
    st.floats().filter(lambda p: not 0 <= p <= 1).map(lambda p: {"dropout": p}),
    st.lists(st.integers(-2, 0), max_size=3).map(lambda n: {"hidden_size": n}),
    st.just({"hidden_size": [3, 4], "num_layers": 3}),
    st.just({"hidden_size": [3, 4], "proj_size": [1]}),
)


@settings(max_examples=examples(400))
@given(constructors)
def test_a_wrong_constructor_argument_is_an_input_error(argument: dict):
    if 2**70 in (argument.get(name) for name in ("input_size", "hidden_size", "num_layers")):
        return  # an honest integer; what fails is memory
    with pytest.raises(cellgate.InputError, match="expected"):
        cellgate.LSTM(**({"input_size": 4, "hidden_size": 6} | argument))


@settings(max_examples=examples(200))
@given(st.sampled_from([n for n, _ in LSTM.named_parameters()]), shapes, st.booleans(), st.booleans())
def test_a_replaced_weight_of_another_shape_is_an_input_error(name: str, shape: tuple, plain: bool, grad: bool):
    """Kernels read by address: this is where memory that is not ours would be read."""
    lstm = cellgate.LSTM(4, 6, 2, bidirectional=True)
    if shape == tuple(lstm.get_parameter(name).shape):
        return
    if plain:
        delattr(lstm, name)
        setattr(lstm, name, torch.zeros(shape))
    else:
        setattr(lstm, name, torch.nn.Parameter(torch.zeros(shape)))
    with torch.set_grad_enabled(grad), pytest.raises(cellgate.InputError, match=f"{name}: expected"):
        lstm(zeros((T, B, 4)))
