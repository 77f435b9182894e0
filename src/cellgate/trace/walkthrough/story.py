"""The chapters of the worked example: each runs a layer, computes it again by other means, and compares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cellgate.errors import InputError
from cellgate.nn import LSTM, SequenceModel
from cellgate.nn.call import weights_of

from .characters import split_characters
from .parameters import parameter_lines
from .parts import ROUNDING, Check, Pass, Section, Walkthrough

__all__ = ["walk"]

MakeLayer = Callable[..., LSTM]


def walk(
    text: str = "早上好",
    input_size: int = 20,
    hidden_size: int = 100,
    seed: int = 0,
    layer: MakeLayer = LSTM,
) -> Walkthrough:
    """Compute the worked example.

    Every distinct character gets a random vector, the layers get random weights; nothing is trained. The random numbers
    of the caller are left alone.

    Args:
        text: Each of its characters is one step, so T is their number; at least one.
        input_size: I, numbers in a character's vector, at least 1.
        hidden_size: H, units of a layer, at least 1.
        seed: Of vectors and weights.
        layer: What makes a layer. Tests put a broken one here, to see the checks fail.

    Returns:
        The chapters with all their numbers and checks.

    Raises:
        InputError: The text is empty, or a size is below 1.

    >>> example = walk("早上好")
    >>> example.characters, tuple(example.vectors.shape), example.holds
    (('早', '上', '好'), (3, 20), True)
    """
    characters = split_characters(text)
    if not characters:
        raise InputError("text: expected at least one character, got an empty text: try 早上好")
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if size < 1:
            raise InputError(f"{name}: expected at least 1, got {size}")
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("cpu"):
        torch.manual_seed(seed)
        table = {character: torch.randn(input_size) for character in dict.fromkeys(characters)}
        vectors = torch.stack([table[character] for character in characters])
        sections = (
            _one_layer(vectors, hidden_size, layer),
            _two_layers(vectors, hidden_size, layer),
            _both_directions(vectors, hidden_size, layer),
            _prediction(vectors, hidden_size, len(table)),
        )
        lines = parameter_lines(len(characters), input_size, hidden_size)
    return Walkthrough(text, tuple(characters), vectors, input_size, hidden_size, seed, sections, lines)


def _one_layer(vectors: Tensor, hidden: int, layer: MakeLayer) -> Section:
    size = vectors.shape[1]
    lstm, x = layer(size, hidden), vectors.unsqueeze(1)
    output, (h_n, c_n) = lstm(x)
    by_hand = Pass.compute("layer 1", "x", vectors, weights_of(lstm)[0][0])
    worked = torch.tensor([[step.h] for step in by_hand.unit])
    formula = 4 * hidden * (size + hidden + 2)
    checks = (
        Check.same(
            "equations",
            "the equations, step by step from the weights, give the layer's output",
            "h_t for every t == output[t]",
            by_hand.h,
            output[:, 0],
            ROUNDING,
        ),
        Check.same(
            "arithmetic",
            "unit 0, worked out with plain multiplication, addition and exp, gives its number too",
            "h_t[0] == output[t, 0, 0]",
            worked,
            output[: len(worked), 0, :1],
            ROUNDING,
        ),
        _same_as_torch("torch", lstm, x, output),
        Check.same(
            "last-output",
            "the last output is the final hidden state: there is no fully connected layer in between",
            "output[-1] == h_n[-1]",
            output[-1],
            h_n[-1],
        ),
        Check.same("final-cell", "c_n is c of the last step", "c_T == c_n[-1]", by_hand.c[-1:], c_n[-1], ROUNDING),
        Check.counts(
            "no-readout",
            "the four gates are all there is to learn: W_ih, W_hh and two biases, no readout",
            "number of parameters == 4 * H * (I + H + 2)",
            sum(p.numel() for p in lstm.parameters()),
            formula,
        ),
    )
    return Section(
        "one-layer",
        "One layer",
        f"lstm = LSTM({size}, {hidden})",
        "Before the first character h(0) and c(0) are zero. At t1 the layer reads x(t1) with them and gives h(t1) and "
        "c(t1); at t2 it reads x(t2) with h(t1) and c(t1); and so on. The same weights serve every step.",
        _shapes(x, output, h_n, c_n),
        _parameters(lstm),
        (by_hand,),
        checks,
    )


def _two_layers(vectors: Tensor, hidden: int, layer: MakeLayer) -> Section:
    size = vectors.shape[1]
    lstm, x = layer(size, hidden, num_layers=2), vectors.unsqueeze(1)
    output, (h_n, c_n) = lstm(x)
    lower_weights, upper_weights = (layer[0] for layer in weights_of(lstm))
    lower = Pass.compute("layer 1", "x", vectors, lower_weights)
    upper = Pass.compute("layer 2", "h of layer 1", lower.h, upper_weights)
    half = max(hidden // 2, 1)
    sized = layer(size, [hidden, half])
    first, second = nn.LSTM(size, hidden), nn.LSTM(hidden, half)
    _copy_layer(sized, first, 0)
    _copy_layer(sized, second, 1)
    one, two = nn.LSTM(size, hidden), nn.LSTM(hidden, hidden)
    _copy_layer(lstm, one, 0)
    _copy_layer(lstm, two, 1)
    checks = (
        Check.same(
            "fed-by-h",
            "layer two, computed from layer one's h_t, gives the output",
            "layer 2 of h_t == output[t]",
            upper.h,
            output[:, 0],
            ROUNDING,
        ),
        _not_fed_by_x(vectors, lower, upper, lstm),
        Check.same(
            "last-output",
            "the output is layer two's h alone, so its last step is the last row of h_n",
            "output[-1] == h_n[-1]",
            output[-1],
            h_n[-1],
        ),
        Check.same(
            "first-row",
            "the first row of h_n is layer one's final h, which output does not show",
            f"h({len(vectors)}) of layer 1 == h_n[0]",
            lower.h[-1:],
            h_n[0],
            ROUNDING,
        ),
        Check.same(
            "split",
            "two separate layers of torch.nn.LSTM, one after the other, give the same as the stack",
            "two(one(x)) == output",
            two(one(x)[0])[0],
            output,
            ROUNDING,
        ),
        Check.same(
            "split-sizes",
            f"so every layer may have a size of its own: {hidden} units, then {half}",
            f"second(first(x)) == LSTM({size}, [{hidden}, {half}])(x)",
            second(first(x)[0])[0],
            sized(x)[0],
            ROUNDING,
        ),
    )
    return Section(
        "two-layers",
        "Two layers",
        f"lstm = LSTM({size}, {hidden}, num_layers=2)",
        "Layer one reads the characters. Layer two never sees them: at each step it reads the h_t that layer one has "
        "just computed, with an h and a c of its own.",
        _shapes(x, output, h_n, c_n),
        _parameters(lstm),
        (lower, upper),
        checks,
    )


def _not_fed_by_x(vectors: Tensor, lower: Pass, upper: Pass, lstm: LSTM) -> Check:
    weights = weights_of(lstm)[1][0]
    if weights.w_ih.shape[1] != vectors.shape[1]:
        return Check.counts(
            "not-fed-by-x",
            f"it could not read x: its weights take the {lower.h.shape[1]} numbers of h_t, not the {vectors.shape[1]} "
            "of x_t",
            "weight_ih_l1.shape[1] == hidden_size",
            weights.w_ih.shape[1],
            lower.h.shape[1],
        )
    of_x = Pass.compute("layer 2 of x", "x", vectors, weights)
    claim = "fed with x_t, which is of the same size here, it would give other numbers"
    return Check.different("not-fed-by-x", claim, "layer 2 of x_t != layer 2 of h_t", of_x.h, upper.h)


def _both_directions(vectors: Tensor, hidden: int, layer: MakeLayer) -> Section:
    size = vectors.shape[1]
    lstm, x = layer(size, hidden, bidirectional=True), vectors.unsqueeze(1)
    output, (h_n, c_n) = lstm(x)
    forward_weights, backward_weights = weights_of(lstm)[0]
    forward = Pass.compute("forward", "x", vectors, forward_weights)
    backward = Pass.compute("backward", "x", vectors, backward_weights, backward=True)
    plain = nn.LSTM(size, hidden)
    plain.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in lstm.state_dict().items() if k.endswith("_reverse")}
    )
    checks = [
        Check.same(
            "concatenated",
            "output[t] is both h_t side by side: forward first, then backward",
            "[forward h_t, backward h_t] == output[t]",
            torch.cat([forward.h, backward.h], dim=1),
            output[:, 0],
            ROUNDING,
        ),
        Check.same(
            "reversed",
            "the backward direction is an LSTM of its own that is given the sequence in reverse",
            f"plain(x.flip(0)).flip(0) == output[..., {hidden}:]",
            plain(x.flip(0))[0].flip(0),
            output[..., hidden:],
            ROUNDING,
        ),
        Check.same(
            "forward-final",
            "the forward direction ends at the last step",
            f"output[-1, :, :{hidden}] == h_n[0]",
            output[-1, :, :hidden],
            h_n[0],
        ),
        Check.same(
            "backward-final",
            "the backward direction ends at the first step: its final state is at output[0]",
            f"output[0, :, {hidden}:] == h_n[1]",
            output[0, :, hidden:],
            h_n[1],
        ),
    ]
    if len(vectors) > 1:
        checks.append(
            Check.different(
                "not-at-the-end",
                "at output[-1] the backward direction has read one character only, so do not predict from there",
                f"output[-1, :, {hidden}:] != h_n[1]",
                output[-1, :, hidden:],
                h_n[1],
            )
        )
    return Section(
        "both-directions",
        "Both directions",
        f"lstm = LSTM({size}, {hidden}, bidirectional=True)",
        "Two LSTMs with weights of their own: one reads from the first character to the last, the other from the last "
        "to the first. Their h_t for the same character stand side by side in output[t].",
        _shapes(x, output, h_n, c_n),
        _parameters(lstm),
        (forward, backward),
        tuple(checks),
    )


def _prediction(vectors: Tensor, hidden: int, classes: int) -> Section:
    size = vectors.shape[1]
    model = SequenceModel(size, hidden, 1, classes, batch_first=False, device="cpu")
    both = SequenceModel(size, hidden, 1, classes, batch_first=False, device="cpu", bidirectional=True)
    x = vectors.unsqueeze(1)
    output, (h_n, c_n) = model.lstm(x)
    prediction = model(x)
    _, (h_both, _) = both.lstm(x)
    checks = (
        Check.same(
            "readout",
            "a prediction is one linear layer on the last step's output",
            "model(x) == output[-1] @ W.T + b",
            prediction,
            output[-1] @ model.readout.weight.T + model.readout.bias,
            ROUNDING,
        ),
        Check.same(
            "readout-both",
            "of a bidirectional net it reads h_n, where both directions have read everything",
            "model(x) == cat(h_n[0], h_n[1]) @ W.T + b",
            both(x),
            torch.cat([h_both[0], h_both[1]], dim=1) @ both.readout.weight.T + both.readout.bias,
            ROUNDING,
        ),
        Check.counts(
            "readout-size",
            "the readout is what the LSTM did not have: a weight and a bias",
            "parameters of model - parameters of lstm == O * H + O",
            sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in model.lstm.parameters()),
            classes * hidden + classes,
        ),
    )
    return Section(
        "prediction",
        "A prediction",
        f"model = SequenceModel({size}, {hidden}, num_layers=1, output_size={classes}, batch_first=False)",
        "An LSTM returns hidden states. To predict, put one linear layer behind its last step: here one score for each "
        "different character of the text, for which comes next. Nothing is trained yet, so the scores mean nothing.",
        _shapes(x, output, h_n, c_n) | {"prediction": tuple(prediction.shape)},
        _parameters(model),
        (),
        checks,
        tuple(prediction[0].tolist()),
    )


def _same_as_torch(key: str, lstm: LSTM, x: Tensor, output: Tensor) -> Check:
    theirs = nn.LSTM(lstm.input_size, lstm.hidden_size)
    weights = lstm.state_dict()
    theirs.load_state_dict({name: weights[name] for name in theirs.state_dict()})
    expected, _ = theirs(x)
    claim = "torch.nn.LSTM with these weights gives the same"
    return Check.same(key, claim, "torch.nn.LSTM(...)(x) == output", expected[:, 0], output[:, 0], ROUNDING)


def _copy_layer(stack: LSTM, single: nn.LSTM, layer: int) -> None:
    """Give a single layer the weights of one layer of a stack."""
    suffix = f"_l{layer}"
    state = {k.replace(suffix, "_l0"): v for k, v in stack.state_dict().items() if k.endswith(suffix)}
    single.load_state_dict(state)


def _shapes(x: Tensor, output: Tensor, h_n: Tensor, c_n: Tensor) -> dict[str, tuple[int, ...]]:
    return {"input": tuple(x.shape), "output": tuple(output.shape), "h_n": tuple(h_n.shape), "c_n": tuple(c_n.shape)}


def _parameters(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in module.named_parameters()}
