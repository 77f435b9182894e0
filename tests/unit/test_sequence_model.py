"""SequenceModel is nn.LSTM and nn.Linear, read at the right step."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import cellgate

T, B, I, H, O = 5, 4, 6, 7, 3  # noqa: E741 - the letters of the documentation
LENGTHS = [5, 2, 4, 1]


def by_hand(model: cellgate.SequenceModel) -> tuple[nn.LSTM, nn.Linear]:
    """The two modules a user would write, with the model's weights."""
    c = model.config()
    lstm = nn.LSTM(
        c["input_size"],
        c["hidden_size"],
        c["num_layers"],
        c["bias"],
        c["batch_first"],
        c["dropout"],
        c["bidirectional"],
        c["proj_size"],
    )
    width = (c["proj_size"] or c["hidden_size"]) * (2 if c["bidirectional"] else 1)
    linear = nn.Linear(width, c["output_size"])
    weights = model.state_dict()
    lstm.load_state_dict({k.removeprefix("lstm."): v for k, v in weights.items() if k.startswith("lstm.")})
    linear.load_state_dict({k.removeprefix("readout."): v for k, v in weights.items() if k.startswith("readout.")})
    return lstm.double(), linear.double()


def build(readout="last", **options) -> cellgate.SequenceModel:
    settings = {"dtype": torch.float64, "device": "cpu", "num_layers": 2} | options
    return cellgate.SequenceModel(I, H, settings.pop("num_layers"), O, readout, **settings)


def per_sequence(model: cellgate.SequenceModel, x: torch.Tensor, lengths: list[int]) -> list[torch.Tensor]:
    """The truth for a ragged (B, T, I) batch: nn.LSTM over each sequence alone, nothing padded."""
    lstm, linear = by_hand(model)
    results = []
    for sequence, n in zip(x, lengths, strict=True):
        output, (h_n, _) = lstm(sequence[:n])
        if model.readout_mode == "last":
            read = torch.cat([h_n[-2], h_n[-1]]) if lstm.bidirectional else h_n[-1]
        elif model.readout_mode == "mean":
            read = output.mean(0)
        else:
            read = output
        results.append(linear(read))
    return results


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"proj_size": 4}, {"bias": False}, {"num_layers": 1}])
def test_last_reads_what_the_tutorial_reads(options, batch_first):
    model = build(batch_first=batch_first, **options)
    lstm, linear = by_hand(model)
    x = torch.randn(B, T, I, dtype=torch.float64)
    output, (h_n, _) = lstm(x if batch_first else x.transpose(0, 1))
    if lstm.bidirectional:
        expected = linear(torch.cat([h_n[-2], h_n[-1]], dim=1))
    else:
        expected = linear(output[:, -1] if batch_first else output[-1])  # the tutorial's line
    actual = model(x if batch_first else x.transpose(0, 1))
    assert actual.shape == (B, O)
    torch.testing.assert_close(actual, expected)


def test_bidirectional_last_is_not_the_last_output():
    model = build(bidirectional=True)
    x = torch.randn(B, T, I, dtype=torch.float64)
    wrong = model.readout(model.lstm(x)[0][:, -1])
    assert (model(x) - wrong).abs().max() > 1e-3


@pytest.mark.parametrize("readout", ["last", "all", "mean"])
def test_same_seed_draws_the_weights_of_the_two_modules(readout):
    torch.manual_seed(3)
    lstm, linear = nn.LSTM(I, H, 2, batch_first=True), nn.Linear(H, O)
    torch.manual_seed(3)
    model = cellgate.SequenceModel(I, H, 2, O, readout, device="cpu")
    x = torch.randn(B, T, I)
    output, _ = lstm(x)
    read = {"last": output[:, -1], "all": output, "mean": output.mean(1)}[readout]
    torch.testing.assert_close(model(x), linear(read))
    assert list(model.state_dict()) == [f"lstm.{k}" for k in lstm.state_dict()] + ["readout.weight", "readout.bias"]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", ["last", "all", "mean"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_ragged_batches_equal_each_sequence_alone(readout, bidirectional, batch_first):
    model = build(readout, bidirectional=bidirectional, batch_first=batch_first)
    x = torch.randn(B, T, I, dtype=torch.float64)
    for b, n in enumerate(LENGTHS):
        x[b, n:] = float("nan")  # padding may hold anything
    expected = per_sequence(model, x, LENGTHS)

    given = x if batch_first else x.transpose(0, 1)
    padded = model(given, lengths=LENGTHS)
    as_tensor = model(given, lengths=torch.tensor(LENGTHS))
    packed = model(pack_padded_sequence(given, LENGTHS, batch_first=batch_first, enforce_sorted=False))
    torch.testing.assert_close(as_tensor, padded, rtol=0, atol=0)
    if readout == "all":
        assert isinstance(packed, PackedSequence)
        packed, _ = pad_packed_sequence(packed, batch_first=batch_first)
        torch.testing.assert_close(padded, packed)
        padded = padded if batch_first else padded.transpose(0, 1)
        for b, n in enumerate(LENGTHS):
            torch.testing.assert_close(padded[b, :n], expected[b])
            assert (padded[b, n:] == 0).all()
    else:
        torch.testing.assert_close(padded, torch.stack(expected))
        torch.testing.assert_close(packed, torch.stack(expected))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", ["last", "all", "mean"])
def test_jagged_batches_equal_each_sequence_alone(readout, bidirectional):
    model = build(readout, bidirectional=bidirectional)
    x = torch.randn(B, T, I, dtype=torch.float64)
    jagged = torch.nested.nested_tensor([x[b, :n] for b, n in enumerate(LENGTHS)], layout=torch.jagged)
    for actual, expected in zip(model(jagged).unbind(), per_sequence(model, x, LENGTHS), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("readout", ["last", "all", "mean"])
def test_gradients_equal_those_of_the_two_modules(readout):
    model = build(readout, bidirectional=True)
    lstm, linear = by_hand(model)
    x = torch.randn(B, T, I, dtype=torch.float64)
    x_model, x_hand = x.clone().requires_grad_(), x.clone().requires_grad_()
    prediction = model(x_model, lengths=LENGTHS)

    output, (h_n, _) = lstm(pack_padded_sequence(x_hand, LENGTHS, batch_first=True, enforce_sorted=False))
    output, _ = pad_packed_sequence(output, batch_first=True)
    inside = torch.arange(T) < torch.tensor(LENGTHS).unsqueeze(1)
    if readout == "last":
        expected = linear(torch.cat([h_n[-2], h_n[-1]], dim=1))
    elif readout == "mean":
        expected = linear(output.sum(1) / torch.tensor(LENGTHS).unsqueeze(1))
    else:
        expected = linear(output) * inside.unsqueeze(-1)
    weight = torch.randn_like(expected)
    (prediction * weight).sum().backward()
    (expected * weight).sum().backward()

    torch.testing.assert_close(x_model.grad, x_hand.grad)
    assert (x_model.grad[~inside] == 0).all()
    for mine, theirs in zip(model.parameters(), [*lstm.parameters(), *linear.parameters()], strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("readout", ["last", "all", "mean"])
def test_length_zero_is_finite_and_documented(readout):
    model = build(readout)
    x = torch.full((2, T, I), float("nan"), dtype=torch.float64)
    x[1] = 0.5
    prediction = model(x, lengths=[0, T])
    expected = torch.zeros(T, O, dtype=torch.float64) if readout == "all" else model.readout.bias
    torch.testing.assert_close(prediction[0], expected, check_stride=False)
    torch.testing.assert_close(prediction[1:], model(x[1:]))


def test_length_zero_with_a_state_reads_that_state():
    model = build(num_layers=1)
    h_0, c_0 = torch.randn(2, 1, 2, H, dtype=torch.float64)
    prediction = model(torch.zeros(2, T, I, dtype=torch.float64), (h_0, c_0), lengths=[0, T])
    torch.testing.assert_close(prediction[0], model.readout(h_0[0, 0]))


@pytest.mark.parametrize("readout", ["last", "all", "mean"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_unbatched_equals_a_batch_of_one(readout, batch_first):
    model = build(readout, batch_first=batch_first)
    x = torch.randn(T, I, dtype=torch.float64)
    batch_dim = 0 if batch_first else 1
    for lengths, one in ((None, None), (3, [3]), ([3], [3])):
        expected = model(x.unsqueeze(batch_dim), lengths=one).squeeze(batch_dim if readout == "all" else 0)
        torch.testing.assert_close(model(x, lengths=lengths), expected)


def test_state_carries_a_sequence_on():
    model = build("all")
    x = torch.randn(B, T, I, dtype=torch.float64)
    first, state = model(x[:, :2], return_state=True)
    rest, (h_n, c_n) = model(x[:, 2:], state, return_state=True)
    whole, (h_whole, c_whole) = model(x, return_state=True)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    torch.testing.assert_close((h_n, c_n), (h_whole, c_whole))


def test_reset_starts_an_episode():
    model = build()
    x = torch.randn(1, T, I, dtype=torch.float64)
    reset = torch.tensor([[False, False, True, False, False]])
    torch.testing.assert_close(model(x, reset=reset), model(x[:, 2:]))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_size_per_layer(bidirectional):
    model = cellgate.SequenceModel(
        I, [8, 5], 2, O, bidirectional=bidirectional, proj_size=[0, 2], device="cpu", dtype=torch.float64
    )
    directions = 2 if bidirectional else 1
    assert model.readout.in_features == 2 * directions
    lower = nn.LSTM(I, 8, batch_first=True, bidirectional=bidirectional).double()
    upper = nn.LSTM(8 * directions, 5, batch_first=True, bidirectional=bidirectional, proj_size=2).double()
    weights = model.lstm.state_dict()
    lower.load_state_dict({k: v for k, v in weights.items() if "_l0" in k})
    upper.load_state_dict({k.replace("_l1", "_l0"): v for k, v in weights.items() if "_l1" in k})
    x = torch.randn(B, T, I, dtype=torch.float64)
    _, (h_n, _) = upper(lower(x)[0])
    torch.testing.assert_close(model(x), model.readout(torch.cat(h_n.unbind(0), dim=1)))


def test_dropout_trains_and_is_off_in_eval():
    model = build(dropout=0.5)
    x = torch.randn(B, T, I, dtype=torch.float64)
    assert not torch.equal(model(x), model(x))
    model.eval()
    torch.testing.assert_close(model(x), build_from(model, dropout=0.0)(x))


def build_from(model: cellgate.SequenceModel, **changes) -> cellgate.SequenceModel:
    other = cellgate.SequenceModel(**(model.config() | changes), device="cpu", dtype=torch.float64)
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize(
    "model",
    [build("mean", proj_size=3, bidirectional=True), cellgate.SequenceModel(I, [8, 5], 2, O, device="cpu").double()],
    ids=["uniform", "a size per layer"],
)
def test_pickle_copy_and_config_give_the_same_model(model):
    x = torch.randn(B, T, I, dtype=torch.float64)
    expected = model(x)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), build_from(model)):
        assert repr(twin) == repr(model)
        torch.testing.assert_close(twin(x), expected, rtol=0, atol=0)


def test_auto_device_is_cuda_only_where_there_is_one(monkeypatch):
    assert cellgate.SequenceModel(I, H, 1, O).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cellgate.SequenceModel(I, H, 1, O).device == torch.device("cpu")
    assert cellgate.SequenceModel(I, H, 1, O, device="meta").device.type == "meta"
    with torch.device("meta"):
        assert cellgate.SequenceModel(I, H, 1, O).device.type == "meta"


def test_auto_device_asks_for_cuda(monkeypatch):
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cellgate.SequenceModel, "to", lambda self, device: moved.append(device))
    cellgate.SequenceModel(I, H, 1, O)
    assert moved == [torch.device("cuda")]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((I, H, 1, O, "first"), ValueError, r"readout: expected one of 'last', 'all', 'mean', got 'first'"),
        ((I, H, 1, 0), ValueError, r"output_size: expected more than 0, got 0"),
        ((I, H, 1, 1.0), TypeError, r"output_size: expected an int, got float 1.0"),
        ((I, [8, 5], 3, O), ValueError, r"hidden_size: expected 3 sizes because num_layers=3, got 2"),
        ((I, 0, 1, O), ValueError, r"hidden_size: expected more than 0, got 0"),
    ],
)
def test_construction_errors_name_argument_and_value(arguments, error, message):
    with pytest.raises(error, match=message):
        cellgate.SequenceModel(*arguments)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_call_errors_are_those_of_the_layer(kind):
    with pytest.raises(kind, match=r"input: expected 6 features in \(B, T, I\)"):
        build()(torch.zeros(B, T, I + 1, dtype=torch.float64))
