"""What the models cost, as a table for people and as JSON for programs. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from report import heading, verdict

LABEL_WIDTH = 38
GOAL_WIDTH = 17
COLUMN_WIDTH = 13

# A bundle is float32, float16 or int8 with Grad-CAM, or PLAIN without.
PLAIN = "plain"


@dataclass(frozen=True)
class Column:
    """What one bundle cost. Memory and sizes in MiB, times in ms unless named otherwise."""

    name: str
    # PLAIN, or the precision of a bundle with Grad-CAM.
    kind: str
    bundle_size: float
    prepared_size: float
    prepare_seconds: float
    prepare_peak: float
    idle: float
    load_peak: float
    load_cpu: float
    anonymous: float
    files: float
    rss: float
    peak: float
    inference_median: float
    inference_p99: float
    client_median: float
    client_p99: float
    onnxruntime_median: float
    over_onnxruntime: float
    # Compared with the float32 bundle and with the one without Grad-CAM, where there are such.
    over_float32: float | None = None
    rss_over_float32: float | None = None
    over_plain: float | None = None
    rss_above_plain: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure, and at most how much it is meant to be, by kind."""

    label: str
    figure: Callable[[Column], float | None]
    goals: dict[str, float]
    digits: int = 1

    def cell(self, column: Column) -> str:
        value = self.figure(column)
        if value is None:
            return f"{'-':>8}"
        goal = self.goals.get(column.kind)
        return f"{value:>8.{self.digits}f} {'' if goal is None else verdict(value, goal)}"

    def goal(self) -> str:
        """`<=140, int8 100`: the first kind's goal stands for all that have the same."""
        if not self.goals:
            return ""
        first = next(iter(self.goals.values()))
        others = (f", {kind} {goal:g}" for kind, goal in self.goals.items() if goal != first)
        return f"<={first:g}" + "".join(others)


# The goals of the reference architecture, EfficientNetV2-S at 300 x 300; a float16 bundle is
# widened when it is prepared, and so costs what float32 costs.
_FLOATS = ("float32", "float16")


def _floats(goal: float) -> dict[str, float]:
    return dict.fromkeys(_FLOATS, goal)


def rows(requests: int) -> list[Row]:
    after = f"after {requests} requests, MB"
    return [
        Row("bundle on disk, MB", lambda c: c.bundle_size, {}),
        Row("prepared copy on disk, MB", lambda c: c.prepared_size, {}),
        Row("dermald prepare, s", lambda c: c.prepare_seconds, {}, 2),
        Row("dermald prepare, peak RSS, MB", lambda c: c.prepare_peak, {}),
        Row("RSS before the first request, MB", lambda c: c.idle, {}),
        Row("peak of loading above that, MB", lambda c: c.load_peak, _floats(60)),
        Row("CPU of loading, ms", lambda c: c.load_cpu, _floats(150)),
        Row(f"anonymous {after}", lambda c: c.anonymous, _floats(40)),
        Row(f"from files {after}", lambda c: c.files, {}),
        Row(f"RSS {after}", lambda c: c.rss, {**_floats(140), "int8": 100}),
        Row("peak RSS until then, MB", lambda c: c.peak, {}),
        Row("inference, median ms", lambda c: c.inference_median, {}),
        Row("inference, p99 ms", lambda c: c.inference_p99, {}),
        Row("client's call, median ms", lambda c: c.client_median, {}),
        Row("client's call, p99 ms", lambda c: c.client_p99, {}),
        Row("ONNX Runtime in Python, median ms", lambda c: c.onnxruntime_median, {}),
        Row(
            "inference / ONNX Runtime",
            lambda c: c.over_onnxruntime,
            {PLAIN: 1.1, **_floats(1.1), "int8": 1.1},
            3,
        ),
        Row(
            "inference / float32 bundle",
            lambda c: c.over_float32,
            {"float16": 1.03, "int8": 0.6},
            3,
        ),
        Row("RSS / float32 bundle", lambda c: c.rss_over_float32, {"float16": 1.03}, 3),
        Row("inference / without Grad-CAM", lambda c: c.over_plain, {"float32": 1.03}, 3),
        Row("RSS above without Grad-CAM, MB", lambda c: c.rss_above_plain, {"float32": 3}),
    ]


@dataclass(frozen=True)
class Result:
    """Everything that one run found out."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    # Answered by each daemon before its memory was read.
    requests: int
    columns: list[Column]
    # Sentences beneath the table.
    notes: list[str]


def as_table(result: Result) -> str:
    """At most 107 columns wide with four bundles, which is what the defaults are."""
    lines = heading(result.command, result.machine, result.versions)
    start = LABEL_WIDTH + GOAL_WIDTH
    for title in ("name", "kind"):
        titles = (f"{getattr(column, title):>8.12}" for column in result.columns)
        lines.append(" " * start + _columns(titles))
    for row in rows(result.requests):
        cells = (row.cell(column) for column in result.columns)
        lines.append(f"{row.label:<{LABEL_WIDTH}}{row.goal():<{GOAL_WIDTH}}{_columns(cells)}")
    lines.append("")
    lines.extend(result.notes)
    return "\n".join(line.rstrip() for line in lines)


def as_json(result: Result) -> dict[str, object]:
    return {
        "command": result.command,
        "machine": result.machine,
        "versions": result.versions,
        "requests": result.requests,
        "rows": [
            {
                "label": row.label,
                "goals": row.goals,
                "figures": {column.name: row.figure(column) for column in result.columns},
            }
            for row in rows(result.requests)
        ],
        "notes": result.notes,
    }


def _columns(cells: Iterable[str]) -> str:
    return "".join(f"{cell:<{COLUMN_WIDTH}}" for cell in cells)
