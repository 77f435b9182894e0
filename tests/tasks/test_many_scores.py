"""Cross-entropy some rows at a time: PyTorch's numbers, gradients included, without all scores in memory."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cellgate import LanguageModel
from cellgate.tasks import many_scores
from cellgate.tasks.many_scores import are_many, cross_entropy
from cellgate.tasks.network import SequenceNetwork

TOKENS = 50


def arguments(rows=37, units=9, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        (spread * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
        for shape in ((rows, units), (TOKENS, units), (TOKENS,))
    )
    return x, weight, bias, torch.randint(TOKENS, (rows,), generator=generator)


def plain(x, weight, bias, targets):
    return nn.functional.cross_entropy(nn.functional.linear(x, weight, bias), targets)


def gradients(loss, x, weight, bias, scale=1.0):
    return torch.autograd.grad(scale * loss, (x, weight, bias))


@pytest.mark.parametrize("at_once", [1, 10 * TOKENS, 37 * TOKENS, 1000 * TOKENS], ids=str)
@pytest.mark.parametrize("spread", [1.0, 30.0])  # of scores as large as these some shares are zero
@pytest.mark.parametrize("rows", [1, 37])
def test_it_is_plain_cross_entropy(at_once, spread, rows, monkeypatch):
    monkeypatch.setattr(many_scores, "_AT_ONCE", at_once)
    *given, targets = arguments(rows, spread=spread)
    found, wanted = cross_entropy(*given, targets), plain(*given, targets)
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)
    for one, other in zip(gradients(found, *given, 3.0), gradients(wanted, *given, 3.0), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_in_float32_it_rounds_no_more_than_pytorch(monkeypatch):
    monkeypatch.setattr(many_scores, "_AT_ONCE", 10 * TOKENS)
    *exact, targets = arguments(400)
    given = [part.detach().float().requires_grad_() for part in exact]
    exact = [part.detach().double().requires_grad_() for part in given]
    truth = plain(*exact, targets)
    truth = [truth.detach(), *gradients(truth, *exact)]

    def errors(of):
        loss = of(*given, targets)
        found = [loss.detach(), *gradients(loss, *given)]
        return [float((one - other).abs().max()) for one, other in zip(found, truth, strict=True)]

    for mine, theirs, value in zip(errors(cross_entropy), errors(plain), truth, strict=True):
        assert mine <= 2 * theirs + 2 * torch.finfo(torch.float32).eps * float(value.abs().max())


def test_not_all_scores_are_held(monkeypatch):
    monkeypatch.setattr(many_scores, "_AT_ONCE", 10 * TOKENS)
    *given, targets = arguments(400)
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            sizes.extend([made.numel()] if isinstance(made, torch.Tensor) else [])
            return made

    with Sizes():
        gradients(cross_entropy(*given, targets), *given)
    assert max(sizes) == given[0].numel()  # what the readout reads; all scores are five times as many


def test_the_same_numbers_again(monkeypatch):
    monkeypatch.setattr(many_scores, "_AT_ONCE", 10 * TOKENS)
    *given, targets = arguments(dtype=torch.float32)
    runs = [gradients(cross_entropy(*given, targets), *given) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_gradients_are_had_once():
    *given, targets = arguments()
    loss = cross_entropy(*given, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward pass, got a second"):
        loss.backward()
    scaled = torch.ones((), dtype=torch.float64, requires_grad=True) * cross_entropy(*given, targets)
    (dx,) = torch.autograd.grad(scaled, given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_it_is_used_where_all_scores_are_more_than_are_held():
    assert not are_many(2048, 100)  # characters
    assert are_many(2048, 10_000)  # words


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_network_drops_the_same_either_way(locked, training, monkeypatch):
    torch.manual_seed(0)
    model = SequenceNetwork(3, TOKENS, 8, readout="all", dropout=0.5, locked=locked).train(training)
    x, targets = torch.randn(4, 6, 3), torch.randint(TOKENS, (4, 6))
    found = []
    for at_once in (10 * TOKENS, 1000 * TOKENS):
        monkeypatch.setattr(many_scores, "_AT_ONCE", at_once)
        torch.manual_seed(1)
        loss, state = model.mean_loss(x, None, targets)
        found.append([loss.detach(), *state, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)


def test_a_model_of_words_trains_alike_and_goes_on_alike(tmp_path, monkeypatch):
    """Equal losses up to rounding with all scores held or not; the same ones from the same seed, after a stop too."""
    text = " ".join(f"w{k * k % 41}" for k in range(3000))

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    def new():
        return LanguageModel(units="words", hidden_size=8, max_epochs=4)

    plain = new().fit(text).record_.history
    monkeypatch.setattr(many_scores, "_AT_ONCE", 500)
    called = []
    monkeypatch.setattr(
        "cellgate.tasks.network.cross_entropy", lambda *given: (called.append(1), cross_entropy(*given))[1]
    )
    whole = new().fit(text)
    assert called
    for one, other in zip(whole.record_.history, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    with pytest.raises(Stop):
        new().fit(text, watch=stop, checkpoint=tmp_path, checkpoint_every=0.0)
    resumed = new().fit(text, checkpoint=tmp_path, checkpoint_every=0.0)
    assert resumed.record_.history == whole.record_.history
    assert torch.equal(resumed.model_.readout.weight, whole.model_.readout.weight)
