"""Labelled sequences, tagged sentences and texts that are odd or broken."""

import io
import pickle

import numpy as np
from tests.odd_inputs.case import Odd, text


def npz(**arrays: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=pickled)
    return sink.getvalue()


ROWS = [f"{case},{t},{np.sin(case + t):.2f},{'ab'[case % 2]}" for case in range(6) for t in range(4)]


def long(*rows: str) -> bytes:
    return text("id,t,x,label", *rows)


X = np.random.default_rng(0).random((10, 5, 2))
Y = np.arange(10) % 2
HALF = len(npz(X=X, y=Y)) // 2
OBJECTS = np.array([[1], [2, 3]], dtype=object)
_cut = npz(X=X, y=Y)
_changed = _cut[:300] + bytes([_cut[300] ^ 255]) + _cut[301:]


def _is(count: int, *lengths: int):
    return lambda made: len(made) == count and made.lengths[: len(lengths)].tolist() == list(lengths)


TABLES = {
    "rows of sequences mixed": Odd(long(*ROWS[::2], *ROWS[1::2]), holds=_is(6, 4, 4), noted="steps sorted by t"),
    "steps from the last to the first": Odd(
        long(*ROWS[::-1]), holds=lambda made: made.numbers[0, 0] == round(np.sin(5), 2), noted="steps sorted by t"
    ),
    "an empty label": Odd(long(*ROWS[:4], ROWS[4][:-1], *ROWS[5:]), "t.csv, line 6: expected a value in 'label'"),
    "a label that changes": Odd(
        long(*ROWS[:5], ROWS[5][:-1] + "a", *ROWS[6:]),
        "t.csv: expected one label a sequence, got labels that change within sequence '1'; correct them, or learn",
    ),
    "a sequence without a name": Odd(long(*ROWS[:4], ROWS[4][1:], *ROWS[5:]), "line 6: expected a value in 'id'"),
    "a word among numbers": Odd(long(*ROWS, "5,9,oops,b"), "t.csv, line 26: expected a number in 'x', got 'oops'"),
    "infinity": Odd(long(*ROWS, "5,9,inf,b"), "t.csv, line 26: expected a finite number in 'x', got inf"),
    "a missing value": Odd(long(*ROWS, "5,9,,b"), holds=lambda made: int(np.isnan(made.numbers).sum()) == 1),
    "nothing that tells sequences apart": Odd(text("x,label", "1,a", "2,b"), "name it with --id, or give --wide"),
    "no labels": Odd(text("id,t,x", *(row[:-2] for row in ROWS)), "expected a column of labels, found none; name it"),
    "nothing to read": Odd(text("id,label", "1,a", "2,b"), "expected a column to read beside 'id', 'label', got none"),
    "a feature that is not there": Odd(long(*ROWS), "--features q: expected a column of", options={"features": "q"}),
    "a feature of words": Odd(
        text("id,t,c,label", "1,1,red,a", "1,2,blue,a", "2,1,red,b"), holds=lambda made: list(made.texts) == ["c"]
    ),
    "a row a sequence": Odd(text("a,b,label", "1,2,x", "3,4,y"), holds=_is(2, 2, 2), options={"wide": True}),
    "steps that do not divide": Odd(
        text("a,b,c,label", "1,2,3,x", "4,5,6,y"), "expected a number that divides", options={"wide": True, "steps": 2}
    ),
}

ARRAYS = {
    "padded": Odd(npz(X=X, y=Y, lengths=np.arange(10) % 6), holds=_is(10, 0, 1, 2), name="t.npz"),
    "missing values": Odd(npz(X=np.where(X > 0.5, np.nan, X), y=Y), holds=_is(10, 5), name="t.npz"),
    "cut": Odd(_cut[:HALF], "t.npz: expected arrays, got a damaged file", name="t.npz"),
    "changed": Odd(_changed, "t.npz: expected arrays, got a damaged file (Bad CRC-32", name="t.npz"),
    "empty": Odd(b"", "t.npz: expected arrays of numbers or text", name="t.npz"),
    "words": Odd(b"hello", "t.npz: expected arrays of numbers or text", name="t.npz"),
    "a pickle": Odd(pickle.dumps([1]), "what cannot be read without pickle", name="t.npy"),
    "objects": Odd(npy(OBJECTS, pickled=True), "what cannot be read without pickle", name="t.npy"),
    "an array cut short": Odd(npy(X)[:200], "Failed to read all data for array", name="t.npy"),
    "a header that lies": Odd(npy(X).replace(b"(10, 5, 2)", b"(10, 5,99)"), "Failed to read all data", name="t.npy"),
    "another name": Odd(npz(a=X, y=Y), "t.npz: expected an array X in it, got a, y; rename it to X", name="t.npz"),
    "too few labels": Odd(npz(X=X, y=Y[:5]), "t.npz, y: expected 10 labels, one a sequence", name="t.npz"),
    "a label that is missing": Odd(npz(X=X, y=np.where(Y > 0, np.nan, 1.0)), "expected a label for", name="t.npz"),
    "one dimension": Odd(npz(X=Y, y=Y), "t.npz, X: expected shape (n, T, F)", name="t.npz"),
    "four dimensions": Odd(npz(X=X[None], y=Y[:1]), "t.npz, X: expected shape (n, T, F)", name="t.npz"),
    "infinite": Odd(npz(X=np.full_like(X, np.inf), y=Y), "contains infinity", name="t.npz"),
    "beyond reason": Odd(npz(X=X * 1e300, y=Y), "expected numbers up to 1e+100 in 'x0'", name="t.npz"),
    "complex": Odd(npz(X=X * 1j, y=Y), "Complex data not supported", name="t.npz"),
    "text for numbers": Odd(npz(X=X.astype(str), y=Y), "t.npz, X: expected numbers, got <U", name="t.npz"),
    "no sequence": Odd(npz(X=X[:0], y=Y[:0]), "expected at least 1 sequence, got 0", name="t.npz"),
    "no step": Odd(npz(X=X[:, :0], y=Y), "0 feature(s)", name="t.npz"),
    "lengths too long": Odd(npz(X=X, y=Y, lengths=np.full(10, 9)), "whole numbers from 0 to 5, got", name="t.npz"),
    "lengths of halves": Odd(npz(X=X, y=Y, lengths=np.full(10, 2.5)), "whole numbers from 0 to 5, got", name="t.npz"),
    "lengths of words": Odd(npz(X=X, y=Y, lengths=np.full(10, "a")), "whole numbers from 0 to 5, got", name="t.npz"),
}

_SENTENCES = ("a DT", "cat NN", "", "the DT", "dog NN", "ran VB", "")
TAGGED = {
    "CRLF and BOM": Odd(text(*_SENTENCES, encoding="utf-8-sig", end="\r\n"), holds=_is(2, 2, 3), name="t.conll"),
    "tabs": Odd(text(*(line.replace(" ", "\t") for line in _SENTENCES)), holds=_is(2, 2, 3), name="t.conll"),
    "no empty line at the end": Odd("\n".join(_SENTENCES[:-1]).encode(), holds=_is(2, 2, 3), name="t.conll"),
    "document marks": Odd(
        text("-DOCSTART- -X- O O", "", "EU NNP I-NP I-ORG", "rejects VBZ I-VP O"), holds=_is(1, 2), name="t.conll"
    ),
    "a word without a tag": Odd(text("a DT", "cat", "", "the DT"), "line 2: expected 2 columns", name="t.conll"),
    "an empty tag": Odd(
        text("a\tDT", "cat\t", "", "the\tDT"), "t.conll, line 2: expected a tag in column 2", name="t.conll"
    ),
    "an empty word": Odd(text("a\tDT", "\tNN"), "t.conll, line 2: expected a word in column 1", name="t.conll"),
    "a tab at the end": Odd(
        text("a\tDT\t", "cat\tNN\t"), "t.conll, line 1: expected a tag in column 3, got an empty cell", name="t.conll"
    ),
    "no tags": Odd(text("a", "cat", "", "the"), "expected a column of labels, found none", name="t.conll"),
    "nothing": Odd(b"", "t.conll: expected a text, got an empty file", name="t.conll"),
    "only empty lines": Odd(b"\n\n\n", "t.conll: expected a text, got an empty file", name="t.conll"),
    "binary": Odd(b"a DT\n\x00\x01 NN\n", "got binary data (a zero byte on line 2)", name="t.conll"),
    "another encoding": Odd(
        text("Größe NN", "über IN", encoding="cp1252"), holds=_is(1, 2), noted="read as Windows-1252", name="t.conll"
    ),
}

TEXTS = {
    "nothing": Odd(b"", "t.txt: expected a text, got an empty file", name="t.txt"),
    "only spaces": Odd(b" \n\n ", "t.txt: expected a text, got an empty file", name="t.txt"),
    "binary": Odd(b"abc\x00def", "got binary data (a zero byte on line 1)", name="t.txt"),
    "a picture": Odd(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "got a PNG picture", name="t.txt"),
    "half a UTF-16": Odd(b"\xff\xfea", "expected UTF-16 text, as its first bytes say, got a damaged", name="t.txt"),
    "UTF-16": Odd("Größe\n".encode("utf-16"), holds=lambda made: made.text == "Größe\n", name="t.txt"),
    "Windows-1252": Odd(
        "Größe".encode("cp1252"), holds=lambda made: made.text == "Größe", noted="read as Windows-1252", name="t.txt"
    ),
    "line ends of old Macs": Odd(b"a\rb\rc", holds=lambda made: made.text == "a\nb\nc", name="t.txt"),
    "line ends of Windows": Odd(b"a\r\nb", holds=lambda made: made.text == "a\nb", name="t.txt"),
}
