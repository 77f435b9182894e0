"""The document: whole or refused, written at once, and what is made of it holds its figures and no others."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from benchmarks import BENCHMARKS_MD, CHART_SVG, GRID_JSON
from benchmarks.__main__ import near_cells
from benchmarks.chart import PANELS, chart
from benchmarks.goals import verdicts
from benchmarks.report import another_machine, markdown, write_reports

from cellgate.bench import GRID, load, losses, new_document, save, validate
from cellgate.bench.grid import Cell
from cellgate.bench.machine import describe, measure_limits
from cellgate.bench.measure import compare_with_limits
from cellgate.bench.summary import geometric_mean, slowdowns
from cellgate.bench.timing import ratio
from cellgate.errors import InputError

LIMITS = {
    "threads": 2,
    "source": "test",
    "fma_f32": 400e9,
    "fma_f64": 200e9,
    "activations": 8e9,
    "read": {
        level: {"bytes": 1 << (15 + 5 * k), "rate": 1e12 / 3**k} for k, level in enumerate(("L1", "L2", "L3", "DRAM"))
    },
}


def record_of(row, mode, load_, times):
    """A cell's record with these median times; quartiles lie 10 % off."""
    cell = Cell(row, mode, 2, load_)
    record = {
        "id": cell.id,
        "row": str(row.shape),
        "title": row.title,
        "mode": mode,
        "threads": 2,
        "load": load_,
        "shape": row.shape.as_dict(),
        "absent": {},
        "backend": "cpu",
        "check": {name: {"tensor": "output", "error": 1e-7, "bound": 1e-6} for name in times},
        "times": {
            name: {"median": t, "q25": t * 0.9, "q75": t * 1.1, "rounds": 7, "calls": 70} for name, t in times.items()
        },
        "ratios": {"cellgate": {n: ratio([t], [times["cellgate"]]) for n, t in times.items() if n != "cellgate"}},
        "flops": row.shape.flops(mode == "training"),
    }
    compare_with_limits(record, LIMITS)
    return record


@pytest.fixture
def document():
    made = new_document(describe())
    made["limits"].append(LIMITS)
    for k, row in enumerate(GRID):
        for mode in row.modes:
            for load_, slower in (("quiet", 1.0), ("busy", 3.0)):
                times = {"cellgate": 0.001 * (k + 1) * slower, "nn.LSTM": 0.00234 * (k + 1) * slower**2}
                made["cells"].append(record_of(row, mode, load_, times))
    made["cells"][0] = record_of(GRID[0], "inference", "quiet", {"cellgate": 0.004, "nn.LSTM": 0.003})
    for name, floats in (("cellgate", 6.5), ("nn.LSTM", 16.5)):
        made["memory"].append(
            {"name": name, "shape": "T8000 B16 I256 H256", "floats": floats, "bytes": floats * 4e6, "seconds": 2.0}
        )
    validate(made)
    return made


def test_a_document_comes_back_as_it_was_written(document, tmp_path):
    path = tmp_path / "deep" / "bench.json"
    save(document, path)
    again = load(path)
    assert [c["id"] for c in again["cells"]] == [c["id"] for c in document["cells"]]
    assert again["cells"][3]["times"]["nn.LSTM"]["median"] == pytest.approx(
        document["cells"][3]["times"]["nn.LSTM"]["median"], rel=1e-5
    )
    assert [p.name for p in path.parent.iterdir()] == ["bench.json"]


def test_a_document_that_is_not_whole_is_not_written(document, tmp_path):
    del document["limits"]
    with pytest.raises(InputError, match="limits: expected list"):
        save(document, tmp_path / "bench.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.update(schema=99), "schema: expected 1, got 99"),
        (lambda d: d["cells"].append(d["cells"][0]), "to stand once"),
        (lambda d: d["cells"][0].pop("check"), "the errors of every contender"),
        (lambda d: d["cells"][0]["check"].pop("nn.LSTM"), "checked before it is timed"),
        (lambda d: d["cells"][0]["times"]["cellgate"].update(median=0.0), "> 0"),
        (lambda d: d["cells"][0]["times"]["cellgate"].update(q25=9.0), "in order"),
        (lambda d: d["cells"][0].update(red="wrong"), "none beside a red check"),
        (lambda d: d["cells"][0].update(mode="dreaming"), "mode"),
        (lambda d: d["memory"][0].pop("floats"), "memory.floats"),
    ],
)
def test_what_is_missing_or_wrong_is_named(document, spoil, message):
    spoiled = copy.deepcopy(document)
    spoil(spoiled)
    with pytest.raises(InputError, match=re.escape(message)):
        validate(spoiled)


def test_losses_are_found_and_lead_the_report(document):
    lost = losses(document)
    assert [(item["peer"], item["ratio"]) for item in lost] == [("nn.LSTM", 0.75)]
    text = markdown(document)
    assert text.index("## Where we lose") < text.index("## Goals") < text.index("## Inference")
    assert "slower than a peer in 1 of" in text
    assert "| T100 B1 I32 H64, inference, 2 threads, quiet | nn.LSTM | 0.75× |" in text


def test_a_red_cell_stands_in_the_report(document):
    record = document["cells"][4]
    for key in ("check", "times", "ratios", "share", "limit", "backend", "flops"):
        del record[key]
    record["red"] = "cellgate: output deviates by 1.00e-01"
    validate(document)
    assert "cellgate: output deviates by 1.00e-01" in markdown(document)


def test_every_time_in_the_report_is_in_the_document(document):
    text = markdown(document)
    for record in document["cells"]:
        if record["load"] == "quiet":
            assert f"| {record['row']} | {record['title']} |" in text
    assert "| T30 B32 I8 H32 | small batches | 2 ms ±10% | 4.68 ms ±10% | 2.34× |" in text


def test_the_chart_is_an_svg_with_the_figures_of_its_panels(document):
    drawing = chart(document)
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    assert "prefers-color-scheme: dark" in drawing
    for panel in PANELS:
        assert panel.row in drawing
    assert drawing.count("(2.3×)") == len(PANELS)


def test_bars_are_as_long_as_their_times(document):
    bars = [float(width) for width in re.findall(r'<rect class="(?:ours|peer)"[^>]*width="([\d.]+)"', chart(document))]
    for ours, theirs in zip(bars[::2], bars[1::2], strict=True):
        assert theirs / ours == pytest.approx(2.34, rel=0.01)


def test_a_panel_without_its_cell_says_so(document):
    document["cells"] = [c for c in document["cells"] if c["row"] != PANELS[0].row]
    assert chart(document).count("not measured") == 1


def test_goals_are_judged_by_their_weakest_cell(document):
    judged = {verdict.goal: verdict for verdict in verdicts(document)}
    every = judged["inference, times nn.LSTM, every shape"]
    assert (every.reached, every.met, every.worst) == (0.75, False, "T100 B1 I32 H64")
    mean = judged["training, times nn.LSTM, geometric mean"]
    assert mean.reached == pytest.approx(2.34)
    assert mean.met
    assert judged["training memory, fast, floats for each of T*B*H"].met
    assert judged["training memory, lean, floats for each of T*B*H"].met is None
    assert judged["three trainings side by side, each slows by"].reached == pytest.approx(3.0)


def test_slowdown_is_busy_over_quiet(document):
    found = slowdowns(document, "nn.LSTM", "training", 2)
    assert list(found.values()) == pytest.approx([9.0] * len(found))
    assert len(found) == sum("training" in row.modes for row in GRID)


def test_geometric_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        geometric_mean([])


def test_the_machine_is_described_and_its_limits_are_in_proportion():
    description = describe()
    assert description["machine"]["cores"] >= 1
    assert description["versions"]["torch"]
    limits = measure_limits(1, seconds=0.001)
    assert limits["fma_f32"] > 1e8
    assert set(limits["read"]) >= {"L1", "DRAM"}
    assert limits["read"]["DRAM"]["bytes"] == description["machine"]["memory"]
    assert all(read["rate"] > 1e6 for read in limits["read"].values())


def test_the_repository_s_report_is_that_of_its_results(tmp_path):
    document = load(GRID_JSON)
    write_reports(document, tmp_path / "text.md", tmp_path / "chart.svg")
    fix = "run `python -m benchmarks.report`"
    assert (tmp_path / "text.md").read_text() == BENCHMARKS_MD.read_text(), fix
    assert (tmp_path / "chart.svg").read_text() == CHART_SVG.read_text(), fix


def test_another_machine_s_run_has_its_own_losses_goals_and_quiet_cells(document):
    document["machine"]["isa"] = "avx2"
    text = another_machine(document)
    assert text.startswith("## On a machine with avx2 only")
    assert "cellgate is slower than a peer in" in text
    assert "| inference, times nn.LSTM, every shape | >= 1 | 0.75 | **no** | T100 B1 I32 H64 |" in text
    quiet = [record for record in document["cells"] if record["load"] == "quiet"]
    for record in quiet:
        assert text.count(f"| {record['row']} |") >= 1
    assert "beside two busy copies" not in text
    assert text not in markdown(document)


def test_the_repository_s_results_are_readable_line_by_line():
    lines = GRID_JSON.read_text().splitlines()
    cells = [json.loads(line.strip().rstrip(",")) for line in lines if line.startswith('  {"id"')]
    assert cells == load(GRID_JSON)["cells"]


def test_what_was_measured_far_apart_is_left_out_with_its_busy_cell() -> None:
    """By the hand-overs alone: one of the two above the usual is enough, times do not matter."""

    def cell(row: str, load_: str, *handover: float) -> dict:
        return {"row": row, "mode": "training", "threads": 2, "load": load_, "handover": list(handover)}

    near = [cell("a", "quiet", 40e-9, 50e-9), cell("a", "busy"), cell("c", "quiet", 45e-9, 44e-9)]
    single = {**cell("b", "quiet"), "threads": 1}
    far = [cell("b", "quiet", 41e-9, 230e-9), cell("b", "busy")]
    assert near_cells({"cells": [*near, *far, single]}) == [*near, single]
    assert near_cells({"cells": [single]}) == [single]
