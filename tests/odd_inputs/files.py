"""Files that are no tables, damaged tables, and tables in unusual dress: bytes, lines, cells."""

import gzip
import io

import numpy as np
from tests.odd_inputs.case import DAYS, GOOD, Odd, is_series, table, text

THREE = ("ds,y", "2024-01-01,1", "2024-01-02,2", "2024-01-03,3")
_123 = is_series(1, 2, 3)


def _arrow_bytes(kind: str) -> bytes:
    """A Parquet or Feather file of the three rows; needs pyarrow."""
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    frame = pyarrow.table({"ds": DAYS[:3], "y": [1, 2, 3]})
    sink = io.BytesIO()
    pyarrow.parquet.write_table(frame, sink) if kind == "parquet" else pyarrow.feather.write_feather(frame, sink)
    return sink.getvalue()


def arrow_files() -> dict[str, Odd]:
    """Parquet and Feather, whole and damaged."""
    parquet, feather = _arrow_bytes("parquet"), _arrow_bytes("feather")
    middle = len(parquet) // 2
    cannot = "got one that cannot be read"
    cut = f"file, {cannot}"
    return {
        "parquet": Odd(parquet, holds=_123, name="t.parquet"),
        "feather": Odd(feather, holds=_123, name="t.feather"),
        "parquet cut in the middle": Odd(parquet[:middle], f"t.parquet: expected a parquet {cut}", name="t.parquet"),
        "parquet without its first byte": Odd(parquet[1:], cannot, name="t.parquet"),
        "parquet with its footer overwritten": Odd(
            parquet[:-12] + b"\xff" * 8 + parquet[-4:], cannot, name="t.parquet"
        ),
        "feather cut short": Odd(feather[: len(feather) // 2], f"expected a feather file, {cannot}", name="t.feather"),
        "an empty parquet file": Odd(b"", cannot, name="t.parquet"),
        "parquet called .feather": Odd(parquet, f"{cannot}", name="t.feather"),
        "parquet called .csv": Odd(parquet, "got a Parquet file; name it .parquet"),
        "feather called .csv": Odd(feather, "got an Arrow file; name it .arrow"),
        "a csv called .parquet": Odd(text(*THREE), cannot, name="t.parquet"),
    }


NO_TABLES = {
    "an empty file": Odd(b"", "t.csv: expected rows, got an empty file"),
    "only line ends": Odd(b"\n\r\n\n", "t.csv: expected rows, got an empty file"),
    "only a byte order mark": Odd(b"\xef\xbb\xbf", "t.csv: expected rows, got an empty file"),
    "only a header": Odd(b"ds,y", "t.csv: expected rows below the header, got none"),
    "one number": Odd(b"5\n", "expected at least 3 rows in a series"),
    "words": Odd(b"hello\nworld\nagain\n", "expected a column of numbers to predict, found none among hello"),
    "noise": Odd(np.random.default_rng(0).integers(1, 255, 5000, dtype=np.uint8).tobytes(), "got binary data"),
    "a zero byte": Odd(table("2024-01-29,\x00"), "got binary data (a zero byte on line 30)"),
    "two columns of names": Odd(
        text("ds,item,shop,y", *(f"{day},{i},{s},1" for s in "ab" for i in ("tea", "rye") for day in DAYS)),
        "again (first at line 2); remove one, or, if 'item' and 'shop' together tell series apart, join the two",
    ),
    "a PNG": Odd(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "got a PNG picture; give the table itself"),
    "a spreadsheet called .csv": Odd(b"PK\x03\x04" + bytes(40), "got a spreadsheet or a zip archive; save the sheet"),
    "a spreadsheet": Odd(b"PK\x03\x04", "got a spreadsheet; save it as CSV", name="t.xlsx"),
    "a web page": Odd(b"<!DOCTYPE html><table><tr><td>1</td></tr></table>", "got a web page or XML; save the table"),
    "JSON": Odd(b'[{"ds": "2024-01-01", "y": 1}]', "got JSON; save the table in it as CSV"),
    "JSON lines": Odd(b'{"ds": 1, "y": 1}\n{"ds": 2, "y": 1}\n', "got JSON"),
    "a damaged gzip": Odd(gzip.compress(text(*THREE))[:30], "got a damaged one"),
    "a cell without end": Odd(b'ds,y\n2024-01-01,"1\n2024-01-02,2\n', "line 2: expected cells parted by ',', got"),
    "a cell of a megabyte": Odd(b'ds,y\n"' + b"a" * 1_000_000 + b'",1\n', "t.csv, line 2: expected cells parted by"),
    "a quote in a cell": Odd(table('2024-01-29,5"'), """line 30: expected a number in 'y', got '5"'"""),
    "too few cells": Odd(text("ds,y,z", "2024-01-01,1,2", "2024-01-02,2"), "line 3: expected 3 cells as"),
    "too many cells": Odd(table("2024-01-29,1,5"), "line 30: expected 2 cells as in the first line, got 3"),
    "one name twice": Odd(text("ds,y,y", "2024-01-01,1,2"), "expected different column names, got 'y' twice"),
    "a cut UTF-16": Odd("ds,y\n2024".encode("utf-16") + b"1", "expected UTF-16 text, as its first bytes say"),
    "two thousand columns": Odd(
        text(",".join(["ds", *(f"c{k}" for k in range(2000))]), *(f"{day},{','.join('1' * 2000)}" for day in DAYS[:4])),
        "found 2000: c0, c1, c2, c3, c4, c5, ... (2000 in all); choose one, such as --target c0, or predict all",
    ),
}

DRESS = {
    "BOM and CRLF": Odd(text(*THREE, encoding="utf-8-sig", end="\r\n"), holds=_123),
    "the line ends of old Macs": Odd(text(*THREE, end="\r"), holds=_123),
    "the line that tells a spreadsheet the separator": Odd(
        text("sep=;", "ds;y", "2024-01-01;1", "2024-01-02;2", "2024-01-03;3", end="\r\n"), holds=_123
    ),
    "no line end at the end": Odd("\n".join(THREE).encode(), holds=_123),
    "UTF-16": Odd(text(*THREE, encoding="utf-16"), holds=_123),
    "UTF-16 without a mark": Odd(text(*THREE, encoding="utf-16-le"), holds=_123),
    "UTF-32": Odd(text(*THREE, encoding="utf-32"), holds=_123),
    "Latin letters in Windows-1252": Odd(
        text("Tag;Größe", "2024-01-01;1", "2024-01-02;2", "2024-01-03;3", encoding="cp1252"),
        holds=lambda panel: panel.roles.target == "Größe" and _123(panel),
        noted="not UTF-8 (line 1): read as Windows-1252",
    ),
    "gzip": Odd(gzip.compress(text(*THREE)), holds=_123, name="t.csv.gz"),
    "tabs": Odd(text(*(line.replace(",", "\t") for line in THREE)), holds=_123, name="t.tsv"),
    "spaces": Odd(text(*(line.replace(",", "   ") for line in THREE)), holds=_123, noted="cells are parted by spaces"),
    "comments above": Odd(text("# station 7", "# in mm", *THREE), holds=_123, noted="2 lines of comments at the top"),
    "a title above": Odd(text("Report of May", "", *THREE), holds=_123, noted="line 1 is no row of the table"),
    "a delimiter at the end": Odd(text(*(f"{line}," for line in THREE)), holds=_123),
    "empty lines between": Odd(text(THREE[0], "", THREE[1], "", "", *THREE[2:]), holds=_123),
    "quotes around all": Odd(text(*('"' + line.replace(",", '","') + '"' for line in THREE)), holds=_123),
    "a cell over two lines": Odd(
        text("ds,y,remark", '2024-01-01,1,"a\nb"', "2024-01-02,2,x", "2024-01-03,3,x"),
        holds=_123,
        noted="not used: remark",
    ),
    "a mistake below a cell over two lines": Odd(
        text("ds,y,remark", '2024-01-01,1,"a\nb"', *(f"2024-01-{d:02},2,x" for d in range(2, 28)), "2024-01-28,bad,x"),
        "t.csv, line 30: expected a number in 'y', got 'bad'",
    ),
    "no header": Odd(text(*THREE[1:]), holds=_123, noted="no header: columns named column1, column2"),
    "names of markup": Odd(
        text("unique_id,ds,y", *(f"<script>alert(1)</script>,{line}" for line in GOOD)),
        holds=lambda panel: panel.ids == ("<script>alert(1)</script>",),
    ),
    "a name over two lines": Odd(
        text("unique_id,ds,y", *(f'"a\nb",{line}' for line in GOOD)), holds=lambda panel: panel.ids == ("a\nb",)
    ),
    "names with spaces around": Odd(
        text("unique_id,ds,y", *(f" a ,{line}" for line in GOOD)), holds=lambda panel: panel.ids == ("a",)
    ),
}


def _numbers(*cells: str, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    quoted = [f'"{cell}"' if delimiter in cell else cell for cell in cells]
    return text(
        f"ds{delimiter}y",
        *(f"{day}{delimiter}{cell}" for day, cell in zip(DAYS, quoted, strict=False)),
        encoding=encoding,
    )


NUMBERS = {
    "thousands with commas": Odd(
        _numbers("1,234", "12,345.5", "7"),
        holds=is_series(1234, 12345.5, 7),
        noted="',' read as thousands",
    ),
    "thousands with dots": Odd(
        _numbers("1.234,5", "2,25", "3", delimiter=";"),
        holds=is_series(1234.5, 2.25, 3),
        noted="read as decimal comma",
    ),
    "decimal commas of three digits": Odd(
        _numbers("1,234", "2,345", "3,456", delimiter=";"), holds=is_series(1.234, 2.345, 3.456), noted="decimal comma"
    ),
    "thousands with spaces": Odd(_numbers("1 234", "2 000 000", "3"), holds=is_series(1234, 2e6, 3)),
    "thousands with hard spaces": Odd(
        _numbers("1\xa0234,5", "2\xa0000", "3", delimiter=";", encoding="cp1252"), holds=is_series(1234.5, 2000, 3)
    ),
    "thousands as in Switzerland": Odd(_numbers("1’234.5", "2'000", "3"), holds=is_series(1234.5, 2000, 3)),
    "thousands as in India": Odd(_numbers("12,34,567", "1,00,000", "99,999"), holds=is_series(1234567, 100000, 99999)),
    "currency and percent": Odd(_numbers("$1", "€ 2", "3%"), holds=is_series(1, 2, 3)),
    "a bookkeeper's minus": Odd(_numbers("(1)", "($2.50)", "3"), holds=is_series(-1, -2.5, 3)),
    "a typesetter's minus": Odd(_numbers("−1", "−2", "3"), holds=is_series(-1, -2, 3)),
    "exponents": Odd(_numbers("1e3", "-2E-2", "+3"), holds=is_series(1000, -0.02, 3)),
    "signs of missing values": Odd(
        _numbers("NaN", "#N/A", "3", "-", "?", "null", "7"), holds=is_series(None, None, 3, None, None, None, 7)
    ),
    "a minus behind": Odd(table("2024-01-29,9-"), "line 30: expected a number in 'y', got '9-'"),
    "infinity": Odd(table("2024-01-29,inf"), "line 30: expected a finite number in 'y', got inf; correct or empty it"),
    "a number too large for a double": Odd(table("2024-01-29,1e400"), "line 30: expected a finite number in 'y'"),
    "a formula": Odd(table("2024-01-29,=SUM(B2:B29)"), "line 30: expected a number in 'y', got '=SUM(B2:B29)'"),
    "a spreadsheet's error": Odd(table("2024-01-29,#DIV/0!"), "line 30: expected a number in 'y', got '#DIV/0!'"),
    "units below the header": Odd(text("ds,y", "date,mm", *GOOD), "line 2: expected a number in 'y', got 'mm'"),
    "the header again": Odd(text("ds,y", *GOOD[:5], "ds,y", *GOOD[5:]), "line 7: expected a number in 'y', got 'y'"),
    "a word for every third number": Odd(
        _numbers(*(["1", "2", "closed"] * 5)), "found none among ds, y; the nearest is 'y', with 'closed' at line 4"
    ),
    "true and false": Odd(_numbers("true", "false", "true"), "expected a column of numbers to predict, found none"),
    "underscores, as in Python": Odd(_numbers("1_000", "2_000", "3_000"), "found none among ds, y"),
    "only missing values": Odd(_numbers("", "", ""), "every cell of the others is empty"),
    "a total below": Odd(table("Total,112"), "line 30: expected a time stamp in 'ds', got 'Total'; correct it"),
}
