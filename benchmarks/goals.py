"""What the engine is to reach, and what a run says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cellgate.bench.summary import geometric_mean, ratios, shares, slowdowns

__all__ = [
    "LEAST_FMA",
    "LEAST_TRAINING",
    "MOST_SLOWED",
    "STREAM_MEAN",
    "Verdict",
    "verdicts",
]

LEAST_TRAINING = 1.1  # times nn.LSTM, every shape
STREAM_MEAN = 15.0  # times nn.LSTM, geometric mean
LEAST_FMA = {"inference": 0.80, "training": 0.75}  # share of the peak, of long shapes
MOST_SLOWED = 3.6  # three trainings side by side on two cores

Document = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One goal: in words, the figure to reach, the figure reached (None if not measured), whether it is met."""

    goal: str
    target: str
    reached: float | None
    met: bool | None
    worst: str = ""
    form: str = "{:.2f}"

    @property
    def shown(self) -> str:
        return "not measured" if self.reached is None else self.form.format(self.reached)


def verdicts(document: Document) -> list[Verdict]:
    """Judge a run by every goal, on the machine when quiet and with all threads unless a goal says otherwise."""
    threads = max((entry["threads"] for entry in document["limits"]), default=1)

    def found(peer: str, mode: str, kinds: tuple[str, ...] = ("plain",), **more: Any) -> dict[str, float]:
        return ratios(document, peer, mode, kinds, threads=threads, **more)

    judged: list[Verdict] = []
    for mode, peer, least, mean in (
        ("inference", "nn.LSTM", 1.0, 1.8),
        ("inference", "onnxruntime", 1.0, 1.25),
        ("training", "nn.LSTM", LEAST_TRAINING, 2.0),
        ("stream", "nn.LSTM", 12.0, STREAM_MEAN),
        ("stream", "onnxruntime", 1.2, 1.5),
    ):
        work = "a streamed step" if mode == "stream" else mode
        judged.append(_least(f"{work}, times {peer}, every shape", found(peer, mode), least))
        judged.append(_mean(f"{work}, times {peer}, geometric mean", found(peer, mode), mean))
    for text, kind, least, where in (
        ("ragged, one direction, training, times nn.LSTM", "ragged", 4.0, lambda r: r["shape"]["D"] == 1),
        ("ragged, two directions, training, times nn.LSTM", "ragged", 6.0, lambda r: r["shape"]["D"] == 2),
        ("projected, training, times nn.LSTM", "projected", 3.0, lambda r: True),
        ("float64, training, times nn.LSTM", "float64", 2.2, lambda r: True),
    ):
        judged.append(_least(text, found("nn.LSTM", "training", (kind,), where=where), least))
    judged.append(
        _least(
            "inference with every gate traced, times nn.LSTM without, every shape",
            found("nn.LSTM", "inference", ours="cellgate trace"),
            1.0,
        )
    )
    for mode, least in LEAST_FMA.items():
        long = {cell: share for cell, share in shares(document, mode).items() if f"/ {threads} threads" in cell}
        long = {cell: share for cell, share in long.items() if not cell.startswith("T1 ")}
        judged.append(_least(f"{mode}, share of the FMA peak, B >= 16 and H >= 128", long, least, "{:.0%}"))
    memory = {entry["name"]: entry for entry in document["memory"] if "floats" in entry}
    for name, most in (("cellgate", 7.0), ("cellgate lean", 3.0), ("cellgate minimal", 1.7)):
        value = memory[name]["floats"] if name in memory else None
        judged.append(_most(f"training memory, {_mode(name)}, floats for each of T*B*H", value, most))
    both = memory.get("cellgate"), memory.get("cellgate lean")
    value = both[1]["seconds"] / both[0]["seconds"] if both[0] and both[1] else None
    judged.append(_most("time of memory mode lean over fast", value, 1.4))
    slowed = slowdowns(document, "cellgate", "training", threads)
    judged.append(
        _most(
            "three trainings side by side, each slows by",
            max(slowed.values()) if slowed else None,
            MOST_SLOWED,
            max(slowed, key=lambda row: slowed[row]) if slowed else "",
        )
    )
    return judged


def _least(goal: str, values: dict[str, float], least: float, form: str = "{:.2f}") -> Verdict:
    target = ">= " + form.format(least).removesuffix(".00")
    if not values:
        return Verdict(goal, target, None, None)
    worst = min(values, key=lambda cell: values[cell])
    return Verdict(goal, target, values[worst], values[worst] >= least, worst.split(" / ")[0], form)


def _mean(goal: str, values: dict[str, float], least: float) -> Verdict:
    if not values:
        return Verdict(goal, f">= {least:g}", None, None)
    mean = geometric_mean(values.values())
    return Verdict(goal, f">= {least:g}", mean, mean >= least)


def _most(goal: str, value: float | None, most: float, worst: str = "") -> Verdict:
    return Verdict(goal, f"<= {most:g}", value, None if value is None else value <= most, worst)


def _mode(name: str) -> str:
    return {"cellgate": "fast"}.get(name, name.removeprefix("cellgate "))
