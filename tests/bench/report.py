"""The result as a table for people and as JSON for programs. Measures nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from calls import Figures

# What the transport is meant to take at most, in milliseconds.
MARK_P50 = 0.5
MARK_P99 = 2.0

LABEL_WIDTH = 30
GROUP_WIDTH = 36


@dataclass(frozen=True)
class Series:
    """One row's half: its figures in each round, all with the same gap between calls."""

    row: str
    gap: str
    rounds: list[Figures]

    @property
    def median(self) -> Figures:
        return Figures.median(self.rounds)


@dataclass(frozen=True)
class Result:
    """Everything that one run found out. gaps are the names of the table's two halves."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    gaps: tuple[str, str]
    series: list[Series]
    # Sentences beneath the table.
    notes: list[str]

    def find(self, row: str, gap: str) -> Series | None:
        return next((one for one in self.series if (one.row, one.gap) == (row, gap)), None)


def as_json(result: Result) -> dict[str, object]:
    """All rounds, in milliseconds."""
    return {
        "command": result.command,
        "machine": result.machine,
        "versions": result.versions,
        "marks": {"p50": MARK_P50, "p99": MARK_P99},
        "series": [
            {
                "row": one.row,
                "gap": one.gap,
                "median": asdict(one.median),
                "met": {"p50": one.median.p50 <= MARK_P50, "p99": one.median.p99 <= MARK_P99},
                "rounds": [asdict(figures) for figures in one.rounds],
            }
            for one in result.series
        ],
        "notes": result.notes,
    }


def as_table(result: Result) -> str:
    """At most 104 columns wide."""
    lines = heading(result.command, result.machine, result.versions)
    groups = "".join(f"  {gap:^{GROUP_WIDTH - 2}}" for gap in result.gaps)
    lines.append(f"{'milliseconds':<{LABEL_WIDTH}}{groups}".rstrip())
    heads = f"  {f'p50 <={MARK_P50:g}':<10}{'p90':>6}  {f'p99 <={MARK_P99:g}':<10}{'min':>6}"
    lines.append(" " * LABEL_WIDTH + f"{heads:<{GROUP_WIDTH}}" * 2)
    for row in dict.fromkeys(one.row for one in result.series):
        halves = "".join(_half(result.find(row, gap)) for gap in result.gaps)
        lines.append(f"{row:<{LABEL_WIDTH}}{halves}".rstrip())
    lines.append("")
    lines.extend(result.notes)
    return "\n".join(line.rstrip() for line in lines)


def heading(command: str, machine: dict[str, str], versions: dict[str, str]) -> list[str]:
    """The lines above a table: where, with what, and how to do it again."""
    lines = [f"{name + ':':<10} {text}" for name, text in machine.items()]
    lines.append(f"{'versions:':<10} {', '.join(' '.join(v) for v in versions.items())}")
    lines.append(f"{'command:':<10} {command}")
    return [*lines, ""]


def verdict(value: float, mark: float) -> str:
    """Whether a figure is at most what it is meant to be, as a word for the table."""
    return "met" if value <= mark else "over"


def _half(series: Series | None) -> str:
    if series is None:
        return f"  {'-':<{GROUP_WIDTH - 2}}"
    figures = series.median
    p50 = _marked(figures.p50, MARK_P50)
    p99 = _marked(figures.p99, MARK_P99)
    half = f"  {p50:<10}{figures.p90:>6.3f}  {p99:<10}{figures.min:>6.3f}"
    return f"{half:<{GROUP_WIDTH}}"


def _marked(milliseconds: float, mark: float) -> str:
    return f"{milliseconds:.3f} {verdict(milliseconds, mark)}"
