"""The shape of a problem to time: sizes, dtype, ragged or not; its work in floating-point operations and bytes."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from cellgate.errors import InputError

__all__ = ["DTYPES", "Shape", "parse_shape"]

DTYPES = {"float32": 4, "float64": 8, "bfloat16": 2}
"""Names of the dtypes that can be timed, and their bytes."""


@dataclass(frozen=True)
class Shape:
    """Sizes of an LSTM and of the batch it reads.

    Attributes:
        T: Steps.
        B: Batch.
        I: Input size.
        H: Hidden size.
        L: Layers.
        D: Directions, 1 or 2.
        P: Projection size, 0 for none.
        dtype: "float32", "float64" or "bfloat16".
        ragged: Lengths are spread evenly over [T/4, T] instead of all being T.
        reset: Episodes begin inside the sequences (about four in each).
        bias: Whether the cells have biases.
    """

    T: int
    B: int
    I: int  # noqa: E741 - the letter that all of cellgate uses
    H: int
    L: int = 1
    D: int = 1
    P: int = 0
    dtype: str = "float32"
    ragged: bool = False
    reset: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: A size is out of range or the dtype is unknown.
        """
        for letter, least in (("T", 1), ("B", 1), ("I", 0), ("H", 1), ("L", 1), ("D", 1), ("P", 0)):
            value = getattr(self, letter)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{letter}: expected an integer of at least {least}, got {value!r}")
        if self.D > 2:
            raise InputError(f"D: expected 1 or 2 directions, got {self.D}")
        if self.P >= self.H:
            raise InputError(f"P: expected less than H = {self.H}, got {self.P}")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")

    def __str__(self) -> str:
        """Return the label, such as ``T35 B20 I650 H650 L2``."""
        parts = [f"T{self.T} B{self.B} I{self.I} H{self.H}"]
        parts += [f"{letter}{value}" for letter, value, usual in self._rest() if value != usual]
        parts += [self.dtype] if self.dtype != "float32" else []
        parts += ["ragged"] if self.ragged else []
        parts += ["resets"] if self.reset else []
        parts += ["no bias"] if not self.bias else []
        return " ".join(parts)

    def _rest(self) -> list[tuple[str, int, int]]:
        return [("L", self.L, 1), ("D", self.D, 1), ("P", self.P, 0)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; ``Shape(**data)`` is the way back."""
        return asdict(self)

    @property
    def lengths(self) -> list[int]:
        """Length of each of the B sequences, in no order: all T, or spread evenly over [T/4, T]."""
        if not self.ragged:
            return [self.T] * self.B
        least = max(1, self.T // 4)
        even = [least + round((self.T - least) * k / max(1, self.B - 1)) for k in range(self.B)]
        stride = next(s for s in (7, 5, 3, 2, 1) if math.gcd(s, self.B) == 1)
        return [even[k * stride % self.B] for k in range(self.B)]

    def layers(self) -> list[tuple[int, int, int]]:
        """Return (input size, H, size of h) of every layer."""
        size_h = self.P or self.H
        return [(self.I if layer == 0 else size_h * self.D, self.H, size_h) for layer in range(self.L)]

    def flops(self, training: bool = False) -> float:
        """Floating-point operations of the products: 2 * steps * 4H * (inputs + h) a layer; to train, thrice."""
        steps = sum(self.lengths)
        total = sum(8 * h * (inputs + p) + 2 * self.P * h for inputs, h, p in self.layers()) * self.D * steps
        return total * (3.0 if training else 1.0)

    def activations(self) -> float:
        """Sigmoids and tanhs: five for every unit, step and sequence."""
        return 5.0 * sum(self.lengths) * self.H * self.L * self.D


_LETTERS = "TBIHLDP"
_PAIR = re.compile(r"([TBIHLDP])\s*=?\s*(\d+)", re.IGNORECASE)


def parse_shape(text: str) -> Shape:
    """Read a shape as people write one.

    Args:
        text: ``"100,32,64,128"`` (T, B, I, H, then L, D, P), ``"T100 B32 I64 H128 L2"``, ``"T=100,B=32,I=64,H=128"``;
            the words ``float64``, ``bfloat16``, ``ragged``, ``resets`` may follow.

    Raises:
        InputError: It cannot be read.

    >>> str(parse_shape("100,32,64,128,2 float64"))
    'T100 B32 I64 H128 L2 float64'
    """
    example = "give T,B,I,H[,L[,D[,P]]] such as 100,32,64,128, or T100 B32 I64 H128 L2 float64 ragged"
    sizes: dict[str, Any] = {}
    numbers = []
    for word in re.split(r"[\s,;]+", text.strip()):
        pair = _PAIR.fullmatch(word)
        if word.isdigit():
            numbers.append(int(word))
        elif pair:
            sizes[pair.group(1).upper()] = int(pair.group(2))
        elif word.lower() in DTYPES:
            sizes["dtype"] = word.lower()
        elif word.lower() in ("ragged", "resets", "reset"):
            sizes["ragged" if word.lower() == "ragged" else "reset"] = True
        else:
            raise InputError(f"config: expected sizes, got {word!r} in {text!r}: {example}")
    if len(numbers) > len(_LETTERS) or (numbers and any(letter in sizes for letter in _LETTERS)):
        raise InputError(
            f"config: expected at most {len(_LETTERS)} numbers or letters with numbers, got {text!r}: {example}"
        )
    sizes.update(zip(_LETTERS, numbers, strict=False))
    missing = [letter for letter in "TBIH" if letter not in sizes]
    if missing:
        raise InputError(f"config: expected T, B, I and H, got no {', '.join(missing)} in {text!r}: {example}")
    return Shape(**sizes)
