"""cellgate.LSTM as a module: parameters, initial values, state_dict, copies, and what people do to modules."""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import cellgate

CONFIGURATIONS = [
    {},
    {"num_layers": 2, "bias": False},
    {"num_layers": 3, "bidirectional": True, "batch_first": True, "dropout": 0.5},
    {"num_layers": 2, "bidirectional": True, "proj_size": 3},
    {"proj_size": 2, "bias": False},
]
each = pytest.mark.parametrize("kwargs", CONFIGURATIONS, ids=str)
X = torch.linspace(-1, 1, 5 * 2 * 4).reshape(5, 2, 4)


def both(kwargs: dict, **more) -> tuple[cellgate.LSTM, nn.LSTM]:
    torch.manual_seed(0)
    ours = cellgate.LSTM(4, 6, **kwargs, **more)
    torch.manual_seed(0)
    return ours, nn.LSTM(4, 6, **kwargs, **more)


@each
def test_same_seed_same_weights_names_order_and_generator(kwargs: dict):
    torch.manual_seed(0)
    cellgate.LSTM(4, 6, **kwargs)
    after = torch.rand(1)
    torch.manual_seed(0)
    nn.LSTM(4, 6, **kwargs)
    assert torch.equal(after, torch.rand(1))
    ours, peer = both(kwargs)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in peer.named_parameters()]
    assert list(ours.state_dict()) == list(peer.state_dict())
    for a, b in zip(ours.parameters(), peer.parameters(), strict=True):
        assert torch.equal(a, b)


def test_same_seed_same_weights_for_every_size_to_the_last_bit():
    for h in range(1, 200):
        torch.manual_seed(h)
        ours = cellgate.LSTM(1, h, bias=False, dtype=torch.float64)
        torch.manual_seed(h)
        peer = nn.LSTM(1, h, bias=False, dtype=torch.float64)
        assert torch.equal(ours.weight_hh_l0, peer.weight_hh_l0), h
        torch.manual_seed(h)
        cell = cellgate.LSTMCell(1, h, dtype=torch.float64)
        torch.manual_seed(h)
        assert torch.equal(cell.weight_hh, nn.LSTMCell(1, h, dtype=torch.float64).weight_hh)


def test_sizes_per_layer_are_drawn_by_their_own_size():
    lstm = cellgate.LSTM(4, [1_000, 10])
    assert 0.99 < 1000**0.5 * float(lstm.weight_ih_l0.detach().abs().max()) <= 1 + 1e-6
    assert 0.99 < 10**0.5 * float(lstm.weight_hh_l1.detach().abs().max()) <= 1 + 1e-6


@each
def test_state_dict_loads_both_ways(kwargs: dict):
    ours, peer = cellgate.LSTM(4, 6, **kwargs).eval(), nn.LSTM(4, 6, **kwargs).eval()
    x = X.transpose(0, 1) if kwargs.get("batch_first") else X
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections")
        ours.load_state_dict(peer.state_dict())
        torch.testing.assert_close(ours(x), peer(x))
        peer.load_state_dict(cellgate.LSTM(4, 6, **kwargs).state_dict())
        ours.load_state_dict(peer.state_dict())
        torch.testing.assert_close(ours(x), peer(x))


@each
def test_repr_and_attributes(kwargs: dict):
    ours, peer = both(kwargs)
    assert repr(ours) == repr(peer)
    for name in nn.RNNBase.__constants__:
        assert getattr(ours, name) == getattr(peer, name)
        assert type(getattr(ours, name)) is type(getattr(peer, name))
    assert ours._all_weights == peer._all_weights
    for names, weights in zip(ours._all_weights, ours.all_weights, strict=True):
        assert all(w is ours.get_parameter(n) for n, w in zip(names, weights, strict=True))


@pytest.mark.parametrize("sizes", [{}, {"proj_size": 3}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_helpers_that_derived_classes_call(sizes: dict):
    ours, theirs = cellgate.LSTM(5, 8, **sizes), nn.LSTM(5, 8, **sizes)
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))
    x = torch.randn(7, 4, 5)
    shapes = [module.get_expected_cell_size(x, None) for module in (ours, theirs)]
    assert shapes[0] == shapes[1]
    hx = torch.randn(ours.get_expected_hidden_size(x, None)), torch.randn(shapes[0])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(ours.permute_hidden(hx, order), theirs.permute_hidden(hx, order))
    ours.check_forward_args(x, hx, None)
    with pytest.raises(RuntimeError, match="Expected hidden"):
        ours.check_forward_args(x, (hx[0][:, :2], hx[1]), None)


def test_repr_of_sizes_per_layer():
    assert repr(cellgate.LSTM(4, [6, 3], proj_size=[2, 0])) == "LSTM(4, [6, 3], proj_size=[2, 0], num_layers=2)"


def test_signature_begins_as_nn_lstms():
    lstm = cellgate.LSTM(4, 6, 2, False, True, 0.25, True, 3, "cpu", torch.float64)
    got = (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bias, lstm.batch_first, lstm.dropout)
    assert got == (4, 6, 2, False, True, 0.25)
    assert (lstm.bidirectional, lstm.proj_size, lstm.weight_hr_l1_reverse.dtype) == (True, 3, torch.float64)


def test_what_it_is_an_instance_of():
    assert isinstance(cellgate.LSTM(4, 6), nn.RNNBase)
    assert not isinstance(cellgate.LSTM(4, 6), nn.LSTM), "torch.compile refuses subclasses of nn.LSTM"
    assert isinstance(cellgate.LSTMCell(4, 6), nn.LSTMCell)
    assert cellgate.LSTM(4, 6).mode == "LSTM"


@each
def test_deepcopy_and_pickle(kwargs: dict):
    lstm = cellgate.LSTM(4, 6, **kwargs).eval()
    x = X.transpose(0, 1) if kwargs.get("batch_first") else X
    for other in (copy.deepcopy(lstm), copy.copy(lstm), pickle.loads(pickle.dumps(lstm))):
        torch.testing.assert_close(other(x), lstm(x))
    other = copy.deepcopy(lstm)
    with torch.no_grad():
        other.weight_hh_l0.zero_()
    assert not torch.equal(other(x)[0], lstm(x)[0])
    assert torch.count_nonzero(lstm.weight_hh_l0) > 0


def test_a_saved_nn_lstm_becomes_ours_and_is_saved_again():
    peer = nn.LSTM(4, 6, 2)
    peer(X)
    with io.BytesIO() as file:
        torch.save(peer, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
    loaded.__class__ = cellgate.LSTM
    torch.testing.assert_close(loaded(X), peer(X))
    again = pickle.loads(pickle.dumps(loaded))
    assert type(again) is cellgate.LSTM
    torch.testing.assert_close(again(X), peer(X))
    torch.testing.assert_close(copy.deepcopy(loaded).double()(X.double()), peer.double()(X.double()))


def test_pickles_from_before_projections():
    state = cellgate.LSTM(4, 6).__getstate__()
    del state["proj_size"]
    old = cellgate.LSTM.__new__(cellgate.LSTM)
    old.__setstate__(state)
    assert old.proj_size == 0
    assert old(X)[0].shape == (5, 2, 6)


@pytest.mark.parametrize("move", ["half", "bfloat16", "double", "float"])
def test_to_another_dtype(move: str):
    lstm = cellgate.LSTM(4, 6, 2)
    identity = [id(p) for p in lstm.parameters()]
    moved = getattr(lstm, move)()
    assert moved is lstm
    assert [id(p) for p in lstm.parameters()] == identity
    x = getattr(X, move)()
    output, (h_n, c_n) = lstm(x)
    assert output.dtype == h_n.dtype == c_n.dtype == x.dtype


def test_to_and_from_the_meta_device():
    lstm = cellgate.LSTM(4, 6, device="meta")
    assert lstm.weight_hh_l0.is_meta
    lstm.to_empty(device="cpu")
    lstm.reset_parameters()
    assert float(lstm.weight_hh_l0.detach().abs().max()) <= 1 / math.sqrt(6)
    lstm(X)


def test_weights_changed_in_any_way_count_at_the_next_call():
    """An optimiser, load_state_dict, .data, copy_, in place, a new Parameter: nothing may be remembered."""
    lstm, peer = both({})

    def check():
        peer.load_state_dict(lstm.state_dict())
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                torch.testing.assert_close(lstm(X), peer(X))

    check()
    optimizer = torch.optim.Adam(lstm.parameters(), lr=0.1)
    lstm(X)[0].square().sum().backward()
    optimizer.step()
    check()
    lstm.load_state_dict(cellgate.LSTM(4, 6).state_dict())
    check()
    lstm.weight_hh_l0.data = torch.randn(24, 6)
    check()
    lstm.weight_hh_l0.data.neg_()
    check()
    lstm.weight_ih_l0.data[3, 2] += 1
    check()
    with torch.no_grad():
        lstm.bias_ih_l0.copy_(torch.randn(24))
        lstm.weight_hh_l0.copy_(lstm.weight_hh_l0.roll(1, 0))
    check()
    lstm.weight_hh_l0.detach().numpy()[:] = 0.25
    check()
    lstm.weight_ih_l0 = nn.Parameter(torch.randn(24, 4))
    check()
    lstm.share_memory()
    lstm.weight_ih_l0.data.mul_(2)
    check()


def test_tied_weights_get_both_gradients():
    lstm = cellgate.LSTM(6, 6, 2)
    lstm.weight_ih_l1 = lstm.weight_ih_l0
    x = torch.randn(5, 2, 6)
    peer = nn.LSTM(6, 6, 2)
    peer.load_state_dict(lstm.state_dict())
    lstm(x)[0].sum().backward()
    peer(x)[0].sum().backward()
    assert len(list(lstm.parameters())) == 7
    torch.testing.assert_close(lstm.weight_ih_l0.grad, peer.weight_ih_l0.grad + peer.weight_ih_l1.grad)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrizations(kind: str):
    lstm = cellgate.LSTM(4, 6)
    getattr(parametrizations, kind)(lstm, "weight_hh_l0")
    peer = nn.LSTM(4, 6)
    lstm.eval()
    peer.load_state_dict({n: getattr(lstm, n).detach().clone() for n in peer.state_dict()})
    with torch.no_grad():
        torch.testing.assert_close(lstm(X), peer(X))
    torch.testing.assert_close(lstm(X), peer(X))
    lstm(X)[0].sum().backward()
    trained = [p for n, p in lstm.named_parameters() if "parametrizations" in n]
    assert trained
    assert all(p.grad is not None for p in trained)
    copy.deepcopy(lstm)(X)
    torch.nn.utils.parametrize.remove_parametrizations(lstm, "weight_hh_l0")
    torch.testing.assert_close(lstm(X), peer(X))


@pytest.mark.parametrize("grad", [False, True])
def test_weight_drop(grad: bool):
    """AWD-LSTM: the parameter is taken out, and a dropped tensor is put in its place at every call."""
    lstm = cellgate.LSTM(4, 6)
    raw = lstm.weight_hh_l0
    del lstm.weight_hh_l0
    lstm.register_parameter("weight_hh_l0_raw", raw)
    for _ in range(2):
        lstm.weight_hh_l0 = nn.functional.dropout(raw, 0.5)
        peer = nn.LSTM(4, 6)
        peer.load_state_dict({n: getattr(lstm, n).detach() for n in peer.state_dict()})
        lstm._flat_weights = [getattr(lstm, n) for n in lstm._flat_weights_names]  # as older wrappers do
        with torch.set_grad_enabled(grad):
            output, _ = lstm(X)
        torch.testing.assert_close(output, peer(X)[0].detach() if not grad else peer(X)[0])
        if grad:
            output.sum().backward()
            assert torch.equal(raw.grad == 0, lstm.weight_hh_l0 == 0)
            raw.grad = None


@pytest.mark.parametrize("grad", [False, True])
def test_an_attribute_in_front_of_a_parameter_is_obeyed(grad: bool):
    """As wrappers do that shard or swap weights: what ``lstm.weight_hh_l0`` says is what counts."""
    lstm, other = cellgate.LSTM(4, 6), cellgate.LSTM(4, 6)
    vars(lstm).update({name: p.detach() for name, p in other.named_parameters()})
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(lstm(X), other(X))


def test_pruning():
    lstm = cellgate.LSTM(4, 6)
    prune.l1_unstructured(lstm, "weight_hh_l0", amount=0.5)
    assert torch.count_nonzero(lstm.weight_hh_l0) == 72
    before = lstm(X)[0]
    prune.remove(lstm, "weight_hh_l0")
    torch.testing.assert_close(lstm(X)[0], before)


def test_functional_call_uses_the_weights_it_is_given():
    lstm, other = cellgate.LSTM(4, 6), cellgate.LSTM(4, 6)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            got = torch.func.functional_call(lstm, dict(other.named_parameters()), (X,))
            torch.testing.assert_close(got, other(X))


def test_flatten_parameters_is_silent_and_changes_nothing():
    lstm = cellgate.LSTM(4, 6)
    addresses = [p.data_ptr() for p in lstm.parameters()]
    assert lstm.flatten_parameters() is None
    assert [p.data_ptr() for p in lstm.parameters()] == addresses


def test_data_parallel_replicas():
    lstm = cellgate.LSTM(4, 6, 2)
    replica = lstm._replicate_for_data_parallel()
    replica._parameters = {}
    for name, p in lstm.named_parameters():
        setattr(replica, name, p.detach().clone() * 2)
    want = cellgate.LSTM(4, 6, 2)
    want.load_state_dict({n: 2 * p.detach() for n, p in lstm.named_parameters()})
    torch.testing.assert_close(replica(X), want(X))
    with torch.no_grad():
        torch.testing.assert_close(replica(X), want(X))


def test_dropout_with_one_layer_warns_as_nn_lstm_does():
    words = "expects num_layers greater than 1, but got dropout=0.5 and num_layers=1"
    with pytest.warns(UserWarning, match=words) as ours:
        cellgate.LSTM(4, 6, dropout=0.5)
    with pytest.warns(UserWarning, match=words) as theirs:
        nn.LSTM(4, 6, dropout=0.5)
    assert str(ours[0].message) == str(theirs[0].message)
    assert ours[0].filename == __file__


def test_projection_says_nothing_about_onednn():
    cellgate.LSTM(4, 6, proj_size=2)(X)  # warnings are errors in this suite


def test_hooks_see_the_call():
    lstm, seen = cellgate.LSTM(4, 6), []
    lstm.register_forward_pre_hook(lambda m, args: seen.append("before"))
    lstm.register_forward_hook(lambda m, args, out: seen.append(out[0].shape))
    lstm(X)
    assert seen == ["before", (5, 2, 6)]


def test_explain_backend_and_use_backend():
    lstm = cellgate.LSTM(4, 6)
    choice = lstm.explain_backend(X)
    assert choice.name in cellgate.backends.dispatch.BACKENDS
    assert set(choice.reasons) == set(cellgate.backends.dispatch.BACKENDS) - {choice.name}
    with cellgate.use_backend("reference"):
        assert lstm.explain_backend(X).name == "reference"
        assert "asked for by name" in str(lstm.explain_backend(X))
    assert lstm.explain_backend(X) == choice
    with pytest.raises(cellgate.InputError, match="got 'fast'"), cellgate.use_backend("fast"):
        pass
