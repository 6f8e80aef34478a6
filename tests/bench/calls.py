"""Times calls one after the other and sums them up. Knows nobody who is called.

The benchmark and the neighbour's gunicorn worker share this loop, so that both are timed alike.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

# Makes one call; returns the seconds of it that do not count.
Call = Callable[[], float]

# Calls before the counted ones: they find the other side asleep since the series before.
WARM_UP = 5


@dataclass(frozen=True)
class Figures:
    """What became of one series, in milliseconds."""

    p50: float
    p90: float
    p99: float
    min: float

    @classmethod
    def of(cls, milliseconds: list[float]) -> Figures:
        ordered = sorted(milliseconds)
        return cls(
            percentile(ordered, 50),
            percentile(ordered, 90),
            percentile(ordered, 99),
            ordered[0],
        )

    @classmethod
    def median(cls, rounds: list[Figures]) -> Figures:
        """Each figure's median over rounds."""
        rows = [asdict(figures) for figures in rounds]
        return cls(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that `percent` of all do not exceed: one that was measured."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def time_calls(call: Call, count: int, pause: float, warm_up: int = WARM_UP) -> list[float]:
    """Milliseconds of `count` calls, with `pause` seconds of sleep before each; `warm_up` calls
    come first and do not count."""
    for _ in range(warm_up):
        time.sleep(pause)
        call()
    took = []
    for _ in range(count):
        if pause:
            time.sleep(pause)
        started = time.perf_counter()
        apart = call()
        took.append((time.perf_counter() - started - apart) * 1000)
    return took
