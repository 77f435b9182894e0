"""Streams as they are used: from several threads, copied, in inference mode, and with inputs of every kind."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn

import cellgate
from cellgate.backends.dispatch import BACKENDS
from cellgate.errors import DtypeError

I, H, T = 5, 37, 6  # noqa: E741 - the letter of the input size, as everywhere


def made(**kwargs) -> cellgate.LSTM:
    torch.manual_seed(7)
    return cellgate.LSTM(I, H, **kwargs)


def together(*functions) -> None:
    """Run functions in threads at the same time; what one raises is raised here."""
    raised: list[BaseException] = []

    def run(function):
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if raised:
        raise raised[0]


def from_zero(module: cellgate.LSTM, x: torch.Tensor, steps: int) -> torch.Tensor:
    return module.stream(x.shape[0]).push_many(x.expand(steps, *x.shape).contiguous())


@pytest.mark.parametrize("cell", ["lstm", "peephole"])
def test_steps_of_two_threads_are_all_taken(cell):
    module, x = cellgate.LSTM(8, 256, cell=cell), torch.randn(16, 8)
    for p in module.parameters():
        nn.init.zeros_(p)
    with torch.no_grad():  # gates wide open, the same candidate at every step: c counts the steps
        module.bias_ih_l0.copy_(torch.tensor([30.0, 30.0, 0.25, 0.0]).repeat_interleave(256))
    stream = module.stream(16)

    def push():
        for _ in range(200):
            stream.push(x)

    together(push, push)
    steps = stream.state[1] / torch.tanh(torch.tensor(0.25))
    torch.testing.assert_close(steps, torch.full((1, 16, 256), 400.0), rtol=1e-4, atol=0.0)


def test_resets_of_one_thread_among_steps_of_another():
    """Every result is that of some number of steps after a reset, never of a state half written."""
    torch.manual_seed(7)
    module, x = cellgate.LSTM(8, 256), torch.randn(16, 8)
    stream, results = module.stream(16), []
    state = (torch.zeros(1, 16, 256), torch.zeros(1, 16, 256))
    going_on = True

    def push():
        nonlocal going_on
        try:
            for _ in range(300):
                results.append(stream.push(x)[0].clone())
        finally:
            going_on = False

    def reset():
        while going_on:
            stream.reset()
            stream.state = state
            stream.fork().push(x)
            stream.refresh()

    together(push, reset)
    possible = from_zero(module, x, 301)[:, 0]
    exact = "donot_use_mm_for_euclid_dist"
    nearest = torch.cdist(torch.stack(results), possible, compute_mode=exact).amin(1)
    assert nearest.max() < 1e-4


def test_rows_begin_anew_with_the_learned_state():
    module = made(learned_state=True)
    nn.init.normal_(module.h0_l0)
    x = torch.randn(3, I)
    stream = module.stream(3)
    first = stream.push(x)
    stream.reset(rows=[1])
    assert torch.allclose(stream.push(x)[1], first[1], atol=1e-6)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream)), copy.copy])
def test_a_copy_goes_on_by_itself(batch, copied):
    module = made(num_layers=2)
    x = torch.randn(*((T, I) if batch is None else (T, batch, I)))
    stream = module.stream(batch)
    expected = module.stream(batch).push_many(x)
    stream.push_many(x[:3])
    other = copied(stream)
    stream.push_many(x)
    if copied is not copy.copy:
        nn.init.zeros_(module.weight_hh_l0)
    assert torch.allclose(torch.stack([other.push(x_t) for x_t in x[3:]]), expected[3:], atol=1e-6)


def test_a_module_and_its_stream_are_copied_together():
    module = made()
    twin, stream = copy.deepcopy((module, module.stream(4)))
    nn.init.zeros_(twin.weight_ih_l0)
    x = torch.randn(T, 4, I)
    assert torch.allclose(stream.push_many(x), twin(x)[0], atol=1e-6)


def _goes_on(stream, x, expected) -> None:
    """What another process does with a stream that it was given."""
    torch.testing.assert_close(stream.push(x), expected)


@pytest.mark.parametrize("batch", [None, 3])
def test_a_stream_is_handed_to_a_new_process(batch):
    """As a data set that holds one is handed to the workers of a DataLoader; the process begins after the pickling."""
    stream = made().stream(batch)
    x = torch.randn(I) if batch is None else torch.randn(batch, I)
    stream.push(x)
    expected = stream.fork().push(x)
    process = torch.multiprocessing.get_context("spawn").Process(target=_goes_on, args=(stream, x, expected))
    process.start()
    torch.testing.assert_close(stream.push(x), expected)  # its weights lie in shared memory by now
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("backend", ["auto", "aten"])
def test_streams_cross_the_border_of_inference_mode(backend):
    module, x = made(), torch.randn(T, 4, I)
    with torch.no_grad():
        expected = module(x)[0]
    with cellgate.use_backend(backend):
        with torch.inference_mode():
            stream = module.stream(4)
            stream.push(x[1])
            kept = stream.state
        stream.state = kept
        stream.reset(rows=[0, 1])
        with torch.inference_mode():
            stream.reset()
            first = stream.push(x[0])
            other = stream.fork()
            stream.push(x[1])
        second = other.push(x[1])
        stream.reset(rows=[2])
    torch.testing.assert_close(torch.stack([first, second]), expected[:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [2, 4])
@pytest.mark.parametrize("cell", ["lstm", "peephole"])
def test_negated_inputs_and_states_are_read_with_their_sign(batch, cell):
    module = made(cell=cell)
    x = torch.randn(batch, I)
    negated = torch._neg_view(x)
    expected = module.stream(batch).push(-x)
    assert torch.equal(module.stream(batch).push(negated), expected)
    assert torch.equal(module.stream(batch).push_many(negated[None])[0], expected)
    given = torch.randn(1, batch, H)
    stream = module.stream(batch, (torch._neg_view(given), torch._neg_view(given)))
    assert torch.equal(stream.push(x), module.stream(batch, (-given, -given)).push(x))


@pytest.mark.parametrize(
    "form",
    [
        lambda a: a[::-1],
        lambda a: a.astype(">f4"),
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float32),
        lambda a: np.stack([a, a], 1)[:, 0],
    ],
    ids=["reversed", "big-endian", "unaligned", "strided"],
)
def test_arrays_of_any_layout(form):
    module, a = made(), np.random.default_rng(0).standard_normal(I).astype(np.float32)
    x = form(a)
    expected = module.stream().push(np.array(x, dtype=np.float32))
    assert np.array_equal(module.stream().push(x), expected)
    assert np.array_equal(module.stream().push_many(x[None])[0], expected)


def test_what_is_no_input_is_said_so():
    stream = made().stream()
    with pytest.raises(DtypeError, match="x: expected a tensor or a numpy array, got NoneType"):
        stream.push(None)
    with pytest.raises(DtypeError, match="x: expected a tensor or a numpy array, got NoneType"):
        stream.push_many(None)
    with pytest.raises(DtypeError, match="x: expected an array of floats, got dtype object"):
        stream.push(np.array([None] * I))
    with pytest.raises(DtypeError, match=r"x: expected torch.float32 .* got torch.float64"):
        stream.push(np.zeros(I))
    for push in (stream.push, lambda x: stream.push_many(x[None])):
        with pytest.raises(cellgate.InputError, match=r"x: expected a dense tensor, got layout torch.sparse_coo"):
            push(torch.zeros(I).to_sparse())
    with pytest.raises(DtypeError, match="x_t: expected a tensor, got ndarray"):
        made().step(np.zeros(I, np.float32))
    for state in (5, (5, 5), ([None], [None])):
        with pytest.raises(cellgate.InputError, match="hx"):
            stream.reset(state)


@pytest.mark.parametrize("batch", [2, 4])
def test_a_layer_that_holds_its_own_stream_can_be_freed(batch):
    module = made()
    module.live = module.stream(batch)
    module.live.push(torch.zeros(batch, I))
    alive = weakref.ref(module)
    del module
    gc.collect()
    assert alive() is None


def test_any_kind_of_integer_is_a_batch():
    stream = made().stream(np.int64(3))
    assert stream.push(torch.zeros(3, I)).shape == (3, H)
    for batch in (True, 3.0, 0):
        with pytest.raises(cellgate.InputError, match="batch: expected a positive integer"):
            made().stream(batch)


@pytest.mark.parametrize("form", [torch.as_tensor, np.asarray], ids=["tensor", "array"])
@pytest.mark.parametrize("cell", ["lstm", "peephole"])
def test_another_backend_is_obeyed_at_every_step(cell, form, monkeypatch):
    """Inside use_backend, in which nobody may get the engine's number for the reference's, and after it."""
    ran, run = [], BACKENDS["reference"].run
    monkeypatch.setattr(BACKENDS["reference"], "run", lambda *call: ran.append(1) or run(*call))
    module, x = made(cell=cell), np.random.default_rng(0).standard_normal((T, I)).astype(np.float32)
    expected = module.stream().push_many(x)
    stream = module.stream()
    steps = [stream.push(form(x[0]))]
    with cellgate.use_backend("reference"):
        steps += [stream.push(form(x[1])), stream.fork().push_many(form(x[2:3]))[0]]
        assert len(ran) == 2
        inside = module.stream(hx=stream.state)
    steps += [inside.push(form(x[2])), stream.push(form(x[2]))]
    assert len(ran) == 2
    for found, k in zip(steps, (0, 1, 2, 2, 2), strict=True):
        np.testing.assert_allclose(np.asarray(found), expected[k], rtol=1e-4, atol=1e-6)


def test_a_refused_state_leaves_the_stream_as_it_was():
    stream = made().stream(4)
    stream.push(torch.randn(4, I))
    before = stream.state
    with pytest.raises(cellgate.ShapeError, match=r"hx\[1\]"):
        stream.state = (torch.zeros(1, 4, H), torch.zeros(1, 3, H))
    assert all(torch.equal(a, b) for a, b in zip(stream.state, before, strict=True))


@pytest.mark.parametrize("cell", ["lstm", "peephole"])
def test_another_default_device_does_not_matter(cell):
    module, x = made(cell=cell), torch.randn(T, 4, I)
    expected = module.stream(4).push_many(x)
    with torch.device("meta"):
        stream = module.stream(4)
        first = stream.push(x[0])
        rest = stream.fork().push_many(x[1:])
    assert torch.allclose(torch.cat([first[None], rest]), expected, atol=1e-6)
