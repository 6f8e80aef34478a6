"""Percentiles of the daemon's stages, out of the histograms in its metrics.

A histogram knows only how many lay below each bound: between two bounds the answer is interpolated,
as Prometheus does it, and above the last one it is that bound.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

STAGES = ("queue", "load", "decode", "inference", "render")
_BUCKET = re.compile(r"^dermald_stage_seconds_bucket\{([^}]*)\} ([0-9.eE+]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of predictions, in milliseconds. `beyond`: the 99th percentile lies above the last
    bound, which is given instead."""

    name: str
    count: int
    p50: float
    p95: float
    p99: float
    beyond: bool


def read_stages(metrics: str) -> list[Stage]:
    """Those that ever ran, in the order of a prediction."""
    buckets: dict[str, list[tuple[float, float]]] = {}
    for labels, count in _BUCKET.findall(metrics):
        said = dict(_LABEL.findall(labels))
        if "stage" in said and "le" in said:
            buckets.setdefault(said["stage"], []).append((float(said["le"]), float(count)))
    order = [name for name in STAGES if name in buckets]
    order += sorted(buckets.keys() - set(order))
    stages = [_stage(name, sorted(buckets[name])) for name in order]
    return [stage for stage in stages if stage.count]


def quantile(buckets: list[tuple[float, float]], share: float) -> float:
    """The value below which `share` of all lie; `buckets` are (bound, how many up to it)."""
    wanted = share * buckets[-1][1]
    low = below = 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def _stage(name: str, buckets: list[tuple[float, float]]) -> Stage:
    p50, p95, p99 = (1000 * quantile(buckets, share) for share in (0.5, 0.95, 0.99))
    finite = [count for bound, count in buckets if not math.isinf(bound)]
    total = buckets[-1][1]
    beyond = bool(finite) and finite[-1] < 0.99 * total
    return Stage(name, int(total), p50, p95, p99, beyond)
