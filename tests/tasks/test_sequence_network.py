"""SequenceNetwork: what is dropped where, and that it comes back from its config."""

import pytest
import torch

from cellgate.tasks.network import SequenceNetwork


def make(**changes):
    torch.manual_seed(0)
    return SequenceNetwork(3, 5, 16, readout="all", **changes)


@pytest.mark.parametrize("locked", [False, True])
def test_locked_dropout_before_the_readout_is_the_same_at_all_steps(locked):
    model = make(dropout=0.5, locked=locked)
    # With a readout that adds up its input, a constant input shows how much of it was left.
    torch.nn.init.ones_(model.readout.weight)
    torch.nn.init.zeros_(model.readout.bias)
    left = model.readout(torch.ones(4, 30, 16)).detach()[..., 0]
    assert (left == left[:, :1]).all() == locked
    assert len(left[:, 0].unique()) > 1  # and not the same for all sequences
    assert left.mean() == pytest.approx(16, rel=0.3)  # what stays is scaled up
    model.eval()
    assert (model.readout(torch.ones(4, 30, 16))[..., 0] == 16).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_a_locked_network_comes_back_from_its_config(layers):
    model = make(num_layers=layers, dropout=0.3, locked=True, state_dropout=0.25)
    assert model.lstm.variant.locked_dropout == (0.0, 0.3 if layers == 2 else 0.0, 0.25)
    again = SequenceNetwork(**model.config())
    again.load_state_dict(model.state_dict())
    assert again.lstm.variant == model.lstm.variant
    x = torch.randn(2, 7, 3)
    torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=0, atol=0)
    torch.manual_seed(1)
    dropped = model.train()(x)
    torch.manual_seed(1)
    torch.testing.assert_close(again.train()(x), dropped, rtol=0, atol=0)
    assert (dropped != model.eval()(x)).any()


def test_without_dropout_the_layer_is_the_plain_one():
    assert make(locked=True).lstm.variant is None
    assert make(dropout=0.5).lstm.variant is None
