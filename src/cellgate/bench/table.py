"""Cells as a table that a person likes to read, and the lines below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from .contenders import OURS
from .phases import phase_table
from .results import losses
from .summary import geometric_mean

__all__ = ["duration", "line", "phases_table", "summary_lines", "table", "three_digits"]

_PEERS = ("nn.LSTM", "onnxruntime", "JAX scan", "Python loop")


def duration(seconds: float) -> str:
    """Return a time with three digits and its unit.

    >>> duration(0.00012345), duration(0.0279), duration(1.5)
    ('123 µs', '27.9 ms', '1.5 s')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 0.9995 or unit == "µs":
            return f"{three_digits(seconds * factor)} {unit}"
    raise AssertionError


def three_digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent.

    >>> three_digits(1234.5), three_digits(12.34), three_digits(0.1234)
    ('1234', '12.3', '0.123')
    """
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0")


def line(record: dict[str, Any]) -> str:
    """Return a finished cell in one line, for a log."""
    if "red" in record:
        return f"{record['id']}: WRONG, not timed: {record['red']}"
    if "floats" in record:
        return f"memory of {record['name']}: {record['floats']:.1f} floats for each of T*B*H"
    if "times" not in record:
        return f"{record.get('id') or record.get('name')}: absent: {record.get('absent')}"
    times = ", ".join(f"{name} {duration(found['median'])}" for name, found in record["times"].items())
    return f"{record['id']}: {times}"


def table(records: Sequence[dict[str, Any]], width: int = 120) -> Table:
    """Return the cells as a rich table.

    Args:
        records: Cells of a document.
        width: Columns of the screen; with 120 or more the peers' times stand beside the ratios.

    Returns:
        Time of cellgate, how many times as fast as each peer it is, shares of the FMA peak and of the cell's own limit;
        below a cell its variants (traced, other memory modes), indented.
    """
    peers = [peer for peer in _PEERS if any(peer in record.get("times", {}) for record in records)]
    several = len({(r["threads"], r["load"]) for r in records}) > 1
    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("shape", no_wrap=True, overflow="fold")
    out.add_column("work", no_wrap=True)
    if several:
        out.add_column("threads", no_wrap=True)
    out.add_column(OURS, justify="right", no_wrap=True)
    for peer in peers:
        out.add_column(f"vs {peer}", justify="right", no_wrap=True)
    out.add_column("FMA peak", justify="right", no_wrap=True)
    out.add_column("limit", justify="right", no_wrap=True)
    for record in records:
        name = record["id"].split(" / ")[0]
        start = [name, record["mode"]]
        if several:
            start.append(f"{record['threads']}{' busy' if record['load'] == 'busy' else ''}")
        if "red" in record:
            out.add_row(*start, Text("WRONG", style="bold red"), Text(record["red"], style="red"))
            continue
        for ours in sorted(record["ratios"] or {OURS: {}}, key=lambda n: (n != OURS, n)):
            head = start if ours == OURS else ["", f"  {ours.removeprefix(OURS).strip()}", *[""] * several]
            out.add_row(*head, *_figures(record, ours, peers, with_times=width >= 120 and ours == OURS))
    return out


def _figures(record: dict[str, Any], ours: str, peers: Sequence[str], with_times: bool) -> list[Any]:
    times, found = record["times"], record["ratios"].get(ours, {})
    cells: list[Any] = [duration(times[ours]["median"]) if ours in times else "-"]
    for peer in peers:
        text = Text(_ratio(found[peer]["ratio"]), style=_style(found[peer]["ratio"])) if peer in found else Text("-")
        if peer in times and with_times:
            text = Text(f"{duration(times[peer]['median'])}  ", style="dim") + text
        cells.append(text)
    share, limit = record.get("share", {}).get(ours), record.get("limit")
    cells.append(f"{share:.0%}" if share is not None else "")
    cells.append(f"{limit['seconds'] / times[ours]['median']:.0%}" if limit and ours in times else "")
    return cells


def _ratio(value: float) -> str:
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def _style(ratio: float) -> str:
    return "green" if ratio >= 1.05 else "red" if ratio < 1.0 else ""


def phases_table(records: Sequence[dict[str, Any]]) -> Table:
    """Return where cellgate's time goes in the cells that tell, as a rich table of percentages."""
    names, rows = phase_table(records)
    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("shape", no_wrap=True, overflow="fold")
    out.add_column("work", no_wrap=True)
    for name in names:
        out.add_column(name, justify="right")
    for record, shares in rows:
        out.add_row(record["id"].split(" / ")[0], record["mode"], *shares)
    return out


def summary_lines(document: dict[str, Any]) -> list[str]:
    """Return a few lines below the table: means by peer and mode, losses, what was absent."""
    lines = []
    grouped: dict[tuple[str, str], list[float]] = {}
    for record in document["cells"]:
        for peer, found in record.get("ratios", {}).get(OURS, {}).items():
            grouped.setdefault((record["mode"], peer), []).append(found["ratio"])
    for (mode, peer), values in grouped.items():
        spread = f", from {three_digits(min(values))} to {three_digits(max(values))}" if len(values) > 1 else ""
        lines.append(f"{mode}: {three_digits(geometric_mean(values))} times as fast as {peer}{spread}")
    lost = losses(document)
    if lost:
        worst = f"{lost[0]['id']} against {lost[0]['peer']}, {lost[0]['ratio']:.2f}"
        lines.append(
            f"slower than a peer in {len(lost)} of {sum(map(len, grouped.values()))} comparisons; worst: {worst}"
        )
    missing = {
        (name, reason)
        for record in document["cells"]
        for name, reason in record["absent"].items()
        if "install" in reason
    }
    lines += [f"{name} left out: {reason}" for name, reason in sorted(missing)]
    return lines
