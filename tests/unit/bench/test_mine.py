"""A user's own weights: found in what people save, and never by running code from the file."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import cellgate
from cellgate.bench import Shape
from cellgate.bench.mine import find_lstms, load_weights, shape_of
from cellgate.errors import InputError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(5, 8, 2, bidirectional=True)
        self.decoder = nn.LSTM(16, 8, proj_size=3, bias=False, dtype=torch.float64)
        self.gru = nn.GRU(5, 8)
        self.head = nn.Linear(8, 1)


@pytest.fixture
def model():
    return Model()


def saved(content, folder):
    path = folder / "model.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("wrap", "prefix"), [(lambda s: s, ""), (lambda s: {"epoch": 3, "net": {"state_dict": s}}, "net.state_dict.")]
)
def test_every_lstm_of_a_state_dict_or_checkpoint_is_found(model, tmp_path, wrap, prefix):
    path = saved(wrap(model.state_dict()), tmp_path)
    assert set(find_lstms(path)) == {f"{prefix}encoder", f"{prefix}decoder"}
    weights = load_weights(path, f"{prefix}encoder")
    assert shape_of(weights, 10, 4) == Shape(10, 4, 5, 8, L=2, D=2)
    assert all(torch.equal(weights[name], value) for name, value in model.encoder.state_dict().items())
    decoder = load_weights(path, f"{prefix}decoder")
    assert shape_of(decoder, 10, 4) == Shape(10, 4, 16, 8, P=3, dtype="float64", bias=False)


def test_safetensors_are_read(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    assert set(find_lstms(path)) == {"encoder", "decoder"}


def test_a_whole_model_of_torchs_own_modules_is_read(tmp_path):
    assert set(find_lstms(saved(nn.LSTM(3, 4), tmp_path))) == {""}


def test_a_whole_model_of_the_users_class_is_refused_with_the_way_out(model, tmp_path):
    with pytest.raises(
        InputError, match=r"expected a state_dict, got an object of class .*Model.*torch\.save\(model\.state"
    ):
        find_lstms(saved(model, tmp_path))


class Bomb:
    fired = False

    def __reduce__(self):
        return (setattr, (Bomb, "fired", True))


def test_nothing_in_a_file_is_run(tmp_path):
    with pytest.raises(InputError, match="expected a state_dict"):
        find_lstms(saved({"weight_ih_l0": Bomb()}, tmp_path))
    assert not Bomb.fired


@pytest.mark.parametrize(
    "content", [{}, {"gru.weight_ih_l0": torch.ones(24, 5), "gru.weight_hh_l0": torch.ones(24, 8)}]
)
def test_a_file_without_an_lstm_says_so(content, tmp_path):
    with pytest.raises(InputError, match="expected the weights of an LSTM"):
        find_lstms(saved(content, tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"not a model at all, but long enough to have a header",
        *(b"junk\n", b"hello,world\n1,2\n", b"index of what", b"", b"PK\x03\x04 no archive", bytes(range(256))),
    ],
)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_file_of_something_else_is_refused(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected"):
        find_lstms(path)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"cell": "peephole"}, "got more: weight_peephole_l0, weight_peephole_l1"),
        ({"norm": "layer"}, "got more: norm_c_bias_l0"),
        ({"learned_state": True}, "got more: c0_l0"),
        ({"single_bias": True}, "got fewer: bias_hh_l0"),
    ],
)
def test_a_variant_is_not_timed_as_the_plain_cell(keywords, named, tmp_path):
    model = nn.ModuleDict({"encoder": cellgate.LSTM(4, 8, 2, **keywords), "decoder": nn.LSTM(8, 8)})
    with pytest.raises(InputError, match=rf"encoder: expected the parameters of a torch\.nn\.LSTM, {named}"):
        find_lstms(saved(model.state_dict(), tmp_path))


def test_weights_of_other_ranks_are_no_lstm(tmp_path):
    for wrong in (torch.ones(32), torch.ones(1, 32, 8), torch.tensor(1.0)):
        with pytest.raises(InputError, match="expected the weights of an LSTM"):
            find_lstms(saved({"weight_ih_l0": torch.ones(32, 5), "weight_hh_l0": wrong}, tmp_path))
