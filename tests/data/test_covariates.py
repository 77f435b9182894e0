"""Columns beside the target: how far each is known, and what stays unknown."""

import numpy as np
import pytest

from cellgate.data import DataError, Roles, read_panel, with_future

ROLES = Roles(past="temp", future=("price", "day"), static=("region",))


def table(days=10, coming=3, shops=("a", "b")):
    lines = ["shop,date,sold,temp,price,day,region"]
    for s, shop in enumerate(shops):
        for k in range(days + coming):
            day = np.datetime64("2024-01-01") + k
            sold, temp = (f"{10 * s + k}", f"{k / 2}") if k < days else ("", "")
            lines.append(f"{shop},{day},{sold},{temp},{100 + k},{'sale' if k % 5 == 0 else 'plain'},{'ns'[s]}")
    return "\n".join(lines) + "\n"


def read(tmp_path, text, roles=ROLES, name="t.csv"):
    (tmp_path / name).write_text(text)
    return read_panel(tmp_path / name, roles)


def test_rows_after_the_last_value_are_the_known_future(tmp_path):
    panel = read(tmp_path, table())
    assert [len(v) for v in panel.values] == [10, 10]
    assert np.isfinite(panel.values[0]).all()
    assert [p.shape for p in panel.past] == [(10, 1), (10, 1)]
    assert [f.shape for f in panel.future] == [(13, 2), (13, 2)]
    assert panel.known_ahead(0) == 3
    assert panel.future[1][:, 0].tolist() == [100.0 + k for k in range(13)]
    assert panel.categories == {"day": ("plain", "sale"), "region": ("n", "s")}
    assert panel.future[0][:6, 1].tolist() == [1, 0, 0, 0, 0, 1]
    assert panel.static.tolist() == [[0], [1]]
    assert (panel.past_names, panel.future_names, panel.static_names) == (("temp",), ("price", "day"), ("region",))
    echo = dict(panel.summary())
    assert echo["past"] == "temp: up to the last step"
    assert echo["future"] == "price, day (2 categories): known for 3 steps after the last value"
    assert echo["static"] == "region (2 categories): one for a series"


def test_without_covariates_nothing_changes(tmp_path):
    panel = read(tmp_path, table(), Roles(target="sold", id="shop"))
    assert [len(v) for v in panel.values] == [13, 13]  # the rows at the end are steps without a value
    assert (panel.past, panel.future, panel.static, panel.categories) == ((), (), None, {})


def test_a_split_knows_the_future_columns_and_not_the_past_ones_of_its_tail(tmp_path):
    panel = read(tmp_path, table())
    head, rest = panel.split(4)
    assert head.known_ahead(0) == 7
    assert [len(head.past[0]), len(head.values[0]), len(head.future[0])] == [6, 6, 13]
    assert np.array_equal(rest.future[1], panel.future[1][6:])
    assert rest.times(0)[0] == head.next_times(0, 1)[0] == np.datetime64("2024-01-07")
    assert rest.known_ahead(1) == 3
    only = panel.select([1])
    assert (only.ids, only.static.tolist(), len(only.past)) == (("b",), [[1]], 1)
    ragged = panel.until([3, 5])
    assert [len(v) for v in ragged.values] == [3, 5]
    assert [ragged.known_ahead(k) for k in (0, 1)] == [10, 8]


def test_gaps_stay_unknown_in_every_column(tmp_path):
    text = "\n".join(line for line in table().splitlines() if "2024-01-03" not in line).replace("102,", ",")
    panel = read(tmp_path, text)
    assert np.isnan(panel.values[0][2])
    assert np.isnan(panel.past[0][2, 0])
    assert np.isnan(panel.future[0][2]).all()
    assert panel.future[0][3, 0] == 103


def test_wide_tables_share_their_columns_among_the_series(tmp_path):
    lines = ["ds,a,b,holiday", *(f"2024-01-{d:02},{d},{d if d < 19 else ''},{int(d % 7 == 0)}" for d in range(1, 21))]
    lines += [f"2024-01-{d:02},,,{int(d % 7 == 0)}" for d in range(21, 24)]
    panel = read(tmp_path, "\n".join(lines), Roles(wide=True, future="holiday"))
    assert panel.ids == ("a", "b")
    assert [len(v) for v in panel.values] == [20, 18]
    assert [panel.known_ahead(k) for k in (0, 1)] == [3, 5]
    assert np.array_equal(panel.future[0], panel.future[1])
    with pytest.raises(DataError, match=r"--static holiday: .* long form"):
        read(tmp_path, "\n".join(lines), Roles(wide=True, static="holiday"))


def test_coming_rows_from_a_table_of_their_own(tmp_path):
    panel = read(tmp_path, table(coming=0))
    assert panel.known_ahead(0) == 0
    lines = ["date,shop,price,day"]
    for shop in "ba":  # in another order, and with a row of the past
        lines += [
            f"2024-01-{d:02},{shop},{d * (1 + (shop == 'a'))},{'new' if d == 12 else 'sale'}" for d in (10, 11, 12, 14)
        ]
    (tmp_path / "coming.csv").write_text("\n".join(lines))
    longer = with_future(panel, tmp_path / "coming.csv")
    assert longer.known_ahead(0) == longer.known_ahead(1) == 2  # the third day has no row
    assert [len(future) for future in longer.future] == [14, 14]
    assert longer.foretold() == longer.foretold(1) == [0, 1]
    assert np.array_equal(longer.future[0][10:, 0], [22, 24, np.nan, 28], equal_nan=True)
    assert np.array_equal(longer.future[1][10:, 1], [1, 2, np.nan, 1], equal_nan=True)
    assert np.array_equal(longer.future[0][:10], panel.future[0])
    assert "day: 'new' did not occur in training and is taken as unknown" in longer.notes
    assert np.array_equal(longer.past[0], panel.past[0])


HEAD = "date,shop,price,day\n"


def test_series_without_coming_rows_stay_as_they_are(tmp_path):
    panel = read(tmp_path, table(coming=0))
    (tmp_path / "c.csv").write_text(f"{HEAD}2024-01-11,b,1,sale\n")
    longer = with_future(panel, tmp_path / "c.csv")
    assert longer.foretold() == [1]
    assert np.array_equal(longer.future[0], panel.future[0], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,shop,price\n2024-01-11,a,1\n", r"c.csv: expected the columns .* found no day; add"),
        (f"{HEAD}2024-01-10,b,1,sale\n", r"after the end of series 'a', which ends at 2024-01-10"),
        (f"{HEAD}2024-01-11 07:00,a,1,sale\n", r"c.csv, line 2: expected daily steps .* 2024-01-11 07:00"),
        (
            f"{HEAD}2024-01-11,a,x,sale\n2024-01-11,b,w,sale\n",
            r"expected numbers in 'price', as in training, got words",
        ),
        (f"{HEAD}2024-01-11,a,1,sale\n2024-01-11,a,1,sale\n", r"line 3: expected each time once in series 'a'"),
        (f"{HEAD}2099-01-11,a,1,sale\n", r"line 2: expected rows that follow series 'a' closely"),
    ],
)
def test_coming_rows_that_do_not_go_on(tmp_path, text, message):
    panel = read(tmp_path, table(coming=0))
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        with_future(panel, tmp_path / "c.csv")


def test_categories_are_numbered_as_in_training(tmp_path):
    trained = read(tmp_path, table())
    other = read(tmp_path, table().replace("sale", "zest").replace(",n\n", ",s\n"), name="u.csv")
    same = other.with_categories(trained.categories)
    assert same.categories == trained.categories
    assert np.array_equal(same.future[0][:2, 1], [2, 0])
    assert np.array_equal(same.with_categories(other.categories).future[0][:2, 1], [2, 0])  # unknown stays unknown
    assert same.static.tolist() == [[1], [1]]
    assert any("'zest'" in note for note in same.notes)


@pytest.mark.parametrize(
    ("change", "roles", "message"),
    [
        (
            ("a,2024-01-05,4,2.0", "a,2024-01-05,4,warm"),
            ROLES,
            r"t.csv, line 6: expected a number in 'temp', got 'warm'",
        ),
        (("104,plain,n", "104,plain,s"), ROLES, r"line 6: .* static column 'region' .* got s after n"),
        (("", ""), Roles(past="x"), r"--past x: expected a column of t.csv, which has shop, date"),
        (
            ("", ""),
            Roles(past="temp", future="temp"),
            r"--future temp: expected one role a column, got --past for it too",
        ),
        (("", ""), Roles(target="sold", past="sold"), r"--past sold: expected one role a column, got --target"),
        (("a,2024-01-05,4,2.0", "a,2024-01-05,4,inf"), ROLES, r"line 6: expected a finite number in 'temp', got inf"),
        (
            ("", ""),
            Roles(target="sold", time="day", future="date"),
            r"expected numbers or words in 'date', got time stamps",
        ),
    ],
)
def test_covariates_that_are_refused(tmp_path, change, roles, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, table().replace(*change), roles)


def test_a_column_of_remarks_is_no_category(tmp_path):
    text = "\n".join(["ds,y,remark", *(f"{k},{k},remark {k}" for k in range(1500))])
    with pytest.raises(DataError, match=r"at most 1,000 different words in 'remark', got 1,500"):
        read(tmp_path, text, Roles(past="remark"))
