"""Tables become series: what is found, what is refused, and where the message points."""

import numpy as np
import pytest

from cellgate.data import DataError, Roles, read_panel
from cellgate.data.frequency import Frequency, parse_frequency


def write(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_the_bundled_airline_figures():
    panel = read_panel("airline")
    assert panel.frequency == Frequency("month", 1)
    assert panel.season == 12
    assert panel.values[0].sum() == 40_363  # the total of Box and Jenkins' 144 figures
    assert panel.values[0][[0, 1, -1]].tolist() == [112, 118, 432]
    assert panel.times(0)[-1] == np.datetime64("1960-12-01")
    assert panel.next_times(0, 2).astype("datetime64[M]").astype(str).tolist() == ["1961-01", "1961-02"]
    assert (panel.roles.time, panel.roles.target) == ("Month", "#Passengers")


def test_the_echo_says_what_was_found():
    echo = dict(read_panel("airline").summary())
    assert echo["data"] == "airline: 1 series, 144 steps, monthly, 1949-01-01 to 1960-12-01"
    assert echo["columns"] == "time = Month, value = #Passengers"
    assert echo["season"] == "12 steps"


DAYS = [f"2024-01-{d:02}" for d in range(1, 29)]
MONTHS = np.arange("2024-01", "2025-06", dtype="datetime64[M]")


@pytest.mark.parametrize(
    ("lines", "frequency", "season"),
    [
        ([f"{d},{k}" for k, d in enumerate(DAYS)], "daily", 7),
        ([f"{d} {h:02}:00,{h}" for d in DAYS for h in range(24)], "hourly", 24),
        ([f"{d}T{h:02}:{m:02}:00Z,{h}" for d in DAYS[:3] for h in range(24) for m in (0, 30)], "every 30 minutes", 48),
        ([f"{d}/01/2024,{k}" for k, d in enumerate(range(1, 29))], "daily", 7),  # 28/01 can only be day/month
        ([f"01/{d:02}/2024,{k}" for k, d in enumerate(range(1, 29))], "daily", 7),  # 01/28 can only be month/day
        ([f"{k + 1:02}/2020,{k}" for k in range(12)], "monthly", 12),
        ([f"{y}Q{q},{q}" for y in range(2000, 2005) for q in (1, 2, 3, 4)], "quarterly", 4),
        ([f"{y},{y}.5" for y in range(1900, 1930)], "yearly", 1),
        ([f"{d},1" for d in np.arange("2024-01-31", "2025-12-31", 7, dtype="datetime64[D]")], "weekly", 52),
        ([f"{d},1" for d in np.arange("2020-01-31", "2025-12-31", 14, dtype="datetime64[D]")], "every 14 days", 26),
        ([f"{d},1" for d in np.arange("2020-01-31", "2025-12-31", 28, dtype="datetime64[D]")], "every 28 days", 13),
        ([f"{d},1" for d in np.arange("2020-01-31", "2025-12-31", 21, dtype="datetime64[D]")], "every 21 days", 1),
        ([f"{d},1" for d in (MONTHS + 1).astype("datetime64[D]") - 1], "monthly", 12),
        ([f"{d:%b %Y},1" for d in MONTHS.astype(object)], "monthly", 12),
        ([f"{d},1" for d in DAYS if np.is_busday(np.datetime64(d))], "every business day", 5),
        ([f"2024{m:02},{m}" for m in range(1, 13)], "monthly", 12),
        ([f"202401{d:02},{d}" for d in range(1, 29)], "daily", 7),
    ],
)  # fmt: skip
def test_frequencies_are_found(tmp_path, lines, frequency, season):
    panel = read_panel(write(tmp_path, "\n".join(["when,v", *lines])))
    assert str(panel.frequency) == frequency
    assert panel.season == season
    assert len(panel.values[0]) == len(lines)
    # Continuing the grid by its own length and reading those stamps back gives the same grid.
    steps, exact = panel.frequency.positions(panel.next_times(0, 40), panel.starts[0])
    assert exact.all()
    assert steps.tolist() == list(range(len(lines), len(lines) + 40))


LONG = np.arange("2024-01-01", "2024-03-25", dtype="datetime64[D]")  # twelve weeks from a Monday on


@pytest.mark.parametrize(
    ("off", "frequency", "season"),
    [
        ([6], "every day but Sunday", 6),
        ([0, 6], "every day but Monday and Sunday", 5),
        ([4, 5], "every day but Friday and Saturday", 5),
        ([0, 1, 2, 3, 4], "every Saturday and Sunday", 2),
        ([5, 6], "every business day", 5),
    ],
)
def test_weekdays_without_any_row_are_no_steps(off, frequency, season):
    days = LONG[~np.isin(np.arange(len(LONG)) % 7, off)]
    closed = 9  # a holiday, and a value that is missing
    y = np.arange(len(days)).astype(object)
    y[20] = None
    panel = read_panel({"ds": np.delete(days, closed).astype(str), "y": np.delete(y, closed)})
    assert (str(panel.frequency), panel.season) == (frequency, season)
    assert (panel.times(0) == days).all()
    assert np.flatnonzero(np.isnan(panel.values[0])).tolist() == [closed, 20]
    coming = np.arange(LONG[-1] + 1, LONG[-1] + 22)
    coming = coming[~np.isin((coming - LONG[0]).astype(int) % 7, off)]
    assert (panel.next_times(0, len(coming)) == coming).all()
    assert panel.frequency.positions(coming, panel.starts[0])[0].tolist() == list(
        range(len(days), len(days) + len(coming))
    )
    assert Frequency(**panel.frequency.to_json()) == panel.frequency
    told = [note for note in panel.notes if "--freq D" in note]
    note = f"no row on any other weekday: steps are {frequency}; --freq D has the days between as well"
    assert told == ([] if off == [5, 6] else [note])
    daily = read_panel({"ds": days.astype(str), "y": np.arange(len(days))}, Roles(freq="D"))
    assert (str(daily.frequency), daily.season) == ("daily", 7)


def test_weekdays_that_lack_their_rows_by_chance_are_steps():
    six = LONG[np.arange(len(LONG)) % 7 != 6]
    assert str(read_panel({"ds": six[:12].astype(str), "y": range(12)}).frequency) == "daily"  # two weeks say little
    random = np.random.default_rng(0)
    few = np.sort(random.choice(six[:30], 20, replace=False))  # five weeks, of which a third is missing
    assert str(read_panel({"ds": few.astype(str), "y": range(20)}).frequency) == "daily"
    # One series of several has rows on Sundays, though not the longest: they are steps of all.
    columns = {"id": ["a"] * len(six) + ["b"] * 30, "ds": [*six.astype(str), *LONG[:30].astype(str)]}
    panel = read_panel({**columns, "y": range(len(six) + 30)}, Roles(id="id"))
    assert str(panel.frequency) == "daily"
    assert [len(values) for values in panel.values] == [len(LONG) - 1, 30]


@pytest.mark.parametrize(
    ("alias", "frequency"),
    [
        ("Mon-Sat", Frequency("business day", 1, week="1111110")),
        ("sunday - thursday", Frequency("business day", 1, week="1111001")),
        ("Mon-Fri", Frequency("business day", 1)),
        ("Mon-Sun", Frequency("second", 86_400)),
        ("W-SUN", Frequency("second", 7 * 86_400)),
        ("foo-Sat", None),
    ],
)
def test_a_week_by_its_days(alias, frequency):
    assert parse_frequency(alias) == frequency
    rows = {"ds": LONG[:12].astype(str), "y": range(12)}
    if frequency and frequency.unit == "business day":
        with pytest.raises(DataError, match=r"no step of these series: leave its rows out, or train with --freq D"):
            read_panel(rows, Roles(freq=alias))


def test_a_day_that_not_every_month_has_comes_back():
    months = np.arange("2021-01", "2024-04", dtype="datetime64[M]")
    ends = (months + 1).astype("datetime64[D]") - 1
    days = np.minimum(months.astype("datetime64[D]") + 29, ends)  # the 30th, in February the last
    for first in (0, 1):  # 30 January, 28 February
        panel = read_panel({"ds": days[first:].astype(str), "y": np.arange(len(days) - first) % 12.0})
        assert str(panel.frequency) == "monthly"
        for begin in range(20):
            part = panel.since([begin])
            assert (part.times(0) == days[first + begin :]).all()
        assert (panel.next_times(0, 2) == np.array(["2024-04-30", "2024-05-30"], dtype="datetime64[us]")).all()
        assert Frequency(**panel.frequency.to_json()) == panel.frequency


def test_month_ends_stay_month_ends(tmp_path):
    ends = (np.datetime64("2023-02") + np.arange(14)).astype("datetime64[D]") - 1
    panel = read_panel(write(tmp_path, "\n".join(["ds,y", *(f"{d},{k}" for k, d in enumerate(ends))])))
    assert panel.frequency.month_end
    assert panel.next_times(0, 2).astype("datetime64[D]").astype(str).tolist() == ["2024-03-31", "2024-04-30"]


def test_ambiguous_dates_are_read_the_way_that_makes_a_grid(tmp_path):
    text = "\n".join(["ds,y", *(f"{m:02}/01/2024,{m}" for m in range(1, 13))])
    # As day/month these are twelve days of January; as month/day, twelve months. Day/month is tried first.
    assert str(read_panel(write(tmp_path, text)).frequency) == "daily"
    asked = read_panel(write(tmp_path, text), Roles(time_format="%m/%d/%Y"))
    assert str(asked.frequency) == "monthly"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ds;y\n2024-01-01;1.234,5\n2024-01-02;2,25\n2024-01-03;3\n", [1234.5, 2.25, 3]),
        ('ds,y\n2024-01-01,"1,234"\n2024-01-02,"12,345.5"\n2024-01-03,7\n', [1234, 12345.5, 7]),
        ("ds\ty\n2024-01-01\t1\n2024-01-02\t2\n2024-01-03\t3\n", [1, 2, 3]),
        ("ds|y\n2024-01-01|1\n2024-01-02|2\n2024-01-03|3\n", [1, 2, 3]),
        ("ds,y,\n2024-01-01,1,\n2024-01-02,2,\n2024-01-03,3,\n", [1, 2, 3]),
        ("ds,y\r\n2024-01-01,$1\r\n\r\n2024-01-02,$2\r\n2024-01-03,$3\r\n", [1, 2, 3]),
        ("2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n", [1, 2, 3]),
        ("ds,y\n2024-01-01,1e3\n2024-01-02,-2\n2024-01-03,+3\n", [1000, -2, 3]),
        ("ds,y\n2024-01-01,1 000\n2024-01-02,2\n2024-01-03,3\n", [1000, 2, 3]),
        (",y\n0,5\n1,6\n2,7\n", [5, 6, 7]),
        ("y\n5\n6\n7\n", [5, 6, 7]),
        ("5\n6\n7\n", [5, 6, 7]),
        ("ds,y\n2024-01-03,3\n2024-01-01,1\n2024-01-02,2\n", [1, 2, 3]),
    ],
)
def test_ways_to_write_numbers_and_tables(tmp_path, text, values):
    assert read_panel(write(tmp_path, text)).values[0].tolist() == values


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
    text = "Größe,Wert\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n"
    panel = read_panel(write(tmp_path, text, encoding=encoding))
    assert panel.roles.time == "Größe"
    # Only what was a guess is told.
    guess = "not UTF-8 (line 1): read as Windows-1252; save it as UTF-8 if names look wrong"
    assert panel.notes == ((guess,) if encoding == "cp1252" else ())


def test_gaps_and_missing_values_are_left_open(tmp_path):
    lines = ["ds,y", "2024-01-01,1", "2024-01-02,NA", "2024-01-03,3", "2024-01-06,6", "2024-01-07,7", "2024-01-08,"]
    panel = read_panel(write(tmp_path, "\n".join(lines)))
    expected = [1, np.nan, 3, np.nan, np.nan, 6, 7, np.nan]
    assert np.array_equal(panel.values[0], expected, equal_nan=True)
    echo = dict(panel.summary())
    assert echo["missing"].startswith("4 steps")
    assert "2 steps have no row" in echo["note"]


def test_many_series_in_long_form(tmp_path):
    lines = [f"{shop},{d},{k + (shop == 'b')}" for shop in "ab" for k, d in enumerate(DAYS[: 20 + (shop == "b")])]
    for head in ("unique_id,ds,y", "shop,day,sold"):
        panel = read_panel(write(tmp_path, "\n".join([head, *lines])))
        assert panel.ids == ("a", "b")
        assert [len(v) for v in panel.values] == [20, 21]
        assert panel.values[1][0] == 1


def test_wide_form(tmp_path):
    text = "\n".join(["ds,a,b,c", *(f"{d},{k},{-k},{k * k}" for k, d in enumerate(DAYS))])
    with pytest.raises(DataError, match=r"--target a: expected none where every column .* \(--wide\), .* give one of"):
        read_panel(write(tmp_path, text), Roles(wide=True, target="a"))
    panel = read_panel(write(tmp_path, text), Roles(wide=True))
    assert panel.ids == ("a", "b", "c")
    assert panel.values[2][5] == 25
    with pytest.raises(
        DataError, match=r"expected one column of numbers to predict, found 3: a, b, c; choose .*--wide"
    ):
        read_panel(write(tmp_path, text))


def test_a_row_a_series_as_in_the_m_competitions(tmp_path):
    text = 'V1,V2,V3,V4,V5\n"H1",1,2,3,4\n"H2",5,6,7,\n'
    panel = read_panel(write(tmp_path, text))
    assert panel.ids == ("H1", "H2")
    assert [v.tolist() for v in panel.values] == [[1, 2, 3, 4], [5, 6, 7]]


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_what_a_mask_hides_is_missing(dtype):
    values = np.ma.masked_equal(np.arange(12) % 5, 3).astype(dtype)
    expected = np.where(np.arange(12) % 5 == 3, np.nan, np.arange(12) % 5.0)
    days = np.datetime64("2024-01-01") + np.arange(12)
    for data in (values, np.ma.stack([values, values], axis=1), {"ds": days, "y": values}):
        for series in read_panel(data).values:
            np.testing.assert_array_equal(series, expected)
    with pytest.raises(DataError, match="row 2: expected a time stamp in 'ds', got none"):
        read_panel({"ds": np.ma.masked_equal(days, days[2]), "y": np.arange(12.0)})


def test_arrays():
    assert read_panel(np.arange(10.0)).values[0].tolist() == list(range(10))
    assert read_panel([1, 2, 3, 4]).values[0].tolist() == [1, 2, 3, 4]
    assert len(read_panel(np.ones((9, 2)))) == 2


BROKEN = {
    "empty": ("", "expected rows, got an empty file"),
    "only a header": ("ds,y\n", "expected rows below the header"),
    "too many cells": ("ds,y\n2024-01-01,1\n2024-01-02,2,3\n", r"line 3: expected 2 cells .* got 3; quote a cell"),
    "too few cells": ("ds,y\n2024-01-01,1\n2024-01-02\n", r"line 3: expected 2 cells .* got 1"),
    "a word among numbers": (
        "\n".join(["ds,y", *(f"{d},{k}" for k, d in enumerate(DAYS)), "2024-01-29,oops"]),
        r"line 30: expected a number in 'y', got 'oops'",
    ),
    "infinity": (
        "ds,y\n2024-01-01,1\n2024-01-02,inf\n2024-01-03,3\n",
        "line 3: expected a finite number in 'y', got inf",
    ),
    "a time twice": (
        "ds,y\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n2024-01-03,3\n",
        r"line 4: expected each time once, got 2024-01-02 again \(first at line 3\).*--id",
    ),
    "a time off the grid": (
        "\n".join(["ds,y", *(f"{d} 00:00,1" for d in DAYS), "2024-01-29 07:30,1"]),
        r"line 30: expected daily steps, got 2024-01-29 07:30 after 2024-01-28",
    ),
    "no time in a row": ("ds,y\n2024-01-01,1\n,2\n2024-01-03,3\n", r"line 3: expected a time stamp in 'ds', got none"),
    "a time that is none": (
        "\n".join(["ds,y", *(f"{d},1" for d in DAYS), "2024-13-45,1"]),
        r"line 30: expected a time stamp in 'ds', got '2024-13-45'",
    ),
    "no numbers": (
        "ds,name\n2024-01-01,a\n2024-01-02,b\n2024-01-03,c\n",
        "expected a column of numbers to predict, found none",
    ),
    "only missing": ("ds,y\n2024-01-01,\n2024-01-02,\n2024-01-03,\n", "expected a.* numbers|expected values"),
    "two rows": ("ds,y\n2024-01-01,1\n2024-01-02,2\n", "expected at least 3 rows"),
    "one name twice": ("ds,y,y\n2024-01-01,1,2\n", "expected different column names, got 'y' twice"),
    "an open quote": ('ds,y\n2024-01-01,"1\n2024-01-02,2\n', "check the quotes"),
    "a huge gap": (
        "ds,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n2054-01-03,3\n",
        "line 5: expected daily steps, got a gap of",
    ),
    "zones on some rows": (
        "ds,y\n2024-01-01T00:00:00Z,1\n2024-01-02T00:00:00,2\n2024-01-03T00:00:00,2\n",
        "line 3: expected a time zone on every row of 'ds' or on none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_refused_with_the_place_and_the_remedy(tmp_path, name):
    text, message = BROKEN[name]
    with pytest.raises(DataError, match=message):
        read_panel(write(tmp_path, text))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DataError, match=r"expected a file, found none; .*airline"):
        read_panel(tmp_path / "none.csv")
    with pytest.raises(DataError, match="got a folder"):
        read_panel(tmp_path)
    with pytest.raises(DataError, match="got a spreadsheet or a zip archive; save the sheet as CSV"):
        read_panel(write(tmp_path, "PK\x03\x04\x00\x00", "t.csv", "latin-1"))
    with pytest.raises(DataError, match="spreadsheet; save it as CSV"):
        read_panel(write(tmp_path, "x", "t.xlsx"))
    with pytest.raises(DataError, match=r"--target w: expected a column of t.csv, which has ds, y"):
        read_panel(write(tmp_path, "ds,y\n1,2\n"), Roles(target="w"))


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("h", "hourly"),
        ("30min", "every 30 minutes"),
        ("MS", "monthly"),
        ("W-SUN", "weekly"),
        ("QE", "quarterly"),
        ("2D", "every 2 days"),
    ],
)
def test_frequency_aliases(alias, words):
    assert str(parse_frequency(alias)) == words


def test_a_frequency_that_is_none():
    assert parse_frequency("often") is None
    for freq in ("often", "0D", "00 h"):
        with pytest.raises(DataError, match=f"--freq {freq}: expected a frequency such as"):
            read_panel("airline", Roles(freq=freq))


@pytest.mark.parametrize(("freq", "season"), [("h", 24), ("MS", 12), ("W", 52), ("Y", 1)])
def test_the_frequency_of_numbered_steps_tells_their_season(freq, season):
    panel = read_panel(np.arange(60) % 5.0, Roles(freq=freq))
    assert (panel.season, str(panel.frequency)) == (season, "numbered steps")
    assert read_panel(np.arange(60) % 5.0, Roles(freq=freq, season=5)).season == 5


# ---------------------------------------------------------------- is a column of words the series' name?


def days(count, month="01"):
    return [f"2024-{month}-{d + 1:02}" for d in range(count)]


@pytest.mark.parametrize("words", [("yes", "no"), ("True", "False")])
def test_words_beside_one_series_are_not_its_name(tmp_path, words):
    rows = [f"{day},{k},{words[k % 3 > 0]}" for k, day in enumerate(days(28))]
    panel = read_panel(write(tmp_path, "\n".join(["ds,y,promo", *rows])))
    assert (len(panel), panel.roles.id, len(panel.values[0])) == (1, None, 28)
    assert not np.isnan(panel.values[0]).any()
    assert any("not used: promo" in note and "--id promo" in note for note in panel.notes)


def test_words_that_tell_equal_times_apart_are_the_series_name(tmp_path):
    rows = [f"{day},{k},{shop}" for shop in ("north", "south") for k, day in enumerate(days(28))]
    panel = read_panel(write(tmp_path, "\n".join(["ds,y,place", *rows])))
    assert (panel.ids, panel.roles.id) == (("north", "south"), "place")


@pytest.mark.parametrize(
    ("names", "expected"),
    [("aaaabbbb", ("a", "b")), ("abababab", ("a", "b")), ("abbababb", ("y",))],
)
def test_without_times_names_stand_in_blocks_or_turns(tmp_path, names, expected):
    text = "\n".join(["place,y", *(f"{name},{k}.5" for k, name in enumerate(names))])
    assert read_panel(write(tmp_path, text)).ids == expected


def test_a_date_and_its_clock_in_two_columns_are_refused(tmp_path):
    rows = [f"{day},{hour:02}:00,{hour}" for day in days(4) for hour in range(24)]
    path = write(tmp_path, "\n".join(["date,time,y", *rows]))
    with pytest.raises(DataError, match="expected date and time of day in one column, got 'date' and 'time'; join the"):
        read_panel(path)
    assert len(read_panel(path, Roles(id="time"))) == 24


def test_the_first_column_of_numbers_is_proposed(tmp_path):
    rows = [f"{day},{k},{k + 1},{k + 2}" for k, day in enumerate(days(9))]
    with pytest.raises(DataError, match="such as --target 'items sold', or predict all of them with --wide"):
        read_panel(write(tmp_path, "\n".join(["ds,items sold,temp,price", *rows])))
    # Not all of them where times repeat: such a table is not wide.
    rows = [f"{day},{shop},{k},{k + 1}" for k, day in enumerate(days(9)) for shop in "ab"]
    with pytest.raises(DataError, match=r"such as --target 'items sold'$"):
        read_panel(write(tmp_path, "\n".join(["ds,shop,items sold,price", *rows])))


def test_all_columns_are_remembered_in_their_order(tmp_path):
    rows = [f"{k},x,{day}" for k, day in enumerate(days(9))]
    assert read_panel(write(tmp_path, "\n".join(["y,note,ds", *rows]))).columns == ("y", "note", "ds")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("t.npz", "PK", "got a file of NumPy arrays; learn them with --task classify or regress"),
        ("t.conll", "the DET\ndog NOUN\n", "got a file of words with tags; learn them with --task tag"),
        (
            "t.txt",
            "Once\nupon, a time\nthere\nwas\n",
            "line 2: expected 1 cell as in the first line, got 2; .*generate",
        ),
        ("t.txt", "Once\nupon\na\ntime\n", "expected a column of numbers to predict, .* --task generate"),
    ],
)
def test_files_for_another_task_say_which(tmp_path, name, text, told):
    with pytest.raises(DataError, match=told):
        read_panel(write(tmp_path, text, name))
