"""Real architectures, converted: equal before and after, trained to equal losses, reverted to what they were."""

import copy

import pytest
import torch
from tests.convert.models import CASES, AnyRecurrent
from torch import nn

import cellgate


def trained(model, case, batch, steps, optimiser=None):
    """Train and return the losses and the optimiser."""
    optimiser = optimiser or torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = case.loss(model, batch)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, optimiser


def lstms(model):
    return [m for m in model.modules() if isinstance(m, nn.LSTM | nn.LSTMCell | cellgate.LSTM)]


def described(model):
    """Return everything that must come back: classes, attributes by identity, parameters by identity."""
    return [
        (type(m).__name__, type(m).__mro__[-1 if "Parametrized" in type(m).__name__ else 0], sorted(vars(m)), id(m))
        for m in model.modules()
    ]


@pytest.fixture(params=list(CASES))
def case(request):
    return CASES[request.param]


# What the textbook's model loses with keep_type=False is the subject of a test of its own.
KEEPS = [True, False]


def may_lose_its_type(model):
    return not isinstance(model, AnyRecurrent)


@pytest.mark.parametrize("keep_type", KEEPS)
def test_the_same_bits_on_the_same_kernels(case, keep_type):
    """PyTorch's kernels under both: the losses of five steps, and every parameter after them, are the same bits."""
    plain, batch = case.made()
    if not keep_type and not may_lose_its_type(plain):
        pytest.skip("asks for its layer's type; see test_what_a_hidden_type_would_cost")
    model = cellgate.convert(case.made()[0], keep_type=keep_type)
    assert len(cellgate.explain_conversion(model).converted) == case.lstms
    torch.manual_seed(2)
    expected, _ = trained(plain, case, batch, 5)
    torch.manual_seed(2)
    with cellgate.use_backend("aten"):
        got, _ = trained(model, case, batch, 5)
    assert got == expected
    for (name, a), (other, b) in zip(plain.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b)
    assert expected[-1] < expected[0]


@pytest.mark.parametrize("keep_type", KEEPS)
def test_equal_losses_on_the_backend_that_auto_chooses(case, keep_type):
    plain, batch = case.made()
    if not keep_type and not may_lose_its_type(plain):
        pytest.skip("asks for its layer's type; see test_what_a_hidden_type_would_cost")
    model = cellgate.convert(case.made()[0], keep_type=keep_type)
    torch.manual_seed(2)
    expected, _ = trained(plain, case, batch, 5)
    torch.manual_seed(2)
    got, _ = trained(model, case, batch, 5)
    assert got == pytest.approx(expected, rel=1e-5)


def test_there_and_back_in_the_middle_of_training(case):
    """Two steps plain, two converted, two reverted, one optimiser: the losses of six plain steps."""
    plain, batch = case.made()
    model, _ = case.made()
    torch.manual_seed(2)
    expected, _ = trained(plain, case, batch, 6)
    before = described(model)
    parameters = [id(p) for p in model.parameters()]
    torch.manual_seed(2)
    losses, optimiser = trained(model, case, batch, 2)
    with cellgate.use_backend("aten"):
        cellgate.convert(model)
        assert [id(p) for p in model.parameters()] == parameters
        losses += trained(model, case, batch, 2, optimiser)[0]
        cellgate.revert(model)
    assert described(model) == before
    assert [id(p) for p in model.parameters()] == parameters
    losses += trained(model, case, batch, 2, optimiser)[0]
    assert losses == expected


def test_evaluation_and_state_dict_go_both_ways(case):
    plain, batch = case.made()
    model = cellgate.convert(case.made()[0])
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(0.1)
    model.load_state_dict(plain.state_dict())
    plain.eval()
    model.eval()
    with cellgate.use_backend("aten"), torch.no_grad():
        assert torch.equal(case.loss(model, batch), case.loss(plain, batch))
    plain.load_state_dict(model.state_dict())


def test_traced_after_conversion(case):
    """The tape of a converted model holds the gates of the plain one."""
    plain, batch = case.made()
    if not any(isinstance(m, nn.LSTM) for m in plain.modules()):
        pytest.skip("has cells only, which the trace does not hear")
    model = cellgate.convert(case.made()[0])
    tapes = []
    for each in (plain, model):
        torch.manual_seed(2)
        with cellgate.trace(each) as tape:
            case.loss(each, batch)
        tapes.append(tape)
    assert list(tapes[0]) == list(tapes[1])
    for name in tapes[0]:
        assert len(tapes[0][name]) == len(tapes[1][name]) > 0
        for a, b in zip(tapes[0][name], tapes[1][name], strict=True):
            for layer_a, layer_b in zip(a.layers, b.layers, strict=True):
                for d_a, d_b in zip(layer_a.directions, layer_b.directions, strict=True):
                    for gate in "ifgoch":
                        torch.testing.assert_close(getattr(d_a, gate), getattr(d_b, gate), rtol=1e-5, atol=1e-6)


def test_what_a_hidden_type_would_cost():
    """Why keep_type is the default: a model that asks isinstance(..., nn.LSTM) computes something else without it."""
    case = CASES["any recurrent"]
    plain, (x, _) = case.made()
    kept = cellgate.convert(copy.deepcopy(plain))
    hidden = cellgate.convert(copy.deepcopy(plain), keep_type=False)
    with cellgate.use_backend("aten"):
        assert torch.equal(kept(x), plain(x))
        assert hidden(x).shape != plain(x).shape  # (1, B, 1): the readout of c_n, and no error
        assert torch.equal(hidden(x)[0], plain.readout(plain.rnn(x)[1][1][0]))
