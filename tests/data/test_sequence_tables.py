"""Tables of sequences: what their columns are taken for, in the training and afterwards."""

import numpy as np
import pandas as pd
import pytest

import cellgate
from cellgate import SequenceClassifier, SequenceTagger
from cellgate.data import DataError
from cellgate.data.sequences import SequenceRoles, read_sequences


def test_the_decimal_comma_of_a_file_is_that_of_its_sequences(tmp_path):
    (tmp_path / "a.csv").write_text("id;t;v;label\na;0,125;0,250;1,500\nb;0,500;1,125;2,125\n")
    read = read_sequences(tmp_path / "a.csv")
    assert read.numbers[:, 0].tolist() == [0.25, 1.125]
    assert read.labels.tolist() == [1.5, 2.125]


def long(**changes):
    """Four sequences of three steps, their codes words because of one."""
    columns = {
        "id": np.repeat(list("abcd"), 3),
        "t": np.tile([0, 1, 2], 4),
        "v": np.arange(12) / 10,
        "code": ["7", "8", "x"] * 4,
        "label": np.repeat(["up", "down"] * 2, 3),
    }
    return pd.DataFrame({**columns, **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    SequenceClassifier(hidden_size=2, max_epochs=1).fit(long()).save(folder)
    return cellgate.load(folder)


@pytest.mark.parametrize("cells", ["7", "", "9"])
def test_words_stay_words_whatever_later_cells_look_like(model, cells):
    later = long(code=cells)
    answers = model.predict_proba(later)
    known = np.where(later.code == "7", later.code, "another")  # neither 9 nor nothing was there in training
    assert np.array_equal(answers, model.predict_proba(long(code=known)))


def test_a_word_among_later_numbers_is_refused_where_it_stands(model):
    with pytest.raises(DataError, match=r"the frame, row 0: expected a number in 'v', got 'high'"):
        model.predict(long(v=["high"] * 12))


def test_few_words_are_still_tokens_to_a_tagger():
    words = [f"w{k % 60}" for k in range(120)]
    table = pd.DataFrame({"id": np.arange(120) // 6, "name": words, "tag": ["A", "B"] * 60})
    tagger = SequenceTagger(hidden_size=2, max_epochs=1).fit(table)
    assert len(tagger.tokens_) == 61
    assert [len(tags) for tags in tagger.predict(table[:6])] == [6]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_row_numbers_are_no_feature(tmp_path, name):
    table = long().sample(frac=0.7, random_state=0).sort_index()  # as after some rows were left out
    table.to_csv(tmp_path / "long.csv", index_label=name)
    read = read_sequences(tmp_path / "long.csv")
    assert (read.number_names, list(read.texts)) == (("v",), ["code"])
    assert any("numbers the rows" in note for note in read.notes)
    wide = pd.DataFrame({"s0": [0.5, 1.5], "s1": [1.0, 2.0], "label": [0, 1]})
    wide.to_csv(tmp_path / "wide.csv", index_label=name)
    assert read_sequences(tmp_path / "wide.csv", roles=SequenceRoles(wide=True)).lengths.tolist() == [2, 2]
    named = SequenceRoles(features=(name or "column1", "v"))
    assert read_sequences(tmp_path / "long.csv", roles=named).number_names == named.features


def test_a_first_column_without_a_name_that_does_not_number_the_rows_is_read(tmp_path):
    table = long()
    table.insert(0, "", [5, 3] * 6)
    table.to_csv(tmp_path / "a.csv", index=False)
    assert read_sequences(tmp_path / "a.csv").number_names == ("column1", "v")


def test_steps_at_the_same_time_are_told():
    notes = read_sequences(long(t=np.tile([0, 1, 1], 4))).notes
    assert any(note.startswith("4 steps at the same t as the step before") for note in notes)
    assert not any("same t" in note for note in read_sequences(long()).notes)


def test_labels_are_no_feature():
    with pytest.raises(DataError, match="--features label: expected columns to learn from, got that of the labels"):
        read_sequences(long(), roles=SequenceRoles(features=("v", "label"), target="label"))
    with pytest.raises(DataError, match="--features label"):
        read_sequences(long(), roles=SequenceRoles(features=("v", "label")))


# ---------------------------------------------------------------- times


def visits(**changes):
    """Three customers, their visits in the wrong order, at times whose column has a name of its own."""
    columns = {
        "id": np.repeat(list("abc"), 3),
        "seen_on": ["2024-01-03", "2024-01-01", "2024-01-02"] * 3,
        "spent": np.tile([3.0, 1.0, 2.0], 3),
        "label": np.repeat(["up", "down", "up"], 3),
    }
    return pd.DataFrame({**columns, **changes})


@pytest.mark.parametrize("as_stamps", [False, True])
def test_a_column_of_times_orders_the_steps_whatever_it_is_called(as_stamps):
    table = visits()
    if as_stamps:
        table["seen_on"] = pd.to_datetime(table.seen_on)
    read = read_sequences(table)
    assert (read.roles.time, read.number_names, dict(read.texts)) == ("seen_on", ("spent",), {})
    assert read.numbers[:, 0].tolist() == [1, 2, 3] * 3
    assert read.notes == ("steps sorted by seen_on",)


def test_of_two_columns_of_times_one_is_to_be_named():
    table = visits(joined=["2020-01-01"] * 9)
    with pytest.raises(DataError, match=r"one column of times, got 'seen_on', 'joined'; name the one .* with --time"):
        read_sequences(table)
    assert read_sequences(table, roles=SequenceRoles(time="seen_on", features=("spent",))).roles.time == "seen_on"
    assert read_sequences(table, roles=SequenceRoles(features=("spent", "joined"))).roles.time == "seen_on"


def test_data_after_the_training_are_ordered_as_those_of_the_training():
    table = visits()
    model = SequenceClassifier(hidden_size=2, max_epochs=1).fit(table.drop(columns="seen_on"))
    assert np.array_equal(model.predict_proba(table), model.predict_proba(table.drop(columns="seen_on")))


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-20", "2024-04-01"], True),
        (["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"], False),
        ([0, 1, 2, 3], False),
        ([0.0, 1.01, 1.99, 3.02], False),  # a clock that jitters
        ([0, 1, 2, 9], False),  # steps without a row
        ([0, 1, 40, 900], True),
        ([5, 5, 5, 5], False),
    ],
)
def test_it_is_said_where_only_the_order_of_uneven_steps_is_read(times, told):
    table = pd.DataFrame({"id": np.repeat(list("ab"), 4), "when": times * 2, "v": range(8), "y": [0] * 4 + [1] * 4})
    notes = read_sequences(table, roles=SequenceRoles(time="when")).notes
    assert any("unevenly far apart in when: only their order is read; --gaps" in note for note in notes) == told
    notes = read_sequences(table, roles=SequenceRoles(time="when", gaps=True)).notes
    assert not any("only their order is read" in note for note in notes)


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        (
            {"features": ("case", "v")},
            "--features case: expected columns to learn from, got that of the sequences' names",
        ),
        ({"id": "case", "target": "case"}, "--target case: expected another column than --id, got the same"),
        ({"id": "case", "time": "case"}, "--time case: expected another column than --id, got the same"),
        ({"time": "v", "target": "v"}, "--target v: expected another column than --time, got the same"),
    ],
)
def test_a_column_has_one_part_to_play(roles, told):
    table = pd.DataFrame({"case": [1, 1, 2, 2], "v": [0.5, 1.5, 2.5, 3.5], "label": [0, 0, 1, 1]})
    with pytest.raises(DataError, match=told):
        read_sequences(table, roles=SequenceRoles(**roles))


@pytest.mark.parametrize("us", [True, False])
def test_days_and_months_are_told_apart_as_in_the_training(us, tmp_path):
    def table(*days):
        written = [f"{m:02}/{d:02}/2024" if us else f"{d:02}/{m:02}/2024" for m, d in days]
        rows = {"id": np.repeat(range(30), len(days)), "when": written * 30, "v": [*range(len(days))] * 30}
        return pd.DataFrame(rows).assign(label=lambda frame: frame["id"] % 2)

    made = read_sequences(table((1, 2), (2, 1), (1, 13), (3, 1)))
    form = "%m/%d/%Y" if us else "%d/%m/%Y"
    assert f"when: read as {form}" in made.notes
    model = SequenceClassifier(hidden_size=2, max_epochs=1).fit(table((1, 2), (2, 1), (1, 13), (3, 1)))
    model.save(tmp_path)
    later = cellgate.load(tmp_path).read_again(table((3, 4), (4, 3), (4, 1)))
    assert later.numbers[:3, 0].tolist() == [0, 2, 1]
    assert not any("would read it too" in note for note in later.notes)
    unclear = read_sequences(table((3, 4), (4, 3), (4, 1)))
    assert any("would read it too: if that is meant, write the dates as 2024-01-31" in note for note in unclear.notes)
