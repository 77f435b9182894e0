"""Conversion of modules: identity, sharing, copies, parametrizations, and what is left with its reason."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_sequence

import cellgate
from cellgate.nn import call as door
from cellgate.nn.convert import ConvertedLSTM


class Doubled(nn.LSTM):
    def forward(self, input, hx=None):
        output, state = super().forward(input, hx)
        return 2 * output, state


class Plain(nn.LSTM):
    """A subclass without a forward of its own."""


class OwnCell(nn.LSTMCell):
    def forward(self, input, hx=None):
        h, c = super().forward(input, hx)
        return h + 1, c


class Deaf(nn.LSTM):
    """Never comes to nn.LSTM's forward."""

    def forward(self, input, hx=None):
        return input @ self.weight_ih_l0.T


class ByName(nn.LSTM):
    def forward(self, input, hx=None):
        return nn.LSTM.forward(self, input, hx)


class Lenient(nn.LSTM):
    def check_forward_args(self, input, hidden, batch_sizes):
        pass


@pytest.mark.parametrize("keep_type", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, Doubled, Plain])
def test_a_converted_layer_runs_through_cellgate(kind, keep_type, monkeypatch):
    calls = []
    run = door.execute
    monkeypatch.setattr(door, "execute", lambda problem, *rest: (calls.append(problem), run(problem, *rest))[1])
    lstm = kind(3, 4)
    x = torch.randn(5, 2, 3)
    expected = lstm(x)
    assert not calls
    assert cellgate.convert(lstm, keep_type=keep_type) is lstm
    with cellgate.use_backend("aten"):
        got = lstm(x)
    assert len(calls) == 1
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert isinstance(lstm, nn.LSTM) == (keep_type or kind is not nn.LSTM)
    assert isinstance(lstm, kind) == (keep_type or kind is not nn.LSTM)
    assert isinstance(lstm, cellgate.LSTM) == (not keep_type and kind is nn.LSTM)
    assert cellgate.revert(lstm) is lstm
    assert type(lstm) is kind
    torch.testing.assert_close(lstm(x), expected, rtol=0, atol=0)
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [nn.LSTMCell, OwnCell])
def test_cells(kind):
    cell = kind(3, 4)
    x = torch.randn(2, 3)
    expected = cell(x)
    cellgate.convert(cell)
    assert isinstance(cell, cellgate.LSTMCell)
    assert isinstance(cell, kind)
    torch.testing.assert_close(cell(x), expected)
    with pytest.raises(cellgate.ShapeError):
        cell(torch.randn(2, 2, 2, 3))
    cellgate.revert(cell)
    assert type(cell) is kind
    torch.testing.assert_close(cell(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("keep_type", [True, False])
def test_a_converted_layer_can_do_what_ours_can(keep_type):
    lstm = cellgate.convert(nn.LSTM(3, 4, 2, bidirectional=True), keep_type=keep_type)
    x = torch.randn(5, 2, 3)
    output, _ = lstm(x, lengths=[2, 5])
    assert not output[2:, 0].any()
    assert lstm.gates(x)[2][1].backward.f.shape == (5, 2, 4)
    assert "backend:" in str(lstm.explain_backend(x))
    assert isinstance(lstm(pack_sequence([x[:, 0], x[:, 1]]))[0], torch.nn.utils.rnn.PackedSequence)
    with pytest.raises(cellgate.ShapeError, match="expected 3 features"):
        lstm(torch.zeros(5, 2, 7))


@pytest.mark.parametrize("keep_type", [True, False])
def test_a_converted_layer_takes_one_step_at_a_time(keep_type):
    peer = nn.LSTM(4, 6, 2)
    lstm, x = cellgate.convert(copy.deepcopy(peer), keep_type=keep_type), torch.randn(5, 3, 4)
    expected = peer(x)[0].detach()
    stream, state, stepped = lstm.stream(batch=3), None, []
    for x_t in x:
        h, state = lstm.step(x_t, state)
        stepped.append(h)
    assert torch.allclose(torch.stack(stepped), expected, atol=1e-6)
    assert torch.allclose(torch.stack([stream.push(x_t) for x_t in x]), expected, atol=1e-6)
    assert torch.allclose(copy.deepcopy(lstm.stream(3)).push_many(x), expected, atol=1e-6)
    both = cellgate.convert(nn.LSTM(4, 6, bidirectional=True), keep_type=keep_type)
    for refused in (both.stream, lambda: both.step(x[0])):
        with pytest.raises(cellgate.InputError, match="one direction"):
            refused()


@pytest.mark.parametrize("keep_type", [True, False])
def test_everything_stays_in_place(keep_type):
    shared = nn.LSTM(3, 3, 2)
    model = nn.ModuleDict({"a": shared, "deep": nn.ModuleDict({"b": shared, "list": nn.ModuleList([Doubled(3, 3)])})})
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    shared.register_buffer("mark", torch.ones(1))
    shared.extra = "kept"
    before = {m: dict(vars(m)) for m in model.modules()}
    parameters = dict(model.named_parameters())
    keys, shown = list(model.state_dict()), repr(model)

    assert cellgate.convert(model, keep_type=keep_type) is model
    assert model["a"] is model["deep"]["b"] is shared
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert list(model.state_dict()) == keys
    assert repr(model) == shown
    model["a"](torch.zeros(1, 1, 3))
    assert calls == [1]
    assert shared.extra == "kept"

    converted = {m: type(m) for m in model.modules()}
    cellgate.convert(model)  # again changes nothing
    assert {m: type(m) for m in model.modules()} == converted

    cellgate.revert(model)
    for module, attributes in before.items():
        now = dict(vars(module))
        # The same entries; the list of weights holds the same Parameters, and new references to them.
        assert sorted(now) == sorted(attributes)
        for name, value in attributes.items():
            if name == "_flat_weights":
                assert all(a is b for a, b in zip(now[name], value, strict=True))
            elif name == "_flat_weight_refs":
                assert all(a() is b() for a, b in zip(now[name], value, strict=True))
            else:
                assert now[name] is value or now[name] == value
    assert not cellgate.explain_conversion(model).converted


@pytest.mark.parametrize("keep_type", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, Doubled, nn.LSTMCell, OwnCell])
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_stay_converted_and_can_be_reverted(kind, way, keep_type):
    model = nn.ModuleList([kind(3, 4)])
    cellgate.convert(model, keep_type=keep_type)
    if way == "deepcopy":
        other = copy.deepcopy(model)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    x = torch.randn(2, 3)
    torch.testing.assert_close(other[0](x), model[0](x), rtol=0, atol=0)
    assert type(other[0]) is type(model[0])
    assert {id(p) for p in other.parameters()}.isdisjoint({id(p) for p in model.parameters()})
    assert list(cellgate.explain_conversion(other).converted) == ["0"]
    cellgate.revert(other)
    assert type(other[0]) is kind
    torch.testing.assert_close(other[0](x), model[0](x))


def test_not_in_place():
    model = nn.ModuleList([nn.LSTM(3, 4)])
    copied = cellgate.convert(model, inplace=False)
    assert type(model[0]) is nn.LSTM
    assert isinstance(copied[0], ConvertedLSTM)
    assert copied[0].weight_ih_l0 is not model[0].weight_ih_l0
    back = cellgate.revert(copied, inplace=False)
    assert type(back[0]) is nn.LSTM
    assert isinstance(copied[0], ConvertedLSTM)


@pytest.mark.parametrize("keep_type", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, Doubled])
def test_parametrizations(kind, keep_type):
    """Made before, between or after; removed before or after: parametrized weights live through all of it."""
    x = torch.randn(5, 2, 3)

    def made():
        torch.manual_seed(0)
        return parametrizations.weight_norm(kind(3, 4), "weight_hh_l0")

    expected = made()(x)[0]
    lstm = made()
    cellgate.convert(lstm, keep_type=keep_type)
    assert list(cellgate.explain_conversion(lstm).converted) == [""]
    torch.testing.assert_close(lstm(x)[0], expected)
    parametrizations.weight_norm(lstm, "weight_ih_l0")
    torch.testing.assert_close(lstm(x)[0], expected)
    copied = copy.deepcopy(lstm)
    cellgate.revert(lstm)
    assert type(lstm).__bases__ == (kind,)
    torch.testing.assert_close(lstm(x)[0], expected)
    for each in (lstm, copied):
        for name in ("weight_hh_l0", "weight_ih_l0"):
            parametrize.remove_parametrizations(each, name)
        torch.testing.assert_close(each(x)[0], expected)
    assert type(lstm) is kind
    assert list(cellgate.explain_conversion(copied).converted) == [""]
    assert type(cellgate.revert(copied)) is kind
    torch.testing.assert_close(copied(x)[0], expected)


@pytest.mark.parametrize("keep_type", [True, False])
def test_moved_and_replaced_weights_survive_the_way_back(keep_type):
    lstm = nn.LSTM(3, 4)
    cellgate.convert(lstm, keep_type=keep_type)
    lstm.double()
    lstm.weight_ih_l0 = nn.Parameter(torch.zeros(16, 3, dtype=torch.float64))
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    expected = lstm(x)
    cellgate.revert(lstm)
    torch.testing.assert_close(lstm(x), expected)
    assert lstm._flat_weights[0] is lstm.weight_ih_l0
    lstm.weight_hh_l0 = nn.Parameter(torch.zeros(16, 4, dtype=torch.float64))
    assert lstm._flat_weights[1] is lstm.weight_hh_l0


@pytest.mark.parametrize("keep_type", [True, False])
def test_functional_call_and_ensembles(keep_type):
    lstm = cellgate.convert(nn.LSTM(3, 4), keep_type=keep_type)
    x = torch.randn(5, 2, 3)
    zeros = {name: torch.zeros_like(p) for name, p in lstm.named_parameters()}
    assert not torch.func.functional_call(lstm, zeros, (x,))[0].any()
    stacked = {name: torch.stack([p, 2 * p]) for name, p in lstm.named_parameters()}
    outputs = torch.func.vmap(lambda p: torch.func.functional_call(lstm, p, (x,))[0])(stacked)
    torch.testing.assert_close(outputs[0], lstm(x)[0])


@pytest.mark.parametrize("keep_type", [True, False])
def test_replicas_of_data_parallel(keep_type):
    """What nn.DataParallel makes on each device: a copy without Parameters, its weights set as plain tensors."""
    lstm = cellgate.convert(nn.LSTM(3, 4), keep_type=keep_type)
    replica = lstm._replicate_for_data_parallel()
    replica._former_parameters = {}
    for name, parameter in lstm.named_parameters():
        setattr(replica, name, parameter.detach().clone())
        replica._former_parameters[name] = parameter
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(replica(x), lstm(x))
    wrapped = cellgate.convert(nn.DataParallel(nn.LSTM(3, 4)))
    assert list(cellgate.explain_conversion(wrapped).converted) == ["module"]
    wrapped(x)


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces the end of its eager quantization
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(3, 4)), {nn.LSTM}, dtype=torch.qint8)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # and of TorchScript
        return torch.jit.script(nn.Sequential(nn.LSTM(3, 4)))


def quantizable():
    return nn.Sequential(torch.ao.nn.quantizable.LSTM(3, 4))


def instance_forward():
    lstm = nn.LSTM(3, 4)
    lstm.forward = lambda x: x
    return nn.Sequential(lstm)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (quantized, "quantized: its weights are packed integers"),
        (scripted, "scripted: its code is compiled; convert the model before torch.jit"),
        (quantizable, "quantizable: it is made of observed cells"),
        (instance_forward, "its forward is replaced on the instance, and would not be reached"),
        (lambda: nn.Sequential(Deaf(3, 4)), "Deaf.forward does not go through super().forward"),
        (lambda: nn.Sequential(ByName(3, 4)), "ByName.forward does not go through super().forward"),
        (lambda: nn.Sequential(Lenient(3, 4)), "Lenient.check_forward_args changes what nn.LSTM does inside"),
    ],
)
def test_what_is_left_and_why(model, reason):
    model = model()
    types = [type(m) for m in model.modules()]
    cellgate.convert(model)
    assert [type(m) for m in model.modules()] == types
    report = cellgate.explain_conversion(model)
    assert report.left == {"0": reason}
    assert not report.converted
    assert not report.open
    assert str(report) == f"left as it is      0: {reason}"


def test_the_report():
    model = nn.ModuleDict({"a": nn.LSTM(3, 4, 2), "b": Doubled(3, 4), "ours": cellgate.LSTM(3, 4), "gru": nn.GRU(3, 4)})
    report = cellgate.explain_conversion(model)
    assert report.open == ("a", "b")
    assert report.native == ("ours",)
    assert str(report) == "cellgate's own     ours\nnot yet converted  a\nnot yet converted  b"
    cellgate.convert(model)
    report = cellgate.explain_conversion(model)
    assert report.converted == {"a": "LSTM(3, 4, num_layers=2)", "b": f"{__name__}.Doubled(3, 4)"}
    assert report.open == ()
    assert list(report.notes) == ["b"]
    assert "torch.compile" in str(report)
    assert str(cellgate.explain_conversion(nn.Linear(1, 1))) == "no LSTM in this model"
    assert "(the model itself)" in str(cellgate.explain_conversion(nn.LSTM(3, 4)))


def test_ours_from_the_beginning_stays_ours():
    model = nn.ModuleList([cellgate.LSTM(3, [4, 5]), cellgate.LSTMCell(3, 4)])
    cellgate.revert(cellgate.convert(model))
    assert [type(m) for m in model] == [cellgate.LSTM, cellgate.LSTMCell]


def test_wrong_arguments():
    for function in (cellgate.convert, cellgate.revert, cellgate.explain_conversion):
        with pytest.raises(TypeError, match=r"model: expected an nn\.Module, got dict"):
            function({})
    lstm = nn.LSTM(3, 4)
    for function in (cellgate.convert, cellgate.revert):
        with cellgate.trace(lstm), pytest.raises(cellgate.InputError, match="not being traced"):
            function(lstm)
    assert type(lstm) is nn.LSTM
