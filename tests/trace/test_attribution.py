"""What an output owes to its input: exact where it can be, marked where the two ways disagree."""

import math

import pytest
import torch

import cellgate
from cellgate.trace import attribute


def linear(x):
    return x @ torch.tensor([1.0, -2.0]) @ torch.arange(1.0, x.shape[1] + 1)


def test_both_ways_are_exact_for_a_linear_function():
    x = torch.randn(7, 2)
    expected = x * torch.tensor([1.0, -2.0]) * torch.arange(1.0, 8.0)[:, None]
    found = attribute(linear, x)
    torch.testing.assert_close(found.gradient, expected)
    torch.testing.assert_close(found.occlusion, expected, atol=1e-4, rtol=1e-4)
    assert found.agreement == pytest.approx(1.0)
    assert not found.disagrees.any()
    assert found.output == pytest.approx(float(expected.sum()), rel=1e-4)
    assert found.neutral == 0.0


def test_influences_are_measured_from_the_neutral_input():
    x, x0 = torch.randn(5, 2), torch.tensor([0.5, -1.0])
    found = attribute(linear, x, x0)
    total = found.output - found.neutral
    assert float(found.gradient.sum()) == pytest.approx(total, rel=1e-4)
    assert float(attribute(linear, x0.expand(5, 2), x0).occlusion.abs().max()) == 0.0


def test_long_sequences_are_taken_in_blocks_that_cover_every_step():
    x = torch.randn(103, 2)
    found = attribute(linear, x, cells=20)
    assert found.edges[0] == 0
    assert found.edges[-1] == 103
    assert found.gradient.shape == found.occlusion.shape == (10, 2)
    torch.testing.assert_close(found.gradient, found.occlusion, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(found.by_step.sum(0), found.gradient.sum(0), atol=1e-3, rtol=1e-4)


def test_saturation_shows_as_disagreement():
    x = torch.tensor([[9.0, 0.3]])
    found = attribute(lambda x: torch.tanh(x[:, 0, 0]) + 0.5 * x[:, 0, 1], x)
    assert found.disagrees.tolist() == [[True, False]]
    assert float(found.gradient[0, 0]) < 1e-3 < float(found.occlusion[0, 0])


def test_an_lstm_that_can_see_one_step_only_owes_it_everything():
    torch.manual_seed(0)
    model = cellgate.SequenceModel(2, 8, 1, 1, device="cpu").eval()
    with torch.no_grad():  # shut the forget gate and the recurrence: the state is the last step's alone
        model.lstm.weight_hh_l0.zero_()
        model.lstm.weight_ih_l0[8:16] = 0
        model.lstm.bias_ih_l0[8:16] = -100
    found = attribute(lambda x: model(x)[:, 0], torch.randn(6, 2), at_once=5)
    assert float(found.occlusion[:-1].abs().max()) < 1e-6  # roundings: another batch size, another order of sums
    assert float(found.gradient[:-1].abs().max()) < 1e-30
    assert float(found.occlusion[-1].abs().min()) > 1e-4


def test_a_model_keeps_its_gradients_and_its_input():
    model = cellgate.SequenceModel(2, 4, 1, 1, device="cpu").eval()
    x = torch.randn(4, 2)
    before = x.clone()
    attribute(lambda x: model(x)[:, 0], x)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("x", "x0", "function", "message"),
    [
        (torch.zeros(2, 3, 4), None, linear, r"x: expected one sequence \(T, I\)"),
        (torch.zeros(0, 2), None, linear, "with steps"),
        (torch.zeros(3, 2), torch.zeros(3), linear, r"x0: expected \(2,\) or \(3, 2\)"),
        (torch.zeros(3, 2), None, lambda x: x[:, 0], "one number a sequence"),
    ],
)
def test_errors_say_what_was_expected(x, x0, function, message):
    with pytest.raises(cellgate.InputError, match=message):
        attribute(function, x, x0)


@pytest.mark.parametrize("name", ["cells", "at_once"])
@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_counts_are_positive(name, count):
    with pytest.raises(cellgate.InputError, match=f"{name}: expected a positive integer, got {count}"):
        attribute(linear, torch.ones(3, 2), **{name: count})


@pytest.mark.parametrize("x", [torch.ones(3, 2, dtype=torch.int64), [[1.0, 2.0]]])
def test_what_has_no_gradient_is_refused(x):
    with pytest.raises(cellgate.DtypeError, match="x: expected a tensor of floats, got"):
        attribute(linear, x)


def test_the_modes_around_it_change_nothing():
    lstm = cellgate.LSTM(2, 4, batch_first=True)
    x = torch.randn(5, 2)

    def last(x):
        return lstm(x)[0][:, -1, 0]

    expected = attribute(last, x)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            found = attribute(last, x * 1)
        torch.testing.assert_close(found.gradient, expected.gradient)
        torch.testing.assert_close(found.occlusion, expected.occlusion)


def test_influences_that_are_no_numbers_agree_on_nothing():
    assert math.isnan(attribute(lambda x: x.sum((1, 2)), torch.full((3, 2), math.nan)).agreement)
