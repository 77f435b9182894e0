"""`cellgate train --task generate`, then generate and evaluate."""

import io
import json

import pytest

RHYME = "Mary had a little lamb, its fleece was white as snow.\n"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "t.txt").write_text(RHYME * 60)
    return tmp_path / "t.txt"


def test_from_the_file_to_a_text(text, call, tmp_path):
    out = tmp_path / "m"
    code, told, err = call("train", text, "--task", "generate", "--out", out, "--hidden-size", 32, "--max-epochs", 15)
    assert (code, err) == (0, "")
    assert "data      t.txt: 3,240 characters, 61 lines" in told
    assert "held out  the last 324 characters" in told
    assert "cellgate's nats per character is" in told
    assert "that of the bigram baseline" in told
    code, told, _ = call("generate", out, "--prompt", "Mary", "--length", 20, "--temperature", 0)
    assert (code, len(told)) == (0, len("Mary") + 21)
    assert told.startswith("Mary ")
    code, again, _ = call("generate", out, "--prompt", "Mary", "--length", 20, "--temperature", 0, "--json")
    assert "Mary" + json.loads(again)["text"] + "\n" == told
    code, told, _ = call("evaluate", out, text, "--json")
    assert json.loads(told)["metrics"]["characters"] == 3240
    code, _, err = call("predict", out)
    assert code == 2
    assert "use cellgate generate" in err


def test_what_the_model_never_saw_of_a_prompt_is_noted(text, call, tmp_path):
    out = tmp_path / "m"
    for units, prompt, said in (
        ("characters", "Mary 42é", "3 characters that training did not have, read as unknown: '4', '2', 'é'"),
        ("words", "Mary had a goat", "1 word that training did not have, read as unknown: 'goat'"),
    ):
        call("train", text, "--task", "generate", "--units", units, "--out", out, "--hidden-size", 8,
             "--max-epochs", 1, "--force")  # fmt: skip
        code, told, err = call("generate", out, "--prompt", prompt, "--length", 3)
        assert (code, err) == (0, f"note: the prompt has {said}\n")
        assert told.startswith(prompt)
        _, told, err = call("generate", out, "--prompt", prompt, "--length", 3, "--json")
        assert (len(json.loads(told)["unknown"]), err) == (3 if units == "characters" else 1, "")
        assert call("generate", out, "--prompt", "Mary", "--length", 3)[2] == ""


def test_time_that_runs_out_ends_the_training(text, call, tmp_path):
    code, out, _ = call(
        "train", text, "--task", "generate", "--out", tmp_path / "m", "--hidden-size", 8, "--max-time", 0.05,
        "--max-epochs", 5000, "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["training"]["stopped_by"] == "max_seconds"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--units", "syllables"], "--units: expected characters or words, got 'syllables'"),
        (["--steps", "0"], "Invalid value for '--steps'"),
    ],
)
def test_mistakes_are_one_line(text, arguments, message, call, tmp_path):
    code, out, err = call("train", text, "--task", "generate", *arguments, "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "m").exists()


def test_scores_of_a_text_in_another_alphabet_say_that_little_of_it_is_known(text, call, tmp_path):
    call("train", text, "--task", "generate", "--out", tmp_path / "m", "--max-epochs", 1, "--hidden-size", 8)
    (tmp_path / "ru.txt").write_text("Съешь же ещё этих мягких французских булок.\n")
    code, told, _ = call("evaluate", tmp_path / "m", tmp_path / "ru.txt")
    assert code == 0
    assert "note: 36 of these were not in the training and are all read as one" in told
    _, told, _ = call("evaluate", tmp_path / "m", text)
    assert "note" not in told


@pytest.mark.parametrize(
    ("raw", "prompt", "noted"),
    [
        (b"the \xc3\xa9", "the é", False),
        (b"the \xe9", "the é", True),
        (b"the\r\ncat", "the\ncat", False),
        (b"", "", False),
    ],
)
def test_a_prompt_on_standard_input_may_be_in_any_encoding(text, raw, prompt, noted, call, tmp_path, monkeypatch):
    call("train", text, "--task", "generate", "--out", tmp_path / "m", "--max-epochs", 1, "--hidden-size", 8)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="ascii"))
    code, out, err = call("generate", tmp_path / "m", "--prompt", "-", "--length", 3, "--json")
    assert (code, json.loads(out)["prompt"]) == (0, prompt)
    assert ("read as Windows-1252" in err) == noted
