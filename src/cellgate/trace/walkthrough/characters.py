"""Text into what a reader calls characters, and a character into something safe to print."""

from __future__ import annotations

import unicodedata

__all__ = ["split_characters", "visible"]

_JOINER = "\u200d"
_NAMED = {" ": "␣", "\n": "↵", "\r": "↵", "\r\n": "↵", "\t": "⇥"}


def split_characters(text: str) -> list[str]:
    """Split text where a reader would: accents, joined emoji, flags and line ends stay whole.

    The text is composed first (Unicode NFC), so that é is one character however it was typed. The rules are those of
    Unicode's extended grapheme clusters (UAX 29) for what people type; conjuncts of Indic scripts are left in parts.

    >>> split_characters("早上好"), split_characters("e\u0301a")
    (['早', '上', '好'], ['é', 'a'])
    """
    characters: list[str] = []
    for symbol in unicodedata.normalize("NFC", text):
        if characters and _continues(characters[-1], symbol):
            characters[-1] += symbol
        else:
            characters.append(symbol)
    return characters


def visible(character: str) -> str:
    r"""Return a character as it may stand in a table: spaces get a sign, what has no shape of its own its number.

    >>> visible("早"), visible(" "), visible("\x1b")
    ('早', '␣', 'U+001B')
    """
    if character in _NAMED:
        return _NAMED[character]
    first = unicodedata.category(character[0])
    if first.startswith("M"):
        return "◌" + character
    if first[0] in "CZ":
        return "+".join(f"U+{ord(symbol):04X}" for symbol in character)
    return character


def _continues(before: str, symbol: str) -> bool:
    """Whether a symbol belongs to the character before it."""
    if before == "\r" and symbol == "\n":
        return True
    if unicodedata.category(before[0]) in ("Cc", "Zl", "Zp"):
        return False
    if _is_flag_letter(symbol):
        return len(before) == 1 and _is_flag_letter(before)
    code = ord(symbol)
    return (
        unicodedata.category(symbol).startswith("M")
        or symbol == _JOINER
        or before.endswith(_JOINER)
        or 0x1F3FB <= code <= 0x1F3FF  # skin tones
        or 0xE0020 <= code <= 0xE007F  # tags, as in the flag of Wales
        or 0x1160 <= code <= 0x11FF  # vowels and finals of a Korean syllable that has no composed form
    )


def _is_flag_letter(symbol: str) -> bool:
    return 0x1F1E6 <= ord(symbol[0]) <= 0x1F1FF
