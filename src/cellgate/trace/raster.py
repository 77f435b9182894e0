"""A matrix of numbers as a grey PNG, small enough to stand inside an SVG, and the colours that a picture gives it."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

__all__ = ["COLOURS", "colour_filters", "png_uri"]

# Colour maps as (stops for light paper, stops for dark paper), evenly spaced from the lowest value to the highest. Each
# begins (or for signed values has its middle) at the colour of the paper, so that nothing happening looks like nothing.
COLOURS = {
    "unsigned": (
        ("#fdfdfb", "#e4f1d5", "#b5dfc0", "#79c7b5", "#3fa8ad", "#2186a0", "#1f6391", "#253f7c", "#20235c"),
        ("#0f141c", "#152848", "#194070", "#1b5d8c", "#22809a", "#3aa39f", "#6dc3a0", "#b3ddaa", "#f4f6cf"),
    ),
    "signed": (
        ("#16437e", "#2f72b3", "#74aad3", "#bdd8e9", "#fdfdfb", "#f9d0b2", "#ee9672", "#cf4f41", "#8c1530"),
        ("#9fe0ff", "#4fb0ea", "#2577b5", "#1a4169", "#0f141c", "#5b2a26", "#a8472f", "#ea7f3c", "#ffd48a"),
    ),
}


def png_uri(values: np.ndarray, low: float, high: float) -> str:
    """Return a (rows, columns) array as a data URI of an 8-bit grey PNG, ``low`` black and ``high`` white."""
    scaled = np.clip((values - low) / (high - low), 0, 1)
    grey = np.rint(scaled * 255).astype(np.uint8)
    rows, columns = grey.shape
    # Each line is preceded by its filter type; 0 is none.
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), grey], axis=1).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def colour_filters() -> str:
    """Return SVG filters that turn grey into the colours: ids ``cellgate-unsigned-light`` and so on."""
    filters = []
    for kind, themes in COLOURS.items():
        for theme, stops in zip(("light", "dark"), themes, strict=True):
            channels = zip(*([int(stop[k : k + 2], 16) / 255 for k in (1, 3, 5)] for stop in stops), strict=True)
            functions = "".join(
                f'<feFunc{channel} type="table" tableValues="{" ".join(f"{v:.3f}" for v in values)}"/>'
                for channel, values in zip("RGB", channels, strict=True)
            )
            filters.append(
                f'<filter id="cellgate-{kind}-{theme}" x="0" y="0" width="1" height="1" '
                f'color-interpolation-filters="sRGB"><feComponentTransfer>{functions}</feComponentTransfer></filter>'
            )
    return "".join(filters)
