"""The worked example as a page: what stands in it without any script."""

import json
import re

import pytest
import torch

from cellgate.cli.app import main
from cellgate.report.page import json_block, show_shape, show_signed
from cellgate.report.unrolled_svg import reading_order
from cellgate.report.walkthrough_page import walkthrough_page
from cellgate.trace.walkthrough import visible, walk


def page_of(text: str = "早上好", **sizes: int) -> tuple[str, dict]:
    example = walk(text, **sizes)
    page = walkthrough_page(example.as_dict(), [visible(character) for character in example.characters])
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert block
    return page, json.loads(block.group(1))


def test_every_number_of_the_walk_is_in_the_page():
    example = walk(input_size=4, hidden_size=5)
    _, data = page_of(input_size=4, hidden_size=5)
    sections = [section for section in example.sections if section.passes]
    assert [len(data["passes"][section.key]) for section in sections] == [1, 2, 2]
    for section in sections:
        for one, kept in zip(section.passes, data["passes"][section.key], strict=True):
            assert kept["order"] == list(one.order)
            for name in ("i", "f", "g", "o", "c", "h", "c_prev", "h_prev", "kept", "added", "tanh_c"):
                # JSON holds nine digits, which is every bit of a float32.
                assert torch.equal(torch.tensor(kept["values"][name]), getattr(one, name)), name
            for gate, terms in one.terms.items():
                assert torch.equal(torch.tensor(kept["values"][f"{gate}.total"]), terms.total)


def test_terms_are_those_of_plain_arithmetic():
    """The sums come from matrices, unit 0 from Python's own products: they agree at every step."""
    for section in walk("hello", 6, 7).sections:
        for one in section.passes:
            for worked in one.unit:
                for gate, terms in one.terms.items():
                    expected = getattr(worked, gate)
                    for name in ("from_input", "from_state", "total"):
                        assert float(getattr(terms, name)[worked.step, 0]) == pytest.approx(
                            getattr(expected, name), abs=1e-6
                        )
                    assert float(terms.bias_ih[0]) == pytest.approx(expected.bias_ih)
                    assert float(terms.bias_hh[0]) == pytest.approx(expected.bias_hh)


def test_reads_without_a_script():
    """Chapters, first step, shapes and checks are markup; only stepping needs the script."""
    page, _ = page_of()
    for section in walk().sections:
        assert f'id="{section.key}"' in page
        assert all(check.claim in page for check in section.checks if "'" not in check.claim)
    unit = walk().sections[0].passes[0].unit[0]
    assert f'data-v="f.total">{show_signed(unit.f.total)}' in page
    assert f'data-v="h">{show_signed(unit.h)}' in page
    assert page.count("✓") == len(walk().checks)
    assert "(3, 1, 100)" in page


def test_asks_nothing_of_the_network():
    page, _ = page_of()
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", page)
    assert "url(#" in page
    assert not re.findall(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_text_is_text():
    """Characters of the text become steps, and never markup."""
    page, data = page_of("<b>&\"'", input_size=2, hidden_size=2)
    assert data["names"] == ["<", "b", ">", "&", '"', "'"]
    assert "<b>&" not in page
    block = json_block({"name": "</script><script>alert(1)</script><!--"}, "x")
    assert block.count("<") == 2
    assert json.loads(block[block.index(">") + 1 : block.rindex("<")])["name"].endswith("<!--")


def test_a_wide_layer_is_cut_and_says_so():
    page, data = page_of("abcdefgh" * 8, input_size=2, hidden_size=200)
    assert data["units"] < 200
    assert len(data["passes"]["one-layer"][0]["values"]["f"][0]) == data["units"]
    assert f"the first {data['units']} of 200 units" in page
    assert len(page.encode()) < 3_000_000


def test_reading_order():
    both = [{"reads": "x", "order": [0, 1, 2]}, {"reads": "x", "order": [2, 1, 0]}]
    assert reading_order(both) == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]


def test_shapes_and_numbers():
    assert show_shape(()) == "()"
    assert show_signed(float("nan")) == "–"


def test_the_command_writes_it(tmp_path, capsys):
    path = tmp_path / "walk.html"
    arguments = ["walkthrough", "--hidden-size", "4", "--html", str(path)]
    assert run(arguments) == 0
    assert path.read_text().startswith("<!doctype html>")
    assert str(path) in capsys.readouterr().out
    assert run(arguments) == 2
    assert "expected a new file" in capsys.readouterr().err
    assert run([*arguments, "--force"]) == 0
    assert run([*arguments[:-1], str(tmp_path / "none" / "walk.html")]) == 2
    assert "make it first" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [path]


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)
