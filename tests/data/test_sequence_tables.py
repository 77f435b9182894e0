"""Tables of sequences: what their columns are taken for, in the training and afterwards."""

from cellgate.data.sequences import read_sequences


def test_the_decimal_comma_of_a_file_is_that_of_its_sequences(tmp_path):
    (tmp_path / "a.csv").write_text("id;t;v;label\na;0,125;0,250;1,500\nb;0,500;1,125;2,125\n")
    read = read_sequences(tmp_path / "a.csv")
    assert read.numbers[:, 0].tolist() == [0.25, 1.125]
    assert read.labels.tolist() == [1.5, 2.125]
