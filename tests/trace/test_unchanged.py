"""A traced model computes what it always did: outputs, gradients, random numbers, bit for bit; nothing stays behind."""

import copy
import io
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import cellgate
from cellgate.trace import recorder


class Scaled(nn.LSTM):
    """A library's subclass: something before and after nn.LSTM's own forward."""

    def forward(self, input, hx=None):
        output, state = super().forward(2 * input, hx)
        return output + 1, state


class Net(nn.Module):
    def __init__(self, lstm):
        super().__init__()
        self.lstm = lstm
        self.out = nn.Linear(lstm.hidden_size * (2 if lstm.bidirectional else 1), 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


KINDS = [nn.LSTM, cellgate.LSTM, Scaled]
OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "dropout": 0.4},
    {"num_layers": 3, "dropout": 0.4, "bidirectional": True, "batch_first": True},
]


def gradients(model, x):
    model.zero_grad(set_to_none=True)
    y = model(x)
    y.square().sum().backward()
    return y.detach(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_gradients_and_random_numbers_are_the_same_bits(kind, options, dtype, differentiable):
    model = Net(kind(8, 16, **options)).to(dtype)
    x = torch.randn(11, 5, 8, dtype=dtype)
    torch.manual_seed(3)
    y, grads = gradients(model, x)
    then = torch.rand(4)
    torch.manual_seed(3)
    with cellgate.trace(model, differentiable=differentiable) as tape:
        y_traced, grads_traced = gradients(model, x)
    assert torch.equal(torch.rand(4), then)
    assert torch.equal(y_traced, y)
    assert all(torch.equal(a, b) for a, b in zip(grads_traced, grads, strict=True))
    # The recorded run is the same computation, on the same or a sibling kernel: a few roundings apart at most.
    assert tape["lstm"].only().distance <= 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("kind", KINDS)
def test_the_gates_explain_the_output_under_dropout(kind):
    model = Net(kind(8, 16, 2, dropout=0.5))
    with cellgate.trace(model) as tape:
        model(torch.randn(7, 3, 8))
    top = tape["lstm"].layer(1)
    torch.testing.assert_close(top.h, top.o * top.c.tanh())
    torch.testing.assert_close(top.c[1:], top.f[1:] * top.c[:-1] + top.i[1:] * top.g[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_everything_comes_off_even_after_an_exception(kind):
    model = Net(kind(4, 5))
    before, state = type(model.lstm), dict(vars(model.lstm))
    with pytest.raises(ZeroDivisionError), cellgate.trace(model):
        raise ZeroDivisionError if type(model.lstm) is not before else AssertionError
    assert type(model.lstm) is before
    assert dict(vars(model.lstm)) == state
    assert not recorder._held
    assert recorder._listeners.get() == ()
    with pytest.raises(RuntimeError), cellgate.trace(model):
        model(torch.zeros(3, 2, 99))
    assert type(model.lstm) is before
    assert not recorder._held


def test_hooks_run_once_a_call():
    model = Net(nn.LSTM(4, 5))
    calls = []
    model.lstm.register_forward_hook(lambda *_: calls.append("after"))
    model.lstm.register_forward_pre_hook(lambda *_: calls.append("before"))
    with cellgate.trace(model):
        model(torch.zeros(3, 2, 4))
    assert calls == ["before", "after"]


def test_isinstance_repr_and_state_dict_inside_the_block():
    model = Net(Scaled(4, 5))
    shown, keys = repr(model), list(model.state_dict())
    with cellgate.trace(model):
        assert isinstance(model.lstm, Scaled)
        assert repr(model) == shown
        assert list(model.state_dict()) == keys


@pytest.mark.parametrize("kind", KINDS)
def test_copies_made_inside_the_block_are_ordinary(kind):
    model = Net(kind(4, 5))
    x = torch.randn(3, 2, 4)
    with cellgate.trace(model) as tape:
        copied = copy.deepcopy(model)
        pickled = pickle.loads(pickle.dumps(model))
        file = io.BytesIO()
        torch.save(model, file)
        copied(x)
    assert type(copied.lstm) is type(pickled.lstm) is kind
    assert len(tape["lstm"]) == 0
    file.seek(0)
    for other in (copied, pickled, torch.load(file, weights_only=False)):
        assert torch.equal(other(x), model(x))


def test_two_tapes_at_once_and_one_tape_twice():
    model = Net(nn.LSTM(4, 5))
    x = torch.randn(3, 2, 4)
    with cellgate.trace(model, gates="f") as outer:
        model(x)
        with cellgate.trace(model, differentiable=True) as inner:
            model(x)
        model(x)
        with pytest.raises(cellgate.InputError, match="inside its own block"), outer:
            pass
    assert type(model.lstm) is nn.LSTM
    assert (len(outer["lstm"]), len(inner["lstm"])) == (3, 1)
    assert inner["lstm"].layer(0).f.requires_grad
    assert not outer["lstm"][1].layer(0).f.requires_grad
    with outer:
        model(x)
    assert len(outer["lstm"]) == 4
    outer.clear()
    assert len(outer["lstm"]) == 0


def test_blocks_that_end_in_another_order():
    model = Net(nn.LSTM(4, 5))
    first, second = cellgate.trace(model), cellgate.trace(model)
    first.__enter__()
    done = threading.Event()
    opened = threading.Event()

    def other():
        with second:
            model(torch.zeros(1, 1, 4))
            opened.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert opened.wait(10)
    first.__exit__(None, None, None)
    assert type(model.lstm) is not nn.LSTM  # the other thread still listens
    done.set()
    thread.join()
    assert type(model.lstm) is nn.LSTM
    assert (len(first["lstm"]), len(second["lstm"])) == (0, 1)


def test_a_tape_hears_its_own_thread_only():
    model = Net(nn.LSTM(4, 5))
    x = torch.randn(3, 2, 4)
    results = []
    with cellgate.trace(model) as tape:
        threads = [threading.Thread(target=lambda: results.append(model(x).detach())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        model(x)
    assert len(tape["lstm"]) == 1
    assert all(torch.equal(result, model(x)) for result in results)
    assert len(results) == 4


def test_shared_modules_and_several_calls():
    shared = nn.LSTM(4, 4)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = shared
            self.inner = nn.ModuleDict({"b": shared, "other": cellgate.LSTM(4, 3)})

        def forward(self, x):
            return self.inner["other"](self.inner["b"](self.a(x)[0])[0])[0]

    model = Twice()
    x = torch.randn(5, 2, 4)
    with cellgate.trace(model) as tape:
        model(x)
    assert list(tape) == ["a", "inner.other"]
    assert tape["inner.b"] is tape["a"]
    assert len(tape) == 2
    assert [len(track) for track in tape.values()] == [2, 1]
    torch.testing.assert_close(tape["a"][0].layer(0).h, shared(x)[0])
    torch.testing.assert_close(tape["a"][1].layer(0).h, shared(shared(x)[0])[0])
    with pytest.raises(cellgate.InputError, match=r"expected one call in the block, got 2: choose one"):
        tape["a"].layer(0)
    with pytest.raises(KeyError, match=r"'nothing': expected one of 'a', 'inner.b', 'inner.other'"):
        tape["nothing"]


class Dropped(nn.Module):
    """A random parametrization: weight-drop."""

    def forward(self, w):
        return torch.nn.functional.dropout(w, 0.5)


@pytest.mark.parametrize("kind", [nn.LSTM, cellgate.LSTM])
@pytest.mark.parametrize("how", ["weight norm", "spectral norm", "weight drop"])
def test_parametrized_weights_are_drawn_once(kind, how):

    def made():
        torch.manual_seed(4)
        lstm = kind(4, 5)
        if how == "weight norm":
            return parametrizations.weight_norm(lstm, "weight_hh_l0")
        if how == "spectral norm":
            return parametrizations.spectral_norm(lstm, "weight_hh_l0")
        parametrize.register_parametrization(lstm, "weight_hh_l0", Dropped())
        return lstm

    lstm, plain = made(), made()
    x = torch.randn(3, 2, 4)
    torch.manual_seed(5)
    expected = plain(x)[0]
    torch.manual_seed(5)
    with cellgate.trace(lstm) as tape:
        got = lstm(x)[0]
    assert torch.equal(got, expected)
    assert tape["lstm"].only().distance <= 1e-6
    for a, b in zip(lstm.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    parametrize.remove_parametrizations(lstm, "weight_hh_l0")
    assert type(lstm) is kind


def test_parametrized_inside_the_block():
    lstm = nn.LSTM(4, 5)
    with cellgate.trace(lstm) as tape:
        parametrizations.weight_norm(lstm, "weight_hh_l0")
        lstm(torch.zeros(1, 1, 4))
    assert len(tape["lstm"]) == 1
    assert type(lstm).__bases__ == (nn.LSTM,)
    parametrize.remove_parametrizations(lstm, "weight_hh_l0")
    assert type(lstm) is nn.LSTM


def test_weights_through_functional_call():
    lstm = nn.LSTM(4, 5)
    zeros = {name: torch.zeros_like(p) for name, p in lstm.named_parameters()}
    with cellgate.trace(lstm) as tape:
        torch.func.functional_call(lstm, zeros, (torch.randn(3, 2, 4),))
    assert bool((tape["lstm"].layer(0).f == 0.5).all())


def test_under_a_transform_it_says_so():
    lstm = cellgate.LSTM(4, 5)
    with cellgate.trace(lstm), pytest.raises(cellgate.InputError, match="trace outside"):
        torch.func.vmap(lambda x: lstm(x)[0])(torch.randn(2, 3, 1, 4))
    assert type(lstm) is cellgate.LSTM


# Dynamo itself looks at .grad of what lives across a graph break, and is warned for it.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.LSTM, cellgate.LSTM])
@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_models(kind, in_place):
    torch._dynamo.reset()
    model = Net(kind(4, 5))
    x = torch.randn(3, 2, 4)
    plain = model(x)
    if in_place:
        model.compile(backend="eager")
        compiled = model
    else:
        compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), plain)
    with cellgate.trace(compiled) as tape:
        traced = compiled(x)
        compiled(x)
    torch.testing.assert_close(traced, plain)
    assert list(tape) == ["lstm"]
    assert len(tape["lstm"]) == 2
    torch.testing.assert_close(model.out(tape["lstm"][0].layer(0).h), plain)
    torch.testing.assert_close(compiled(x), plain)
    assert len(tape["lstm"]) == 2


@pytest.mark.slow
def test_a_full_graph_cannot_be_traced_and_says_so():
    torch._dynamo.reset()
    model = Net(cellgate.LSTM(4, 5))
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # as a whole or not at all
    x = torch.randn(3, 2, 4)
    expected = compiled(x)
    with cellgate.trace(compiled), pytest.raises(torch._dynamo.exc.Unsupported, match=r"cellgate\.trace records"):
        compiled(x)
    assert torch.equal(compiled(x), expected)


COMPILED_INSIDE = """
import sys, torch, cellgate
model = torch.nn.ModuleDict({"lstm": cellgate.LSTM(4, 5)})
x = torch.randn(3, 2, 4)
assert "torch._dynamo" not in sys.modules
with cellgate.trace(model) as tape:
    compiled = torch.compile(lambda x: model["lstm"](x)[0] + 1, backend="eager")
    traced = compiled(x)
assert torch.equal(compiled(x), traced)
assert len(tape["lstm"]) == 1
torch.testing.assert_close(tape["lstm"].layer(0).h + 1, traced)
"""


@pytest.mark.slow
def test_compiled_for_the_first_time_inside_the_block():
    subprocess.run([sys.executable, "-c", COMPILED_INSIDE], check=True)
