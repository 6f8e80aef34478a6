"""Memory over time as geometry: where lines, ticks and marks lie, in hundredths of the chart.

Knows no colours and no words: those are the template's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .snapshot import Renewal, Sample

_MIB = 2**20
# Steps of axes that people read easily.
_MIB_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000)
_SECOND_STEPS = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_LINES = 4
# Shares of the chart: what a line keeps from the ends, and a word from another.
_EDGE = 0.03
_APART = 0.1
_MARKS_APART = 0.08
# As high as a mark, in pixels, and how many fit under each other on a phone.
_ROW, _ROWS = 20, 7


@dataclass(frozen=True, slots=True)
class Tick:
    """place: percent from the left, or from the top. value: seconds ago, or MiB."""

    place: str
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """number: of its line below the chart. down: pixels from the top, so that marks that lie close
    together do not cover each other."""

    place: str
    down: int
    number: int
    renewal: Renewal


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths lie in a box of 1000 by 1000; ticks and marks are percentages of the same box."""

    rss_area: str
    rss_line: str
    anonymous_line: str
    threshold: Tick | None
    heights: tuple[Tick, ...]
    times: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    # Whether the threshold's words stand at the left: the right end is where the marks are.
    words_left: bool
    span_seconds: float


def draw(
    samples: Sequence[Sample], renewals: Sequence[Renewal], threshold: int | None
) -> Chart | None:
    """None for less than two samples of different times: there is no time to show."""
    ordered = sorted(samples, key=lambda sample: -sample.seconds_ago)
    if len(ordered) < 2 or ordered[0].seconds_ago == ordered[-1].seconds_ago:
        return None
    oldest, newest = ordered[0].seconds_ago, ordered[-1].seconds_ago
    span = oldest - newest
    top = 1.15 * max(threshold or 0, *(max(sample.rss, sample.anonymous) for sample in ordered), 1)
    across = [1000 * (oldest - sample.seconds_ago) / span for sample in ordered]
    rss = [1000 * (1 - sample.rss / top) for sample in ordered]
    anonymous = [1000 * (1 - sample.anonymous / top) for sample in ordered]
    rss_line = _line(across, rss)
    seen = [mark for mark in renewals if newest <= mark.seconds_ago <= oldest]
    seen.sort(key=lambda mark: -mark.seconds_ago)
    places = [(oldest - mark.seconds_ago) / span for mark in seen]
    return Chart(
        rss_area=f"{rss_line} L1000 1000 L0 1000 Z",
        rss_line=rss_line,
        anonymous_line=_line(across, anonymous),
        threshold=None if not threshold else _height(threshold / _MIB, top),
        heights=tuple(
            _height(value, top)
            for value in _round_values(0, top / _MIB, _MIB_STEPS)
            # Their words would lie over each other.
            if not threshold or abs(value * _MIB - threshold) / top > _APART
        ),
        times=tuple(
            Tick(_percent((oldest - value) / span), value)
            for value in _round_values(newest, oldest, _SECOND_STEPS)
        ),
        marks=_marks(places, seen),
        words_left=bool(places) and 1 - max(places) < min(places),
        span_seconds=span,
    )


def _marks(places: Sequence[float], renewals: Sequence[Renewal]) -> tuple[Mark, ...]:
    marks: list[Mark] = []
    row, before = 0, -1.0
    for number, (place, renewal) in enumerate(zip(places, renewals, strict=True), 1):
        row = (row + 1) % _ROWS if place - before < _MARKS_APART and marks else 0
        before = place
        marks.append(Mark(_percent(place), row * _ROW, number, renewal))
    return tuple(marks)


def _line(across: Sequence[float], down: Sequence[float]) -> str:
    points = (f"{x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True))
    return "M" + " L".join(points)


def _height(mib: float, top: float) -> Tick:
    return Tick(_percent(1 - mib * _MIB / top), mib)


def _round_values(least: float, most: float, steps: Sequence[float]) -> list[float]:
    """A few round values between the two, away from both ends."""
    span = most - least
    step = next((step for step in steps if span / step <= _LINES), steps[-1])
    values = [step * number for number in range(int(least / step), int(most / step) + 1)]
    return [value for value in values if least + _EDGE * span < value < most - _EDGE * span]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
