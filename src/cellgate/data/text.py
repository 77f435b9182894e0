"""Texts as numbers: characters or words, each with its place in a vocabulary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cellgate.data.delimited import decode
from cellgate.data.errors import DataError
from cellgate.data.files import bytes_of

Units = Literal["characters", "words"]
UNKNOWN = "\ufffd"  # Unicode's own sign for a character that cannot be shown; token 0
# A word keeps the space before it, so that the text can be put together again.
_WORDS = re.compile(r" ?\w+| ?[^\w\s]+|\s+")
_OPEN_END = re.compile(r"\S \Z")  # a space that belongs to the word to come
_NAME = re.compile(r"\S+\.(txt|text|md|log|csv|json|html|xml|py|c|h|cpp)")  # a file, even where there is none
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class Text:
    """A text and what it is called in messages."""

    source: str
    text: str
    notes: tuple[str, ...] = ()


def read_text(data: str | Path | Text) -> Text:
    """Read a file, or take a text as it is.

    Args:
        data: a path, or a text; a string of one line that names a file is a path.

    Raises:
        DataError: for a file that is not there, is empty or holds no text.
    """
    if isinstance(data, Text):
        return data
    if isinstance(data, str):
        if not data or "\n" in data or len(data) > 255 or not (Path(data).exists() or _NAME.fullmatch(data)):
            if not data:
                raise DataError("the text: expected characters, got an empty text")
            return Text("the text", one_line_end(data))
        data = Path(data)
    if not isinstance(data, Path):
        raise DataError(
            f"the text: expected a str, or the path of a text file, got {type(data).__name__}; "
            "join several texts to one, decode bytes"
        )
    if not data.exists():
        raise DataError(f"{data}: expected a text file, found none; check the path")
    if data.is_dir():
        raise DataError(f"{data}: expected a text file, got a folder; name the file in it")
    text, notes = decode(bytes_of(data), data.name, "a text")
    if not text.strip():
        raise DataError(f"{data.name}: expected a text, got an empty file")
    control = _BINARY.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise DataError(f"{data.name}, line {line}: expected text, got binary data; give a plain text file")
    return Text(data.name, one_line_end(text), tuple(notes))


def one_line_end(text: str) -> str:
    """A text with its lines ended as Unix ends them, whatever ended them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a language model; token 0 stands for all that training did not have.

    Attributes:
        units: what a token is.
        tokens: all of them, the unknown first.
    """

    units: Units
    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {token: k for k, token in enumerate(self.tokens)})

    @classmethod
    def fit(cls, text: str, units: Units, most: int) -> Vocabulary:
        """The tokens of a text, the more frequent ones first, `most` at most; words that occur once are unknown."""
        counts = Counter(split(text, units))
        kept = [token for token, count in counts.most_common() if units == "characters" or count > 1]
        kept = [token for token in kept if token != UNKNOWN][: most - 1]
        return cls(units, (UNKNOWN, *kept))

    def __len__(self) -> int:
        """How many tokens, the unknown among them."""
        return len(self.tokens)

    def encode(self, text: str) -> np.ndarray:
        """(N,) int64."""
        index: dict[str, int] = self._index  # pyright: ignore[reportAttributeAccessIssue]
        pieces = split(text, self.units)
        return np.fromiter((index.get(piece, 0) for piece in pieces), dtype=np.int64)

    def begun(self, text: str) -> str:
        """A text to go on from, as it is best read: words know the space before them, the first one of a text has none.

        A space at the end is that of the word to come, and a first word that is only known after others is read as
        one of those.
        """
        if self.units == "characters":
            return text
        text = text[:-1] if _OPEN_END.search(text) else text
        known: dict[str, int] = self._index  # pyright: ignore[reportAttributeAccessIssue]
        first = next(iter(split(text, self.units)), "")
        return f" {text}" if not known.get(first) and known.get(f" {first}") else text

    def unknown(self, text: str) -> tuple[str, ...]:
        """What a text has and training did not, each once, in the order of the text."""
        known: dict[str, int] = self._index  # pyright: ignore[reportAttributeAccessIssue]
        return tuple(dict.fromkeys(piece for piece in split(text, self.units) if not known.get(piece)))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of some tokens."""
        return "".join(self.tokens[token] for token in tokens)


def split(text: str, units: Units) -> Iterable[str]:
    """A text as characters, or as words with the space before them, punctuation, and other white space."""
    return text if units == "characters" else _WORDS.findall(text)
