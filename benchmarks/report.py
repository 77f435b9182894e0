"""BENCHMARKS.md and the chart, made from a run's JSON: no figure in them has another source.

python -m benchmarks.report     writes both from benchmarks/results/grid.json, and what grid_*.json there say of others
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS_MD, CHART_SVG, GRID_JSON, VARIANTS_JSON, VARIANTS_MD, beside_json, shortfalls
from benchmarks.accuracy import ACCURACY_JSON
from benchmarks.accuracy.table import stored_section
from benchmarks.chart import chart
from benchmarks.goals import verdicts
from benchmarks.markdown import table
from benchmarks.variants import speed_table
from benchmarks.variants import table as variants_table
from cellgate.bench import load, losses
from cellgate.bench.phases import phase_table
from cellgate.bench.summary import geometric_mean, kind_of, records_of, slowdowns
from cellgate.bench.table import duration, three_digits

__all__ = ["markdown", "write_reports"]

OURS = "cellgate"
PEERS = {
    "inference": ("nn.LSTM", "onnxruntime", "JAX scan"),
    "training": ("nn.LSTM", "JAX scan"),
    "stream": ("nn.LSTM", "onnxruntime", "JAX scan"),
}
WORK = {"inference": "Inference", "training": "Training (forward and backward)", "stream": "One streamed step"}


def markdown(document: dict[str, Any], variants: dict[str, Any] | None = None) -> str:
    """Return the text of BENCHMARKS.md, of the grid's run and that of the variants."""
    threads = max(entry["threads"] for entry in document["limits"])
    parts = [
        "# Benchmarks",
        "<!-- Written by `python -m benchmarks.report` from benchmarks/results/grid.json. Do not edit. -->",
        _origin(document),
        _READING,
        "![Times beside peers](benchmarks/chart.svg)",
        "## Where we lose",
        _losses(document),
        "## Goals",
        _goals(document, threads, variants),
    ]
    reasons = shortfalls.section(document, variants)
    parts += ["### Not reached, and why", reasons] if reasons else []
    counts = sorted({record["threads"] for record in document["cells"]}, reverse=True)
    for load_ in ("quiet", "busy"):
        where = "" if load_ == "quiet" else ", beside two busy copies of itself"
        for count in counts:
            parts += _grids(document, count, load_, "## {work}, {threads}" + where)
    parts += _phases(document, threads)
    parts += ["## Beyond the plain call", _variants(document)]
    parts += ["## A busy machine", _LUCK, _slowdowns(document, counts)]
    parts += ["## Memory of training", _memory(document)]
    parts += ["## The machine's limits", _limits(document)]
    parts += [speed_table.section(variants)] if variants else []
    return "\n\n".join(part for part in parts if part) + "\n"


def another_machine(document: dict[str, Any]) -> str:
    """Return the section of a run on a machine beside that of the record: what it lost, the goals, the quiet grid."""
    threads = max(entry["threads"] for entry in document["limits"])
    parts = [
        f"## On a machine with {document['machine']['isa']} only",
        "Written by `python -m benchmarks --beside`, read as above. " + _origin(document),
        _losses(document),
        _goals(document, threads, None),
    ]
    for count in sorted({record["threads"] for record in document["cells"]}, reverse=True):
        parts += _grids(document, count, "quiet", f"### {{work}}, {{threads}}, on {document['machine']['isa']}")
    return "\n\n".join([*parts, _limits(document)]) + "\n"


def _origin(document: dict[str, Any]) -> str:
    machine, versions = document["machine"], document["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    commit = f"commit {document['commit']}" if document.get("commit") else "an installed package"
    changed = " with local changes" if document.get("dirty") else ""
    isa = f", kernels for {machine['isa']}" if machine.get("isa") else ""
    caches = ", ".join(f"{level} {_bytes(size)}" for level, size in machine["caches"].items())
    return (
        f"Measured on {document['date']} at {commit}{changed}: {machine['cpu']}, {machine['cores']} cores "
        f"({caches}), {machine['system']}{isa}; {named}."
    )


_READING = """\
Every contender's numbers are compared with the same computation in double precision before anything is timed; training
compares every gradient. Contenders then take turns in one process, in an order that rotates, each after a rest in which
the threads of the one before stop spinning (0.1 s at most); a time is the median over the rounds, ± half the distance
between its quartiles. A quiet cell is measured while a number takes no longer than usual from one CPU to the other, or
again, three times at most: the host of a virtual machine may move its CPUs apart. Where that did not help,
`python -m benchmarks --far` measures it once more later, its busy cell too. **2.0×** means that the peer takes twice as
long. *FMA* is cellgate's share of the multiply-adds that the machine's registers alone allow, *limit* its
share of the least time that arithmetic, reading the weights from the cache they fit, and activations take; both limits
are measured in the same run.
Training counts forward and backward with gradients of input and weights, no optimiser; weights change between calls.
Elsewhere gradients are switched off once for all calls, as a program that only computes does.
Letters: T steps, B batch, I input size, H hidden size, L layers, D directions, P projection.
`make bench` repeats all of it on your machine, `cellgate bench --mine model.pt` does so for your model."""


def _losses(document: dict[str, Any]) -> str:
    compared = sum(len(record.get("ratios", {}).get(OURS, {})) for record in document["cells"])
    red = [record for record in document["cells"] if "red" in record]
    lost = losses(document)
    text = f"cellgate is slower than a peer in {len(lost)} of {compared} comparisons."
    if lost:
        rows = [[item["id"].replace(" / ", ", "), item["peer"], _times(item["ratio"])] for item in lost]
        text += "\n\n" + table(["cell", "peer", "ratio"], rows)
    if red:
        text += f"\n\n{len(red)} cells are wrong or fail, and were not timed:\n\n"
        text += table(["cell", "finding"], [[record["id"], record["red"]] for record in red])
    return text


def _goals(document: dict[str, Any], threads: int, variants: dict[str, Any] | None) -> str:
    judged = verdicts(document) + (speed_table.verdicts(variants) if variants else [])
    rows = [[v.goal, v.target, v.shown, {True: "yes", False: "**no**", None: "-"}[v.met], v.worst] for v in judged]
    note = f"On the quiet machine with {_threads(threads)} unless a goal says otherwise."
    return note + "\n\n" + table(["goal", "to reach", "reached", "met", "weakest"], rows)


def _grids(document: dict[str, Any], count: int, load_: str, heading: str) -> list[str]:
    """Each work's heading, table and means; `heading` takes `work` and `threads`."""
    parts = []
    for mode, work in WORK.items():
        records = records_of(document, mode, count, load_)
        if records:
            parts += [heading.format(work=work, threads=_threads(count)), _grid(records, PEERS[mode])]
            parts += _means(records, PEERS[mode])
    return parts


def _grid(records: Sequence[dict[str, Any]], peers: Sequence[str]) -> str:
    peers = [peer for peer in peers if any(peer in record.get("times", {}) for record in records)]
    rows = []
    for record in records:
        times = record.get("times", {})
        row = [record["row"], record["title"], _time(times, OURS)]
        for peer in peers:
            ratio = record.get("ratios", {}).get(OURS, {}).get(peer)
            row += [_time(times, peer), _times(ratio["ratio"]) if ratio else ""]
        share, limit = record.get("share", {}).get(OURS), record.get("limit")
        row.append(f"{share:.0%}" if share is not None else "")
        row.append(f"{limit['seconds'] / times[OURS]['median']:.0%}" if limit and OURS in times else "")
        rows.append(row)
    head = ["shape", "", OURS, *(part for peer in peers for part in (peer, "")), "FMA", "limit"]
    return table(head, rows)


def _means(records: Sequence[dict[str, Any]], peers: Sequence[str]) -> list[str]:
    lines = []
    for peer in peers:
        values = [
            record["ratios"][OURS][peer]["ratio"]
            for record in records
            if kind_of(record) == "plain" and peer in record.get("ratios", {}).get(OURS, {})
        ]
        if values:
            lines.append(
                f"{_times(geometric_mean(values))} {peer} (from {_times(min(values))} to {_times(max(values))})"
            )
    return ["Geometric mean over the plain float32 rows: " + ", ".join(lines) + "."] if lines else []


def _variants(document: dict[str, Any]) -> str:
    rows = []
    for record in document["cells"]:
        for ours, found in record.get("ratios", {}).items():
            if ours == OURS or record["load"] != "quiet":
                continue
            plain = record["times"].get(OURS)
            own = record["times"][ours]["median"]
            ratio = found.get("nn.LSTM")
            cost = f"{own / plain['median']:.2f}" if plain else ""
            what = f"{ours.removeprefix(OURS).strip()}, {record['mode']}, {_threads(record['threads'])}"
            rows.append(
                [record["row"], what, _time(record["times"], ours), cost, _times(ratio["ratio"]) if ratio else ""]
            )
    loops = [
        [r["row"], f"Python loop, {r['mode']}, {_threads(r['threads'])}", _time(r["times"], "Python loop"), "",
         _times(r["ratios"][OURS]["Python loop"]["ratio"]) + " (cellgate over it)"]
        for r in document["cells"] if "Python loop" in r.get("ratios", {}).get(OURS, {})
    ]  # fmt: skip
    return table(["shape", "what", "time", "over the plain call", "times nn.LSTM's plain call"], rows + loops)


def _phases(document: dict[str, Any], threads: int) -> list[str]:
    """Where the time goes, on the quiet machine with all threads; nothing for a run that was not told."""
    parts = []
    for mode in ("inference", "training", "stream"):
        names, rows = phase_table(records_of(document, mode, threads))
        if rows:
            parts += [f"{WORK[mode]}:", table(["shape", *names], [[r["row"], *shares] for r, shares in rows])]
    return [f"## Where cellgate's time goes, {_threads(threads)}", _WHERE, *parts] if parts else []


_WHERE = """\
What its threads are at, in percent of their time together, as the native core tells while it runs (`cellgate bench
--phases` shows the same for your shapes). *Input products* are those taken for many steps at once; *dx* and *dW* the
gradients of input and weights; *packing* that of the weights, and the digests by which packed ones are found;
*waiting* is for one another; *outside* is what is not the kernels': Python, autograd, results' memory, waking them.
They are told in calls of their own, after the timing and few of the long ones: shares are good to some percent."""


_LUCK = """\
Three processes of one thread cannot share two cores evenly: for a whole turn one has a core of its own, and two
have half a one each. A contender's turns then take anything from its quiet time to twice as long, by luck, and of a
median over a few turns enough of that is left to move the ratio of a single cell by a quarter. Read such cells
together."""


def _slowdowns(document: dict[str, Any], counts: Iterable[int]) -> str:
    blocks = []
    for count in counts:
        for mode in ("inference", "training"):
            ours, theirs = (slowdowns(document, name, mode, count) for name in (OURS, "nn.LSTM"))
            if ours:
                rows = [
                    [row, f"{value:.1f}", f"{theirs[row]:.1f}" if row in theirs else ""] for row, value in ours.items()
                ]
                blocks.append(
                    f"{mode.capitalize()}, {_threads(count)}: time beside two busy copies of itself over time alone "
                    f"(three processes on {document['machine']['cores']} cores).\n\n"
                    + table(["shape", OURS, "nn.LSTM"], rows)
                )
    return "\n\n".join(blocks)


def _memory(document: dict[str, Any]) -> str:
    rows = []
    for entry in document["memory"]:
        if "absent" in entry:
            rows.append([entry["name"], entry["absent"], "", ""])
        else:
            rows.append([entry["name"], f"{entry['floats']:.1f}", _bytes(entry["bytes"]), duration(entry["seconds"])])
    if not rows:
        return ""
    note = (
        f"Growth of the peak of resident memory in one training pass over {document['memory'][0]['shape']}, each in a "
        "fresh process, in floats for each of T*B*H."
    )
    return note + "\n\n" + table(["", "floats", "bytes", "time of the pass"], rows)


def _limits(document: dict[str, Any]) -> str:
    rows = []
    for entry in document["limits"]:
        reads = [f"{entry['read'][level]['rate'] / 1e9:.0f}" if level in entry["read"] else "" for level in _LEVELS]
        rows.append(
            [str(entry["threads"]), f"{entry['fma_f32'] / 1e9:.0f}", f"{entry['fma_f64'] / 1e9:.0f}",
             f"{entry['activations'] / 1e9:.1f}", *reads, entry["source"]]
        )  # fmt: skip
    head = ["threads", "GF/s float32", "GF/s float64", "10⁹ sigmoids/s"]
    return table([*head, *(f"{level} GB/s" for level in _LEVELS), "measured by"], rows)


_LEVELS = ("L1", "L2", "L3", "DRAM")


def _time(times: dict[str, Any], name: str) -> str:
    if name not in times:
        return ""
    found = times[name]
    half = (found["q75"] - found["q25"]) / 2 / found["median"]
    return f"{duration(found['median'])} ±{half:.0%}"


def _times(ratio: float) -> str:
    return f"{three_digits(ratio)}×"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _bytes(size: float) -> str:
    for unit, factor in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if size >= factor:
            return f"{three_digits(size / factor)} {unit}"
    return f"{size:.0f} B"


def write_reports(document: dict[str, Any], text_to: Path = BENCHMARKS_MD, chart_to: Path = CHART_SVG) -> None:
    """Write both files."""
    # The variants' speed and tasks and the accuracy rows have runs of their own; their sections are kept when the grid
    # is written anew.
    variants = speed_table.stored(VARIANTS_JSON)
    if variants and text_to == BENCHMARKS_MD:
        speed_table.put_costs(variants, VARIANTS_MD)
    others = beside_json("*")
    beside = [another_machine(load(path)) for path in sorted(others.parent.glob(others.name))]
    parts = [markdown(document, variants), *beside, stored_section(ACCURACY_JSON), variants_table.stored_section()]
    text_to.write_text("\n".join(part for part in parts if part).rstrip() + "\n", encoding="utf-8")
    chart_to.write_text(chart(document), encoding="utf-8")


if __name__ == "__main__":
    if not GRID_JSON.exists():
        sys.exit(f"{GRID_JSON}: expected the results of `python -m benchmarks`, got no such file")
    write_reports(load(GRID_JSON))
