"""The picture: its pixels are the gates, its words are escaped, its file is whole."""

import base64
import itertools
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
import torch
from torch import nn

import cellgate
from cellgate.trace.order import unit_order
from cellgate.trace.picture import HeatMaps, draw

SVG = "{http://www.w3.org/2000/svg}"


def pixels(uri: str) -> np.ndarray:
    """Return the values of an 8-bit grey PNG without filtering, in [0, 1]."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + size
    columns, rows, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:] / 255


def images(svg: str) -> list[np.ndarray]:
    """Return the pixels of all heat maps, without the two colour scales."""
    root = ElementTree.fromstring(svg)
    return [pixels(image.get("href")) for image in root.iter(f"{SVG}image")][:-2]


def texts(svg: str) -> list[str]:
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def traced(steps=12, sequences=2, **options):
    lstm = nn.LSTM(3, 7, **options)
    with cellgate.trace(lstm) as tape:
        lstm(3 * torch.randn(steps, sequences, 3))
    return tape


def test_pixels_are_the_gates():
    tape = traced()
    layer = tape["lstm"].layer(0)
    maps = images(tape.figure(sequence=1, order="index"))
    assert len(maps) == 6
    for name, drawn in zip("ifgoch", maps, strict=True):
        values = getattr(layer, name)[:, 1].T.numpy()
        reach = np.abs(values).max() if name == "c" else 1
        expected = values if name in "ifo" else (values / reach + 1) / 2
        assert np.abs(drawn - expected).max() <= 0.5001 / 255


@pytest.mark.parametrize("order", ["similarity", "memory"])
def test_all_maps_have_the_same_order_of_units(order):
    tape = traced()
    by_index, ordered = images(tape.figure(order="index")), images(tape.figure(order=order))
    permutation = list(unit_order(maps_of(tape), order))
    assert sorted(permutation) == list(range(7))
    for a, b in zip(by_index, ordered, strict=True):
        assert np.array_equal(a[permutation], b)


def maps_of(tape):
    layer = tape["lstm"].layer(0)
    return {name: getattr(layer, name)[:, 0].numpy() for name in "ifgoch"}


def test_orders():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 6, 50)
    families = [np.sin(t), np.cos(3 * t), t]
    rows = [families[k % 3] * (1 + k) + 0.01 * rng.normal(size=50) for k in range(12)]
    found = unit_order({"c": np.stack(rows, 1)}, "similarity")
    kinds = [k % 3 for k in found]
    assert sum(a != b for a, b in itertools.pairwise(kinds)) == 2  # each family stands together
    f = np.array([[0.1, 0.9, 0.5]])
    assert unit_order({"f": f}, "memory") == (1, 2, 0)
    with pytest.raises(ValueError, match="order: expected one of 'similarity', 'memory', 'index', got 'x'"):
        unit_order({"f": f}, "x")
    with pytest.raises(ValueError, match="expected f among the recorded gates"):
        unit_order({"c": f}, "memory")


def test_a_picture_ends_where_its_sequence_ends():
    lstm = cellgate.LSTM(3, 7, batch_first=True)
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[0, 3] = True
    with cellgate.trace(lstm) as tape:
        lstm(torch.randn(2, 9, 3), lengths=[5, 9], reset=reset)
    assert images(tape.figure(sequence=0))[0].shape == (7, 5)
    assert images(tape.figure(sequence=1))[0].shape == (7, 9)
    assert tape["lstm"].layer(0).heat_maps(0).resets == (3,)
    assert tape.figure(sequence=0).count('class="reset"') == 1
    assert tape.figure(sequence=1).count('class="reset"') == 0


def test_every_layer_and_direction_is_drawn():
    lstm = cellgate.LSTM(3, 7, num_layers=2, bidirectional=True, proj_size=3)
    with cellgate.trace(lstm) as tape:
        lstm(torch.randn(12, 2, 3))
    svg = tape.figure()
    assert len(images(svg)) == 2 * 2 * 6
    titles = [text for text in texts(svg) if " layer " in text]
    assert titles == [f"lstm layer {k} {d}" for k in (0, 1) for d in ("forward", "backward")]
    assert len(images(tape["lstm"].layer(1).backward.figure())) == 6
    assert images(svg)[5].shape[0] == 3


def test_labels_and_titles_are_text():
    lstm = nn.ModuleDict({"<script>": nn.LSTM(3, 7)})
    with cellgate.trace(lstm) as tape:
        lstm["<script>"](torch.randn(3, 1, 3))
    svg = tape.figure(labels=["早", "<b>", "&好"], signal=[1, 2, 3])
    assert "<script" not in svg
    assert {"早", "<b>", "&好", "<script> layer 0", "input"} <= set(texts(svg))


def test_short_and_long():
    assert images(traced(steps=1).figure())[0].shape == (7, 1)
    svg = traced(steps=3000, sequences=1).figure()
    assert images(svg)[0].shape == (7, 1000)
    assert any("3 steps averaged in a column" in text for text in texts(svg))
    assert len(svg) < 300_000
    means = draw([[HeatMaps("t", {"f": np.array([[0.0, 0.6, 0.9] * 500 + [0.3]])}, (0,))]])
    folded = pixels(next(ElementTree.fromstring(means).iter(f"{SVG}image")).get("href"))
    assert folded.shape == (1, 751)
    assert folded[0, :3] == pytest.approx([0.3, 0.45, 0.75], abs=0.003)
    assert folded[0, -1] == pytest.approx(0.3, abs=0.003)


def test_themes():
    tape = traced()
    auto, light, dark = (tape.figure(theme=theme) for theme in ("auto", "light", "dark"))
    assert "prefers-color-scheme:dark" in auto
    assert "prefers-color-scheme" not in light + dark
    assert "#0f141c" in dark
    for svg in (auto, light, dark):
        ElementTree.fromstring(svg)
        used = set(re.findall(r"url\(#([\w-]+)\)", svg))
        defined = set(re.findall(r'id="([\w-]+)"', svg))
        assert used
        assert used <= defined
        assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    with pytest.raises(ValueError, match="theme: expected 'auto', 'light' or 'dark', got 'blue'"):
        tape.figure(theme="blue")


def test_colours_of_the_filters_are_those_of_the_maps():
    """A colour for each channel, and three different ones."""
    svg = traced().figure(theme="light")
    tables = re.findall(r'<filter id="cellgate-unsigned-light".*?</filter>', svg)[0]
    red, green, blue = ([float(v) for v in t.split()] for t in re.findall(r'tableValues="([^"]+)"', tables))
    assert red[0] == pytest.approx(0xFD / 255, abs=1e-3)
    assert (red[-1], green[-1], blue[-1]) == pytest.approx((0x20 / 255, 0x23 / 255, 0x5C / 255), abs=1e-3)
    assert red == sorted(red, reverse=True) or len(set(red)) > 5


def test_save_writes_what_it_is_told_and_nothing_else(tmp_path):
    tape = traced()
    path = tape.save(tmp_path / "trace.svg", sequence=1, theme="dark")
    assert path.read_text("utf-8") == tape.figure(sequence=1, theme="dark")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"expected a name ending in \.svg"):
        tape.save(tmp_path / "trace.png")


def test_wrong_requests():
    tape = traced()
    with pytest.raises(IndexError, match="sequence: expected 0 to 1, got 2"):
        tape.figure(sequence=2)
    with pytest.raises(ValueError, match="labels: expected 12, one a step of sequence 0, got 2"):
        tape.figure(labels="ab")
    with pytest.raises(ValueError, match="signal: expected 12, one a step of sequence 0, got 1"):
        tape.figure(signal=[1])
    with pytest.raises(cellgate.InputError, match="run the model inside the block"):
        cellgate.trace(nn.LSTM(3, 4)).figure()


def test_nan_does_not_break_the_picture():
    tape = traced()
    tape["lstm"].layer(0).c[3] = float("nan")
    tape["lstm"].layer(0).f[3, 0, 2] = float("inf")
    svg = tape.figure(order="index")
    assert any("8 values are not finite and drawn as zero" in text for text in texts(svg))
    forget, cell = images(svg)[1], images(svg)[4]
    assert forget[2, 3] == 0
    assert cell[:, 3] == pytest.approx(0.5, abs=0.003)
    assert cell.std() > 0.1


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to render the picture; apt-get install chromium")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_draws_it(theme, tmp_path):
    image = pytest.importorskip("matplotlib.image", reason="reads the screenshot; pip install 'cellgate[plot]'")
    tape = traced(steps=30, sequences=1)
    path = tape.save(tmp_path / "trace.svg", theme=theme, order="index")
    root = ElementTree.parse(path).getroot()
    shot = tmp_path / "shot.png"
    size = f"{int(float(root.get('width')))},{int(float(root.get('height')))}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path}/profile", f"--screenshot={shot}", path.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    drawn = image.imread(shot)[..., :3]
    # Each cell of the first map, at its middle, has the colour that the map of colours gives its value.
    first = next(root.iter(f"{SVG}image"))
    group = next(root.iter(f"{SVG}g"))
    dx, dy = (float(v) for v in re.findall(r"[\d.]+", group.get("transform")))
    x, y, w, h = (float(first.get(k)) for k in ("x", "y", "width", "height"))
    values = pixels(first.get("href"))
    function = re.findall(rf'<filter id="cellgate-unsigned-{theme}".*?</filter>', path.read_text("utf-8"))[0]
    tables = [[float(v) for v in t.split()] for t in re.findall(r'tableValues="([^"]+)"', function)]
    rows, columns = values.shape
    for r in range(rows):
        for t in range(columns):
            at = drawn[int(dy + y + (r + 0.5) * h / rows), int(dx + x + (t + 0.5) * w / columns)]
            expected = [np.interp(values[r, t], np.linspace(0, 1, len(table)), table) for table in tables]
            assert at == pytest.approx(expected, abs=0.02)


def axis(svg: str, names: set[str]) -> list[tuple[float, str]]:
    """Return where the names of steps stand and what is shown of them, from left to right."""
    found = []
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        whole = text.find(f"{SVG}title")
        if (text.text if whole is None else whole.text) in names:
            found.append((float(text.get("x")), text.text))
    return found


@pytest.mark.parametrize(("steps", "letters"), [(4, 6), (12, 30), (40, 6), (40, 30), (400, 12), (1, 200)])
def test_names_of_steps_never_overlap(steps, letters):
    names = [f"{t:03d}".rjust(letters, "m") for t in range(steps)]
    for across in ({}, {"bidirectional": True}):
        found = axis(traced(steps=steps, sequences=1, **across)["lstm"].layer(0).figure(labels=names), set(names))
        assert found
        for (x, shown), (after, next_shown) in itertools.pairwise(found):
            # Half of each, of letters of six pixels, and some air.
            assert after - x > 3 * (len(shown) + len(next_shown)) + 3
        assert max(len(shown) for _, shown in found) * 6 <= 640 + 104


def test_long_names_are_shortened_before_steps_are_left_out():
    names = ["a", "<b>", "a-very-long-word", "d1", "e1", "f1", "g1", "h1"]
    found = [shown for _, shown in axis(traced(steps=8, sequences=1).figure(labels=names), set(names))]
    assert len(found) == 8
    assert found[1] == "<b>"
    assert found[2].startswith("a-")
    assert found[2].endswith("rd")
    assert "…" in found[2]


def test_white_space_is_seen_and_no_name_breaks_the_file():
    names = [" ", "\n", "\t", "\x00", "\x1b[0m", "\ud800", "\uffff", "a b", "早", "", 7, 1.5]
    svg = traced(steps=12, sequences=1).figure(labels=names)
    svg.encode()
    shown = texts(svg)
    assert {"␣", "↵", "⇥", "U+0000", "U+001B[0m", "U+D800", "U+FFFF", "a b", "早", "7", "1.5"} <= set(shown)
    numbers = traced(steps=3, sequences=1).figure(labels=torch.tensor([5, 6, 7]))
    assert {"5", "6", "7"} <= set(texts(numbers))


def test_titles_stay_in_their_block():
    name = "encoder_of_a_very_deep_model_with_blocks_in_blocks_and_layers_in_layers"
    model = nn.ModuleDict({name: nn.LSTM(3, 7, bidirectional=True)})
    with cellgate.trace(model) as tape:
        model[name](torch.randn(5, 1, 3))
    titles = [t for t in ElementTree.fromstring(tape.figure()).iter(f"{SVG}text") if "title" in t.get("class")]
    assert [t.find(f"{SVG}title").text for t in titles] == [f"{name} layer 0 {d}" for d in ("forward", "backward")]
    for title, end in zip(titles, ("forward", "backward"), strict=True):
        assert len(title.text) * 9.9 <= 440 + 12 + 64  # a letter of that size and weight
        assert title.text.startswith("encoder")
        assert title.text.endswith(end)


def test_a_signal_with_holes_has_gaps():
    root = ElementTree.fromstring(traced(steps=6, sequences=1).figure(signal=[1, 2, float("nan"), 5, float("inf"), 4]))
    curves = [line for line in root.iter(f"{SVG}polyline") if line.get("class") == "signal"]
    points = [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in curves]
    assert [len(stretch) for stretch in points] == [2, 2, 2]  # two steps, then two dots
    assert points[1][0] == points[1][1]
    heights = {y for stretch in points for _, y in stretch}
    assert len(heights) == 4
    assert "max 5.0" in texts(ElementTree.tostring(root, "unicode"))
    nothing = traced(steps=2, sequences=1).figure(signal=[float("nan")] * 2)
    assert 'class="signal"' not in nothing


def test_nothing_to_draw_warns_of_nothing():
    lstm = cellgate.LSTM(3, 7)
    with cellgate.trace(lstm) as tape:
        lstm(torch.randn(4, 2, 3), lengths=[0, 4])
    assert any("0 steps" in text for text in texts(tape.figure()))
    with cellgate.trace(lstm) as tape:
        lstm(torch.randn(4, 0, 3))
    with pytest.raises(IndexError, match="sequence: expected a batch with sequences, got 0 of none"):
        tape.figure()
    with pytest.raises(cellgate.InputError, match=r"sequence: expected an integer, the number of a sequence, got 1\.0"):
        tape.figure(1.0)


def test_a_memory_that_is_not_known_is_not_told():
    tape = traced()
    tape["lstm"].layer(0).f[0] = float("nan")
    assert not any("memory" in text and "steps" in text for text in texts(tape.figure()))
