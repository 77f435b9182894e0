"""The walkthrough computes what it claims: each of its checks fails where the layer is wrong."""

import io
import json
import math
import re

import pytest
import torch
from rich.console import Console
from torch import nn

import cellgate
from cellgate.cli.app import main
from cellgate.cli.walkthrough import show
from cellgate.trace.walkthrough import split_characters, story, visible, walk

EXAMPLE = "早上好"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["walkthrough", *arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def printed(example, width=80, **options) -> str:
    out = io.StringIO()
    show(example, Console(file=out, width=width, **options))
    return out.getvalue()


# ---------------------------------------------------------------- the worked example


def test_shapes_are_those_of_the_worked_example():
    example = walk()
    assert example.characters == ("早", "上", "好")
    assert example.vectors.shape == (3, 20)
    shapes = {section.key: section.shapes for section in example.sections}
    assert shapes["one-layer"] == {
        "input": (3, 1, 20),
        "output": (3, 1, 100),
        "h_n": (1, 1, 100),
        "c_n": (1, 1, 100),
    }
    assert shapes["two-layers"]["output"] == (3, 1, 100)
    assert shapes["two-layers"]["h_n"] == (2, 1, 100)
    assert shapes["both-directions"]["output"] == (3, 1, 200)
    assert shapes["both-directions"]["c_n"] == (2, 1, 100)
    assert shapes["prediction"]["prediction"] == (1, 3)


def test_passes_hold_every_gate_of_torch():
    """The recorded gates, put together by hand in float64, give the states that torch.nn.LSTMCell steps through."""
    example = walk(seed=5)
    read = example.section("one-layer").passes[0]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for _ in range(3):
            torch.randn(20)
        cell = nn.LSTMCell(20, 100)
    h = c = torch.zeros(1, 100)
    for t in range(3):
        h, c = cell(example.vectors[t : t + 1], (h, c))
        torch.testing.assert_close(read.h[t], h[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(read.c[t], c[0], atol=1e-6, rtol=0)
        c_before = read.c[t - 1] if t else torch.zeros(100)
        torch.testing.assert_close(read.f[t] * c_before + read.i[t] * read.g[t], read.c[t])
        torch.testing.assert_close(read.o[t] * read.c[t].tanh(), read.h[t])


def test_layer_two_reads_the_states_of_layer_one():
    lower, upper = walk().section("two-layers").passes
    assert torch.equal(upper.x, lower.h)
    assert upper.reads == "h of layer 1"


def test_written_out_sums_add_up():
    for step in walk().section("one-layer").passes[0].unit:
        for gate, squash in ((step.i, _sigmoid), (step.f, _sigmoid), (step.g, math.tanh), (step.o, _sigmoid)):
            assert gate.total == gate.from_input + gate.bias_ih + gate.from_state + gate.bias_hh
            assert gate.value == pytest.approx(squash(gate.total), abs=1e-15)
        assert step.c == step.f.value * step.c_prev + step.i.value * step.g.value


def _sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def test_same_character_same_vector_and_same_seed_same_numbers():
    example = walk("aba", seed=1)
    assert torch.equal(example.vectors[0], example.vectors[2])
    assert not torch.equal(example.vectors[0], example.vectors[1])
    assert walk("aba", seed=1).as_dict() == example.as_dict()
    assert walk("aba", seed=2).as_dict() != example.as_dict()


def test_random_numbers_of_the_caller_are_left_alone():
    before = torch.get_rng_state()
    walk()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("text", [EXAMPLE, "a", "aa", "hello", "e\u0301", "a" * 40, " \n", "👩\u200d🚀!"])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(20, 100), (1, 1), (7, 7), (3, 2)])
def test_every_check_holds_for_any_text_and_size(text, input_size, hidden_size):
    example = walk(text, input_size, hidden_size)
    assert example.holds, [check.claim for check in example.checks if not check.holds]


def test_checks_hold_on_every_backend():
    with cellgate.use_backend("reference"):
        assert walk().holds


def test_parameter_lines_explain_every_parameter_in_order():
    import inspect

    names = [line.name for line in walk().parameter_lines]
    assert names == [name for name in inspect.signature(cellgate.LSTM).parameters if name in names]
    assert len(names) == 10


# ---------------------------------------------------------------- the checks can fail


class WrongWeight(cellgate.LSTM):
    """Computes with other weights than it shows: every forget gate's first row is off."""

    def forward(self, *args, **kwargs):
        twin = _twin(self)
        for name, parameter in twin.named_parameters():
            if name.startswith("weight_ih"):
                with torch.no_grad():
                    parameter[0] += 0.5
        return twin(*args, **kwargs)


class HiddenReadout(cellgate.LSTM):
    """Has a linear layer inside, and puts its output through it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        width = (self.hidden_size if isinstance(self.hidden_size, int) else self.hidden_size[-1]) * (
            2 if self.bidirectional else 1
        )
        self.dense = nn.Linear(width, width)

    def forward(self, *args, **kwargs):
        output, state = _twin(self)(*args, **kwargs)
        return self.dense(output), state


class BackwardFlipped(cellgate.LSTM):
    """Lays the backward direction out in the order in which it reads."""

    def forward(self, *args, **kwargs):
        output, state = _twin(self)(*args, **kwargs)
        if self.bidirectional:
            forward, backward = output.chunk(2, dim=-1)
            output = torch.cat([forward, backward.flip(0)], dim=-1)
        return output, state


class SwappedStates(cellgate.LSTM):
    """Returns the rows of h_n in the wrong order, or h for c."""

    def forward(self, *args, **kwargs):
        output, (h_n, c_n) = _twin(self)(*args, **kwargs)
        return output, (h_n.flip(0), h_n) if isinstance(h_n, torch.Tensor) else (h_n, c_n)


class DeafSecondLayer(cellgate.LSTM):
    """Its second layer does not listen to what it is fed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.num_layers > 1:
            nn.init.zeros_(self.weight_ih_l1)


def _twin(lstm: cellgate.LSTM) -> cellgate.LSTM:
    """A sound layer with the weights of an unsound one."""
    twin = cellgate.LSTM(
        lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bias, bidirectional=lstm.bidirectional
    )
    twin.load_state_dict({name: value for name, value in lstm.state_dict().items() if not name.startswith("dense")})
    return twin


class WrongModel(cellgate.SequenceModel):
    """Reads the first step, and has a parameter too many."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = nn.Parameter(torch.ones(1))

    def _last(self, h_n):
        return super()._last(h_n) + 0.1


FAILURES = {
    WrongWeight: {
        "one-layer/equations",
        "one-layer/arithmetic",
        "one-layer/torch",
        "one-layer/final-cell",
        "two-layers/fed-by-h",
        "two-layers/first-row",
        "two-layers/split",
        "two-layers/split-sizes",
        "both-directions/concatenated",
        "both-directions/reversed",
    },
    HiddenReadout: {"one-layer/last-output", "one-layer/no-readout", "two-layers/last-output"},
    BackwardFlipped: {"both-directions/backward-final", "both-directions/not-at-the-end"},
    SwappedStates: {"both-directions/forward-final", "one-layer/final-cell", "two-layers/last-output"},
    DeafSecondLayer: {"two-layers/not-fed-by-x"},
}


@pytest.mark.parametrize(("broken", "expected"), FAILURES.items(), ids=lambda case: getattr(case, "__name__", ""))
def test_a_broken_layer_fails_its_checks(broken, expected):
    example = walk(input_size=8, hidden_size=8, layer=broken)
    failed = {f"{s.key}/{check.key}" for s in example.sections for check in s.checks if not check.holds}
    assert expected <= failed
    assert not example.holds


def test_a_broken_model_fails_its_checks(monkeypatch):
    monkeypatch.setattr(story, "SequenceModel", WrongModel)
    assert [c.key for c in walk().checks if not c.holds] == ["readout", "readout-both", "readout-size"]


def test_every_check_has_been_seen_failing():
    seen = set().union(*FAILURES.values()) | {f"prediction/readout{end}" for end in ("", "-both", "-size")}
    assert seen == {f"{s.key}/{check.key}" for s in walk(input_size=8, hidden_size=8).sections for check in s.checks}


def test_nan_is_a_difference():
    class Lost(cellgate.LSTM):
        def forward(self, *args, **kwargs):
            output, state = _twin(self)(*args, **kwargs)
            return output * float("nan"), state

    example = walk(layer=Lost)
    assert not example.section("one-layer").checks[0].holds
    json.dumps(example.as_dict(), allow_nan=False)


# ---------------------------------------------------------------- characters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EXAMPLE, ["早", "上", "好"]),
        ("e\u0301", ["é"]),
        ("q\u0323\u0307x", ["q\u0323\u0307", "x"]),  # no composed form: stays one character
        ("👩\u200d🚀👍🏽", ["👩\u200d🚀", "👍🏽"]),
        ("🇩🇪🇯🇵", ["🇩🇪", "🇯🇵"]),
        ("❤\ufe0fa", ["❤\ufe0f", "a"]),
        ("\u1112\u1161\u11ab", ["한"]),
        ("a\r\nb", ["a", "\r\n", "b"]),
        ("\u0301a", ["\u0301", "a"]),
        ("", []),
    ],
)
def test_characters_are_what_a_reader_counts(text, expected):
    assert split_characters(text) == expected


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\n", "\u202e", "\u2028", "\udc80", "\x9b", "\u200b"])
def test_nothing_printed_can_steer_the_terminal(character):
    shown = visible(character)
    assert shown.isprintable()
    assert shown.strip()
    text = printed(walk(f"a{character}b"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028]", text)


# ---------------------------------------------------------------- the terminal


def test_command_prints_the_story(capsys):
    code, out, err = run(capsys)
    assert code == 0, err
    headings = ["1. One layer", "2. Two layers", "3. Both directions", "4. A prediction", "5. What each parameter"]
    assert [out.index(heading) for heading in headings] == sorted(out.index(heading) for heading in headings)
    for text in ("output[-1] == h_n[-1]", "output[0, :, 100:] == h_n[1]", "σ(W_if x + b_if + W_hf h + b_hf)", "t1  早"):
        assert text in out
    checks = walk().checks
    assert out.count("✓") == len(checks) + 1
    assert "✗" not in out
    assert f"All {len(checks)} checks hold" in out


def test_printed_numbers_are_the_computed_ones(capsys):
    _, out, _ = run(capsys, "--seed", "4")
    read = walk(seed=4).section("one-layer").passes[0]
    for line in ("gives  h(t3)", "       c(t3)"):
        numbers = re.search(re.escape(line) + r"  ((?:[+-][\d.]+ )+)", out).group(1).split()
        vector = read.h[2] if "h(" in line else read.c[2]
        assert numbers == [f"{value:+.4f}" for value in vector[: len(numbers)].tolist()]
    step = read.unit[1]
    assert f"= {step.f.value:+.5f}" in out
    assert f"= {step.h:+.5f}" in out


def test_no_colour_when_piped(capsys):
    assert "\x1b" not in run(capsys)[1]


def test_colour_on_a_terminal():
    assert "\x1b[32m✓" in printed(walk(), force_terminal=True, color_system="standard", no_color=False)


@pytest.mark.parametrize("width", [30, 40, 44, 60, 80, 200])
def test_lines_keep_to_the_width_and_lose_no_number(width):
    text = printed(walk(), width=width)
    assert max(map(len, text.splitlines())) <= max(width, 40)
    assert not re.search(r" $", text, flags=re.MULTILINE)
    assert text.count("✓") == 21
    flat = " ".join(text.split())
    assert "weight_hh_l0_reverse" in flat
    assert "h(t3)" in flat


def test_long_text_is_shortened_and_says_so():
    example = walk("abcdefghij" * 3)
    text = printed(example)
    assert "24 more" not in printed(walk("abcdef"))
    assert text.count("25 more") == 4  # the input, and the steps of one layer, two layers, both directions
    assert "t30" in text


def test_a_plain_ascii_terminal_still_tells_right_from_wrong():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    show(walk(input_size=8, hidden_size=8, layer=WrongWeight), Console(file=out, width=80))
    out.flush()
    text = raw.getvalue().decode("ascii")
    assert "\n  WRONG" in text
    assert "\n  ok" in text


def test_failing_checks_are_named_and_the_exit_code_is_1(capsys, monkeypatch):
    monkeypatch.setattr(story, "SequenceModel", WrongModel)
    code, out, _ = run(capsys)
    assert code == 1
    assert "✗ 3 of 20 checks do not hold" in out
    assert json.loads(run(capsys, "--json")[1])["holds"] is False


def test_json_holds_everything(capsys):
    code, out, _ = run(capsys, "--text", "ab", "--hidden-size", "4", "--input-size", "3", "--seed", "9", "--json")
    assert code == 0
    data = json.loads(out)
    example = walk("ab", 3, 4, 9)
    assert data == example.as_dict()
    assert data["holds"] is True
    read = data["sections"][0]["passes"][0]
    torch.testing.assert_close(torch.tensor(read["h"]), example.section("one-layer").passes[0].h, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", ""], "text: expected at least one character"),
        (["--hidden-size", "0"], "--hidden-size"),
        (["--input-size", "-1"], "--input-size"),
        (["--hidden-size", "1000000"], "--hidden-size"),
    ],
)
def test_unusable_options_are_named(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert out == ""


@pytest.mark.parametrize(("name", "values"), [("input_size", (0, 20)), ("hidden_size", (20, 0))])
def test_sizes_below_one_are_named(name, values):
    with pytest.raises(cellgate.InputError, match=f"{name}: expected at least 1, got 0"):
        walk("a", *values)
