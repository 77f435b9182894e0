"""Times that are odd, broken or missing, and series that are too short, too long, constant or full of holes."""

import numpy as np
from tests.odd_inputs.case import DAYS, GOOD, Odd, is_series, stamps, table, text


def _is(frequency: str, first: str | int | None = None, steps: int | None = None):
    def holds(panel) -> bool:
        start = panel.starts[0] if isinstance(panel.starts[0], int) else panel.starts[0].astype("datetime64[m]")
        return (
            str(panel.frequency) == frequency
            and (first is None or start == (first if isinstance(first, int) else np.datetime64(first)))
            and (steps is None or len(panel.values[0]) == steps)
        )

    return holds


HOURS = [f"2024-03-31 {h:02}:00" for h in range(24)]
_months = np.arange("2023-01", "2024-04", dtype="datetime64[M]")
_market = [str(np.busday_offset(month.astype("datetime64[D]"), 0, "forward")) for month in _months]

_HALVES = ("AM", "PM")

TIMES = {
    "rows from the latest to the earliest": Odd(
        text("ds,y", *GOOD[::-1]),
        holds=lambda p: p.values[0][:3].tolist() == [1, 2, 3],
        noted="order of time",
    ),
    "a time twice": Odd(table(GOOD[4]), "t.csv, line 30: expected each time once, got 2024-01-05 again (first at"),
    "one time for all": Odd(stamps(*["2024-01-01"] * 5), "line 3: expected each time once, got 2024-01-01 again"),
    "a row without a time": Odd(table(",5"), "line 30: expected a time stamp in 'ds', got none; fill it in or remove"),
    "a day that does not exist": Odd(
        stamps(*(f"2023-02-{d}" for d in range(20, 30))), "line 11: expected a time stamp in 'ds', got '2023-02-29'"
    ),
    "the leap day": Odd(
        stamps(*np.arange("2024-02-20", "2024-03-10", dtype="datetime64[D]").astype(str)), holds=_is("daily", steps=19)
    ),
    "leap days only": Odd(stamps(*(f"{y}-02-29" for y in (2008, 2012, 2016, 2020))), holds=_is("every 48 months")),
    "a quarter that does not exist": Odd(
        stamps(*(f"2020-Q{q}" for q in (1, 2, 3, 5))), "line 5: expected a time stamp in 'ds', got '2020-Q5'"
    ),
    "quarters": Odd(
        stamps(*(f"{y}-Q{q}" for y in (2022, 2023) for q in (1, 2, 3, 4))), holds=_is("quarterly", "2022-01")
    ),
    "weeks": Odd(stamps(*(f"2024-W{w:02}" for w in range(1, 20))), holds=_is("weekly", "2024-01-01")),
    "weeks as numbers": Odd(
        text("week,y", *(f"2024{w:02},{w}" for w in range(1, 52))), holds=_is("weekly", "2024-01-01"), noted="ISO weeks"
    ),
    "years": Odd(text("year,y", *(f"{y},{y}" for y in range(1990, 2020))), holds=_is("yearly", "1990-01-01")),
    "ends of months": Odd(
        stamps(*((_months + 1).astype("datetime64[D]") - 1).astype(str)), holds=_is("monthly", "2023-01-31", 15)
    ),
    "an end of a month that is not": Odd(
        stamps("2024-01-31", "2024-02-28", "2024-03-31", "2024-04-30"),
        holds=_is("monthly", steps=4),
        noted="by the month",
    ),
    "the first day of the market in each month": Odd(
        stamps(*_market), holds=_is("monthly", steps=15), noted="the days of the month differ: taken by the month"
    ),
    "business days with holidays": Odd(
        stamps(
            *(
                d
                for d in np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]").astype(str)
                if np.is_busday(d) and d != "2024-01-15"
            )
        ),
        holds=lambda p: _is("every business day", steps=44)(p) and int(np.isnan(p.values[0]).sum()) == 1,
        noted="1 step has no row in the table",
    ),
    "ISO dates with the clock of twelve hours": Odd(
        stamps(*(f"2024-01-{d:02} {c}" for d in (1, 2, 3) for c in ("12:00 AM", "06:00 AM", "12:00 PM", "06:00 PM"))),
        holds=_is("every 6 hours", "2024-01-01T00:00", 12),
        noted="read as %Y-%m-%d %I:%M %p",
    ),
    "two formats in a column": Odd(table("29/01/2024,1"), "line 30: expected a time stamp in 'ds', got '29/01/2024'"),
    "day and month that only one row tells apart": Odd(
        stamps(*(f"{d:02}/02/2024" for d in range(1, 14))),
        holds=_is("daily", "2024-02-01"),
        noted="read as %d/%m/%Y",
    ),
    "day and month that gaps tell apart": Odd(
        stamps(*(f"01/{d:02}/24 {h:02}:00 {half}" for d in (1, 2) for half in _HALVES for h in (12, *range(1, 12)))),
        holds=_is("hourly", "2024-01-01"),
        noted="ds: read as %m/%d/%y %I:%M %p; %d/%m/%y %I:%M %p would read it too, --time-format chooses",
    ),
    "day and month that nothing tells apart": Odd(
        stamps(*(f"{m:02}/01/2024" for m in range(1, 13))),
        holds=_is("daily", "2024-01-01"),
        noted="%m/%d/%Y would read it too, --time-format chooses",
    ),
    "months of another language": Odd(
        text("Date,y", "Januar 2024,1", "Februar 2024,2", "Maerz 2024,3"),
        "line 2: expected a time stamp in 'Date', got 'Januar 2024'; write it as 2024-01-31 or 2024-01-31 13:00",
    ),
    "a zone by its letters": Odd(stamps("2024-01-01 10:00 CET", "2024-01-01 11:00 CET"), "got '2024-01-01 10:00 CET'"),
    "the hour that summer time skips": Odd(
        stamps(*(h for h in HOURS if "02:00" not in h)),
        holds=lambda p: _is("hourly", steps=24)(p) and np.isnan(p.values[0][2]),
    ),
    "the hour that summer time repeats": Odd(
        stamps(*(f"2024-10-27 {h:02}:00" for h in (0, 1, 2, 2, 3, 4, 5))),
        "line 5: expected each time once, got 2024-10-27 02:00 again (first at line 4); were clocks put back",
    ),
    "hours with their offsets": Odd(
        stamps("2024-10-27T01:00+02:00", "2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00", "2024-10-27T03:00+01:00"),
        holds=_is("hourly", "2024-10-26T23:00", 4),
        noted="taken as UTC",
    ),
    "days with their offsets": Odd(
        stamps(
            *(f"2024-03-{d}T00:00:00+01:00" for d in range(25, 32)),
            *(f"2024-04-0{d}T00:00:00+02:00" for d in (1, 2, 3)),
        ),
        holds=_is("daily", "2024-03-25", 10),
        noted="the local time of the zone is kept",
    ),
    "a zone on some rows": Odd(
        stamps("2024-01-01T00:00Z", "2024-01-02T00:00", "2024-01-03T00:00"),
        "line 3: expected a time zone on every row of 'ds'",
    ),
    "24:00": Odd(stamps(*(f"2024-01-01 {h:02}:00" for h in range(1, 25))), holds=_is("hourly", "2024-01-01T01:00", 24)),
    "seconds since 1970": Odd(
        text("ts,y", *(f"{1_700_000_000 + 3600 * k},{k}" for k in range(30))),
        holds=_is("hourly", "2023-11-14T22:13"),
        noted="ts: read as seconds since 1970 (UTC)",
    ),
    "milliseconds since 1970": Odd(
        text("timestamp,y", *(f"{1_700_000_000_000 + 60_000 * k},{k}" for k in range(30))),
        holds=_is("every minute"),
    ),
    "the day numbers of a spreadsheet": Odd(
        text("date,y", *(f"{45292 + k},{k}" for k in range(30))),
        holds=_is("daily", "2024-01-01"),
        noted="Excel's day",
    ),
    "tenths of seconds": Odd(
        stamps(*(f"2024-01-01 00:00:00.{k}" for k in range(10))), holds=_is("every 100 milliseconds", steps=10)
    ),
    "seconds of a measurement": Odd(
        text("time,signal", *(f"{k / 10},{k % 3}" for k in range(30))),
        holds=_is("numbered steps", 0, 30),
        noted="of 0.1",
    ),
    "a clock that is late by seconds": Odd(
        stamps(*(f"2024-01-01 {h:02}:00:{h % 3:02}" for h in range(24))),
        holds=_is("hourly", "2024-01-01", 24),
        noted="16 stamps stand up to 2 seconds beside the grid: taken as on it",
    ),
    "a time off the grid": Odd(
        stamps(*DAYS, "2024-01-29 07:30"), "line 30: expected daily steps, got 2024-01-29 07:30 after 2024-01-28"
    ),
    "events at any time": Odd(
        stamps("2024-01-01 10:03:11", "2024-01-01 10:07:45", "2024-01-01 11:13:02", "2024-01-02 01:02:03"),
        "line 4: expected steps a regular distance apart, got 2024-01-01 11:13:02 after 2024-01-01 10:07:45",
    ),
    "a gap of decades": Odd(table("2054-01-03,3"), "line 30: expected daily steps, got a gap of 10,933 steps"),
    "the end of the calendar": Odd(stamps(*(f"9999-12-{d}" for d in range(10, 32))), holds=_is("daily", "9999-12-10")),
    "a year of five digits": Odd(stamps("12024-01-01", "12024-01-02"), "expected a time stamp in 'ds', got '12024"),
    "a format that does not fit": Odd(
        table(), "line 2: expected the format '%d.%m.%Y' in 'ds', got '2024-01-01'", options={"time_format": "%d.%m.%Y"}
    ),
    "a frequency that is none": Odd(table(), "--freq often: expected a frequency such as h", options={"freq": "often"}),
    "a frequency that does not fit": Odd(
        stamps(*HOURS), "line 3: expected daily steps, got 2024-03-31 01:00 after 2024-03-31", options={"freq": "D"}
    ),
}

SERIES = {
    "two rows": Odd(stamps(*DAYS[:2]), "expected at least 3 rows in a series to find its frequency, got 2"),
    "two rows and a frequency": Odd(stamps(*DAYS[:2]), holds=is_series(0, 1), options={"freq": "D"}),
    "missing values and gaps": Odd(
        text("ds,y", "2024-01-01,1", "2024-01-02,NA", "2024-01-03,3", "2024-01-06,6", "2024-01-07,"),
        holds=is_series(1, None, 3, None, None, 6, None),
        noted="2 steps have no row in the table",
    ),
    "series of a number each": Odd(
        text("id,ds,y", *(f"{shop},{line}" for shop in (1, 2) for line in GOOD)), holds=lambda p: p.ids == ("1", "2")
    ),
    "a shop by its number": Odd(
        text("store,date,sales", *(f"{shop},{line}" for shop in (7, 8) for line in GOOD)),
        holds=lambda p: p.ids == ("7", "8"),
    ),
    "series of different lengths": Odd(
        text("unique_id,ds,y", *(f"a,{line}" for line in GOOD), "b,2024-01-05,1"),
        holds=lambda p: [len(v) for v in p.values] == [28, 1],
    ),
    "a series of nothing": Odd(
        text("unique_id,ds,y", *(f"a,{line}" for line in GOOD), *(f"b,{day}," for day in DAYS)),
        "expected values in series 'b', got only missing ones; remove it",
    ),
    "a row without a series": Odd(
        text("unique_id,ds,y", *(f"a,{line}" for line in GOOD), ",2024-01-01,3"),
        "line 30: expected a series' name",
    ),
    "series of different frequencies": Odd(
        text("unique_id,ds,y", *(f"a,{line}" for line in GOOD), *(f"b,{hour},1" for hour in HOURS[:20])),
        "line 31: expected daily steps in series 'b', got 2024-03-31 01:00",
    ),
    "a number beyond reason": Odd(
        table("2024-01-29,1e300"), "line 30: expected numbers up to 1e+100 in 'y', got 1e300"
    ),
    "a column that is not there": Odd(
        table(), "--target z: expected a column of t.csv, which has", options={"target": "z"}
    ),
    "a column of words as target": Odd(
        text("ds,y,w", *(f"{line},red" for line in GOOD)),
        "line 2: expected a number in 'w'",
        options={"target": "w"},
    ),
    "an empty column beside": Odd(
        text("ds,y,z", *(f"{line}," for line in GOOD)), holds=lambda p: p.roles.target == "y"
    ),
}

# Series that are read without a word and that a training must survive: what it then forecasts is finite.
TRAINABLE = {
    "constant": text("ds,y", *(f"{day},7" for day in DAYS)),
    "zeros": text("ds,y", *(f"{day},0" for day in DAYS)),
    "minus zeros": text("ds,y", *(f"{day},-0.0" for day in DAYS)),
    "an outlier of 1e30": table("2024-01-29,1e30", *(f"2024-02-{d:02},{d % 7 + 1}" for d in range(1, 15))),
    "all about 1e90": text("ds,y", *(f"{day},{k % 7 + 1}e90" for k, day in enumerate(DAYS))),
    "all about 1e-300": text("ds,y", *(f"{day},{k % 7 + 1}e-300" for k, day in enumerate(DAYS))),
    "half missing": text("ds,y", *(f"{day},{k % 7 + 1 if k % 2 else ''}" for k, day in enumerate(DAYS))),
    "missing at both ends": text("ds,y", *(f"{day},{k % 7 + 1 if 5 < k < 25 else ''}" for k, day in enumerate(DAYS))),
    "one value in a constant": text("ds,y", *(f"{day},{int(k == 9)}" for k, day in enumerate(DAYS))),
    "a long series beside a short one": text(
        "unique_id,ds,y",
        *(f"a,{line}" for line in GOOD),
        "b,2024-01-20,1",
        *(f"b,2024-01-{d},{d}" for d in range(21, 29)),
    ),
    "names of markup": text("unique_id,ds,y", *(f"<b>&\"'é早,{line}" for line in GOOD)),
    "the end of the calendar": stamps(*(f"9999-12-{d:02}" for d in range(1, 32))),
    "dates before 1970": stamps(*(f"1899-12-{d:02}" for d in range(1, 32))),
}
