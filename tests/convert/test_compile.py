"""torch.compile and torch.export: what a graph takes whole, and where it breaks."""

import pytest
import torch
from torch import nn

import cellgate

pytestmark = pytest.mark.slow


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.lstm = kind(3, 4, 2, batch_first=True)
        self.out = nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def ours():
    return Net(cellgate.LSTM)


def converted():
    return cellgate.convert(Net(nn.LSTM), keep_type=False)


def kept():
    return cellgate.convert(Net(nn.LSTM))


@pytest.mark.parametrize("make", [ours, converted])
def test_one_graph_with_gradients(make):
    model = make()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 5, 3)
    expected, got = model(x), compiled(x)
    torch.testing.assert_close(got, expected)
    wanted = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    found = torch.autograd.grad(got.square().sum(), list(model.parameters()))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("make", [lambda: Net(nn.LSTM), kept])
def test_what_is_an_nn_lstm_breaks_the_graph(make):
    """The price of isinstance(m, nn.LSTM), paid before conversion and after it: two graphs instead of one."""
    model = make()
    x = torch.randn(2, 5, 3)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="LSTM"):
        torch.compile(model, backend="eager", fullgraph=True)(x)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))


def test_converted_after_it_was_compiled():
    model = Net(nn.LSTM)
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(2, 5, 3)
    expected = compiled(x)
    cellgate.convert(compiled, keep_type=False)
    assert isinstance(model.lstm, cellgate.LSTM)
    torch.testing.assert_close(compiled(x), expected)
    cellgate.revert(compiled)
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.parametrize("make", [ours, converted])
def test_export(make):
    model = make().eval()
    x = torch.randn(2, 5, 3)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))
