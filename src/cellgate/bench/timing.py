"""Interleaved timing in rounds, and its statistics.

Every round gives every contender one block of calls, in an order that rotates, so that a machine whose speed drifts is
unfair to nobody. The figure of a round is the mean time of a call in the block; what is reported is the median over
rounds, with quartiles.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Plan", "Samples", "Timed", "interleave", "quartiles", "ratio", "rest"]


class Timed(Protocol):
    """What can be timed: ``call`` once a measurement, ``between`` (or None) before it, outside the time."""

    name: str
    call: Callable[[], Any]
    between: Callable[[], Any] | None


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        block: Seconds of calls in a contender's turn; a call that takes longer is a block of its own.
        rounds: No fewer rounds than this,
        seconds: and no shorter than this in all,
        patience: unless it took this long: then ``least`` rounds are enough.
        least: Rounds that even the slowest cell gets.
        settle: The most seconds of rest before a turn. It ends when this process has used no CPU for a while: when the
            threads of whoever had the turn before have stopped spinning.
    """

    block: float = 0.03
    rounds: int = 7
    seconds: float = 0.5
    patience: float = 5.0
    least: int = 3
    settle: float = 0.1


@dataclass
class Samples:
    """Seconds of a call, one figure a round, and how many calls stand behind them."""

    seconds: list[float] = field(default_factory=list)
    calls: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return median, quartiles (seconds) and counts."""
        low, middle, high = quartiles(self.seconds)
        return {"median": middle, "q25": low, "q75": high, "rounds": len(self.seconds), "calls": self.calls}


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third, interpolated, as numpy's default does.

    >>> quartiles([4.0, 1.0, 3.0, 2.0, 5.0])
    (2.0, 3.0, 4.0)
    """
    if not values:
        raise ValueError("values: expected at least one, got none")
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times faster we are: the ratio of the medians, and the quartiles of the ratio taken round by round.

    >>> ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    {'ratio': 2.0, 'q25': 2.0, 'q75': 2.0}
    """
    by_round = [t / o for t, o in zip(theirs, ours, strict=True)]
    low, _, high = quartiles(by_round)
    return {"ratio": statistics.median(theirs) / statistics.median(ours), "q25": low, "q75": high}


def interleave(
    contenders: Sequence[Timed],
    plan: Plan,
    turn: Callable[[int], Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Samples]:
    """Time the contenders in turns.

    Args:
        contenders: At least one.
        plan: How long.
        turn: Called with a contender's index when its turn begins and with -1 when it ends (to load the machine).
        clock: Seconds, monotonic.

    Returns:
        The samples by name, the same number of rounds for all.
    """
    samples = {contender.name: Samples() for contender in contenders}
    calls = [_calls_a_block(contender, plan, clock) for contender in contenders]
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        start, done = clock(), 0
        while not _enough(done, clock() - start, plan):
            for place in range(len(contenders)):
                index = (place + done) % len(contenders)
                contender = contenders[index]
                if turn:
                    turn(index)
                elif plan.settle:
                    rest(plan.settle)
                seconds, count = _block(contender, calls[index], clock, plan.block * _LONGEST)
                if turn:
                    turn(-1)
                samples[contender.name].seconds.append(seconds)
                samples[contender.name].calls += count
            done += 1
    finally:
        if collecting:
            gc.enable()
    return samples


# Seconds of which a thread that spins fills more than the share. Systems may count other CPUs' threads every 4 ms.
_WATCHED, _SHARE = 0.005, 0.1


def rest(
    limit: float,
    sleep: Callable[[float], Any] = time.sleep,
    used: Callable[[], float] = time.process_time,
) -> float:
    """Sleep until no other thread of this process spins, at most ``limit`` seconds; return the seconds slept.

    Libraries let their threads spin after a call, in the hope of another. That takes CPU time from whoever comes next.
    """
    slept = 0.0
    while slept < limit:
        before = used()
        sleep(min(_WATCHED, limit - slept))
        slept += _WATCHED
        if used() - before < _WATCHED * _SHARE:
            break
    return min(slept, limit)


# A block may take so many times what it should, and the clock is looked at so many times meanwhile.
_LONGEST, _LOOKS = 20, 16


def _enough(rounds: int, elapsed: float, plan: Plan) -> bool:
    if rounds < plan.least:
        return False
    return elapsed >= plan.patience or (rounds >= plan.rounds and elapsed >= plan.seconds)


def _calls_a_block(contender: Timed, plan: Plan, clock: Callable[[], float]) -> int:
    """Warm up, and find how many calls fill a block."""
    fastest, start, warm = math.inf, clock(), 0
    while warm < 2 or (clock() - start < plan.block and warm < 1000):
        if contender.between:
            contender.between()
        before = clock()
        contender.call()
        fastest = min(fastest, clock() - before)
        warm += 1
        if fastest > plan.block * 10:
            break  # seconds long: one call is warm-up enough
    return max(1, min(5000, round(plan.block / max(fastest, 1e-9))))


def _block(contender: Timed, calls: int, clock: Callable[[], float], longest: float) -> tuple[float, int]:
    """Mean seconds of a call, and of how many. Of many the first is not counted: it pays for waking up and cold caches.

    A block ends early when it has taken ``longest`` seconds: on a busy machine a call may take a thousand times as long
    as alone.
    """
    call, between = contender.call, contender.between
    if calls > 1:
        if between:
            between()
        call()
    total, done, begin = 0.0, 0, clock()
    while done < calls and (done == 0 or clock() - begin < longest):
        if between is None:
            count = min(calls - done, max(1, calls // _LOOKS))
            start = clock()
            for _ in range(count):
                call()
        else:
            between()
            count, start = 1, clock()
            call()
        total += clock() - start
        done += count
    return total / done, done
