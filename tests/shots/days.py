"""What daemons say that have run for long: nobody waits a day for a picture.

The words are a daemon's own (src/server/report.rs); only the hours behind them are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dermald.testing import FakeDaemon

MIB = 2**20
HOUR, DAY = 3600, 86_400
FINE, COARSE = 10, 300
LIMIT = 180 * MIB
# Of a fresh image, and with EfficientNetV2-S in it; that much of them lies in no file.
FRESH, LOADED, OWN = 6 * MIB, 134 * MIB, 31 * MIB
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True)
class Renewal:
    ago: int
    reason: str
    pause_ms: int


def tell_of_a_busy_hour(daemon: FakeDaemon) -> None:
    """Three renewals, one of each kind that load brings, and a queue."""
    renewals = [
        Renewal(2760, "memory", 47),
        Renewal(1440, "requests", 39),
        Renewal(420, "memory", 61),
    ]
    hour = [_grown(age, renewals) for age in range(HOUR, 0, -FINE)]
    day = [_grown(age, renewals) for age in range(5 * HOUR, 0, -COARSE)]
    daemon.status_more = _status(hour, day, renewals, uptime=5 * HOUR) | {
        "queue": _queue(requests=11, kib=21_400, running=True),
        "connections": 14,
        "outcomes": {"ok": 4213, "busy": 38, "picture_broken": 6, "deadline_exceeded": 2},
    }
    daemon.metrics = _metrics(queue=0.21, load=0.06, decode=0.035, inference=0.098, render=0.012)


def tell_of_an_idle_day(daemon: FakeDaemon) -> None:
    """A few visitors, and after each of them nobody for long."""
    visits = (76_000, 58_300, 31_000, 6_400)
    renewals = [Renewal(visit - 900, "idle", 31) for visit in visits]
    hour = [(age, FRESH, FRESH // 3) for age in range(HOUR, 0, -FINE)]
    day = [_visited(age, visits) for age in range(DAY, 0, -COARSE)]
    daemon.status_more = _status(hour, day, renewals, uptime=9 * DAY) | {
        "queue": _queue(requests=0, kib=0, running=False),
        "connections": 1,
        "outcomes": {"ok": 61},
    }
    daemon.metrics = _metrics(queue=0.0004, load=0.06, decode=0.03, inference=0.095, render=0.011)


def _grown(age: int, renewals: list[Renewal]) -> tuple[int, int, int]:
    """Memory that grows a little with every request, until the daemon renews itself."""
    born = min((one.ago for one in renewals if one.ago >= age), default=5 * HOUR)
    grown = min(born - age, 1320) * 34 * 1024
    wave = int(2 * MIB * math.sin(age / 47))
    return age, LOADED + grown + wave, OWN + grown + wave


def _visited(age: int, visits: tuple[int, ...]) -> tuple[int, int, int]:
    loaded = any(visit >= age > visit - 900 for visit in visits)
    return (age, LOADED, OWN) if loaded else (age, FRESH, FRESH // 3)


def _status(
    hour: list[tuple[int, int, int]],
    day: list[tuple[int, int, int]],
    renewals: list[Renewal],
    uptime: int,
) -> dict[str, object]:
    _, rss, anonymous = hour[-1]
    return {
        "uptime_seconds": uptime,
        "memory": {"rss": rss, "anonymous": anonymous, "peak": LIMIT + 3 * MIB},
        "memory_limit": LIMIT,
        "memory_measure": "rss",
        "memory_history": {"hour": _ring(FINE, hour), "day": _ring(COARSE, day)},
        "renewals": {
            "recent": [
                {"seconds_ago": one.ago, "reason": one.reason, "pause_ms": one.pause_ms}
                for one in renewals
            ]
        },
    }


def _ring(step: int, samples: list[tuple[int, int, int]]) -> dict[str, object]:
    return {
        "step_seconds": step,
        "columns": ["seconds_ago", "rss", "anonymous"],
        "samples": [list(sample) for sample in samples],
    }


def _queue(*, requests: int, kib: int, running: bool) -> dict[str, object]:
    return {
        "requests": requests,
        "bytes": kib * 1024,
        "running": running,
        "limit_requests": 32,
        "limit_bytes": 64 * MIB,
    }


def _metrics(**medians: float) -> str:
    """Histograms of stages that scatter around these seconds."""
    lines = [line for stage, median in medians.items() for line in _buckets(stage, median)]
    return "\n".join([*lines, "# EOF\n"])


def _buckets(stage: str, median: float) -> Iterator[str]:
    for bound in (*_BOUNDS, math.inf):
        below = 0.5 * (1 + math.erf(math.log(bound / median) / 0.5)) if bound < math.inf else 1
        label = "+Inf" if bound == math.inf else bound
        yield f'dermald_stage_seconds_bucket{{stage="{stage}",le="{label}"}} {round(1000 * below)}'
