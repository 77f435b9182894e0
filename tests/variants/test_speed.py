"""The document of the variants' speed: verdicts, section, and the table of docs/variants.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import VARIANTS_JSON, VARIANTS_MD
from benchmarks.variants import speed, speed_table

SHAPES = ((100, 1, 32, 64), (100, 64, 512, 512))


def made_up(slow: str = "", lost: str = "") -> dict:
    def times(median: float) -> dict:
        return {"median": median, "q25": median * 0.9, "q75": median * 1.1, "rounds": 3, "calls": 9}

    rows = []
    for shape in SHAPES:
        for name in speed.VARIANTS:
            own, loop = 1.3 + 0.6 * (name == slow), 9.0 - 8.0 * (name == lost)
            row = {"name": name, "T, B, I, H": list(shape), "variant": times(own), "plain": times(1.0)}
            rows.append(row | {"loop": times(loop), "backend": "cpu", "of plain": own, "faster than loop": loop / own})
    machine = {"cpu": "a CPU"}
    return {
        "threads": 2,
        "date": "today",
        "commit": "abc",
        "machine": machine,
        "versions": {"torch": "2"},
        "rows": rows,
    }


def test_goals_are_met_or_missed() -> None:
    assert [verdict.met for verdict in speed_table.verdicts(made_up())] == [True] * 5
    missed = [v for v in speed_table.verdicts(made_up(slow="peephole", lost="slstm")) if not v.met]
    assert [v.worst for v in missed] == [
        "peephole, T100 B1 I32 H64",
        "slstm, T100 B1 I32 H64",
        "slstm, T100 B64 I512 H512",
    ]
    assert [v.target for v in missed] == ["<= 1.5", ">= 4", ">= 1.5"]
    assert speed_table.verdicts({"threads": 2, "rows": []})[0].met is None


def test_the_section_shows_what_is_missed_and_lost() -> None:
    text = speed_table.section(made_up(slow="peephole", lost="slstm"))
    assert "The loop is faster in 2 of 34 cells: slstm, T100 B1 I32 H64, slstm, T100 B64 I512 H512." in text
    assert "in 2 of 34 cells:" in text
    assert "| peephole, T100 B1 I32 H64 | 1.90 | 1.5 |" in text
    assert text.count("| peephole |") == 2
    assert "The loop is faster in 0 of 34 cells." in speed_table.section(made_up())


def test_the_documented_table_is_that_of_the_stored_run(tmp_path: Path) -> None:
    document = speed_table.stored(VARIANTS_JSON)
    assert document is not None
    assert speed_table.costs(document) in VARIANTS_MD.read_text(encoding="utf-8")
    copy = tmp_path / "variants.md"
    copy.write_text(VARIANTS_MD.read_text(encoding="utf-8"), encoding="utf-8")
    speed_table.put_costs(made_up(), copy)
    assert "| peephole | 1.30 / 6.92 | 1.30 / 6.92 |" in copy.read_text(encoding="utf-8")
    speed_table.put_costs(document, copy)
    assert copy.read_text(encoding="utf-8") == VARIANTS_MD.read_text(encoding="utf-8")


def test_a_slice_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PARTIAL_JSON", tmp_path / "partial.json")
    monkeypatch.setattr(speed, "VARIANTS_JSON", tmp_path / "whole.json")
    monkeypatch.setattr(speed, "SHAPES", SHAPES)
    fake = {key: made_up()["rows"][0][key] for key in ("variant", "plain", "loop", "of plain", "faster than loop")}
    measured = []
    monkeypatch.setattr(speed, "measure", lambda shape, options, plan: measured.append(shape) or fake)
    assert speed.run_all(budget=-1.0) == 34
    ticks = iter(range(1000))
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(ticks))
    assert speed.run_all(budget=4.0) == 31
    assert speed.run_all() == 0
    assert len(measured) == 34
    assert speed_table.stored(tmp_path / "whole.json")["threads"] == torch.get_num_threads()
    assert not (tmp_path / "partial.json").exists()
