"""torch.compile and torch.export: what a graph takes whole, and where it breaks."""

import pytest
import torch
from torch import nn

import cellgate

pytestmark = [
    pytest.mark.slow,
    # Dynamo's own, where it is first to import PyTorch's symbolic shapes.
    pytest.mark.filterwarnings("ignore:.torch.jit.*. is deprecated:DeprecationWarning"),
]


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


# Dynamo looks at .grad of whatever tensor it is given, and PyTorch warns of that; with nn.LSTM it does, too.
looks_at_grad = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")

LAYERS = {
    "plain": (nn.LSTM, {}),
    "dropout": (nn.LSTM, {"num_layers": 2, "dropout": 0.5}),
    "bfloat16": (nn.LSTM, {"dtype": torch.bfloat16}),
    "peephole": (cellgate.LSTM, {"peephole": True}),
    "cifg, without bias": (cellgate.LSTM, {"cell": "cifg", "bias": False}),
    "memory": (cellgate.LSTM, {"memory": "minimal"}),
}


@looks_at_grad
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [None, [2, 4]], ids=["dense", "lengths"])
def test_backward_inside_a_compiled_function(name, lengths):
    """Dynamo runs what autograd calls in Python as code of the compiled function, and loses natives' self."""
    kind, keywords = LAYERS[name]
    layer = cellgate.convert(kind(3, 4, **keywords))
    x = torch.randn(4, 2, 3, dtype=layer.weight_ih_l0.dtype)

    def gradients(backward):
        torch.manual_seed(0)
        backward(layer(x, lengths=lengths)[0].square().sum())
        found = [parameter.grad for parameter in layer.parameters()]
        layer.zero_grad()
        return found

    wanted = gradients(lambda loss: loss.backward())
    found = gradients(torch.compile(lambda loss: loss.backward(), backend="eager"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@looks_at_grad
def test_a_whole_step_of_a_converted_model():
    torch.manual_seed(0)
    models = [kept(), ours()]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(2, 5, 3)

    def step(model):
        loss = model(x).square().mean()
        loss.backward()
        return loss

    losses = []
    for model, run in zip(models, (torch.compile(step, backend="eager"), step), strict=True):
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        losses.append([])
        for _ in range(4):
            optimizer.zero_grad()
            losses[-1].append(float(run(model).detach()))
            optimizer.step()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0][-1] < losses[0][0]


def test_without_the_mark_of_dynamo_a_backward_is_wrapped(monkeypatch):
    """The mark is PyTorch's own affair and may be gone in another version: it costs time then, and no more."""
    from cellgate.backends.uncompiled import uncompiled

    monkeypatch.delattr(torch._C._dynamo.eval_frame, "set_code_exec_strategy")
    seen = []

    @uncompiled
    def plain():
        seen.append(torch.compiler.is_compiling())

    torch.compile(lambda: plain(), backend="eager")()
    plain()
    assert seen == [False, False]
