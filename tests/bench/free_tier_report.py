"""What the stays in the box came to, as a table for people and as JSON for programs."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from calls import percentile
from report import heading, verdict
from stay import Stay
from tenants import DAEMON, SITE
from watch import Sample, Share, highest

WIDTH = 100
LABEL_WIDTH = 40
GOAL_WIDTH = 9
COLUMN_WIDTH = 14

# What the same things came to elsewhere, by title. The team's: 512 MB and 0.1 CPU, as it says
# itself. "Alone": a process without Django on two unlimited cores, measured before this was built.
TEAM_MEMORY = {"TensorFlow": "450-550"}
TEAM_FIRST = {"TensorFlow": "65-70"}
TEAM_LATER = {"TensorFlow": "8-12"}
ALONE = {
    "TensorFlow": "1147",
    "Grad-CAM": "134",
    "int8": "95",
}


@dataclass(frozen=True)
class Row:
    """One line: a figure, and at most how much it is meant to be for a site beside the daemon."""

    label: str
    figure: Callable[[Stay], float | None]
    goal: float | None = None
    digits: int = 1

    def cell(self, stay: Stay) -> str:
        value = self.figure(stay)
        if value is None:
            return f"{'-':>7}"
        goal = None if self.goal is None else verdict(value, self.goal)
        return f"{value:>7.{self.digits}f} {goal or ''}"

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"<={self.goal:g}"
        return f"{self.label:<{LABEL_WIDTH}}{goal:<{GOAL_WIDTH}}"


@dataclass(frozen=True)
class Said:
    """A line of what others reported, by title."""

    label: str
    words: dict[str, str]

    def cell(self, stay: Stay) -> str:
        words = self.words.get(stay.tenant.title, "-")
        return f"{words:>7}"

    def __str__(self) -> str:
        return f"{self.label:<{LABEL_WIDTH + GOAL_WIDTH}}"


@dataclass(frozen=True)
class Result:
    """Everything that one run found out."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    stays: list[Stay]
    # Sentences beneath the table.
    notes: list[str]


def peak(stay: Stay) -> float:
    return highest(stay.samples).total.pss


def at_peak(name: str) -> Callable[[Stay], float | None]:
    return lambda stay: _of(highest(stay.samples), name).pss


def when_healthy(name: str) -> Callable[[Stay], float | None]:
    """What it has before the first upload."""

    def figure(stay: Stay) -> float | None:
        if stay.healthy is None:
            return None
        until = stay.healthy
        return _of(max((s for s in stay.samples if s.at <= until), key=lambda s: s.at), name).pss

    return figure


def most(figure: Callable[[Share], float], name: str | None = None) -> Callable[[Stay], float]:
    """The highest of any sample."""
    return lambda stay: max(
        figure(_of(sample, name) if name else sample.total) for sample in stay.samples
    )


def hidden(stay: Stay) -> float | None:
    """What PSS leaves out because processes outside have it as well; the median of the samples in
    which every page was looked at, which happens a moment later."""
    looked = [(sample.pages, sample.total.pss) for sample in stay.samples if sample.pages]
    return statistics.median(pages - pss for pages, pss in looked) if looked else None


def by_kernel(name: str) -> Callable[[Stay], float | None]:
    """One of the fields of `Kernel`."""
    return lambda stay: getattr(stay.kernel, name) if stay.kernel else None


def later(percent: int) -> Callable[[Stay], float | None]:
    return lambda stay: percentile(sorted(stay.later), percent) if stay.later else None


def per_answer(clock: str, name: str) -> Callable[[Stay], float | None]:
    """Mean seconds by one of the clocks of `Used`."""

    def mean(stay: Stay) -> float | None:
        seconds = getattr(stay.used, clock).get(name)
        return None if seconds is None or not stay.later else seconds / len(stay.later)

    return mean


def rows(memory_goal: float, first_goal: float, later_goal: float) -> list[Row | Said]:
    return [
        Said("the first site's team reports, MB", TEAM_MEMORY),
        Said("one process alone without Django, RSS, MB", ALONE),
        Row("PSS of the box at its highest, MB", peak, memory_goal),
        Row("  at that moment: the site's", at_peak(SITE)),
        Row("  at that moment: the daemon's", at_peak(DAEMON)),
        Row("anonymous at its highest, MB", most(lambda share: share.anonymous)),
        Row("  the site's own highest", most(lambda share: share.anonymous, SITE)),
        Row("  the daemon's own highest", most(lambda share: share.anonymous, DAEMON)),
        Row("tmpfs that is mapped at its highest, MB", most(lambda share: share.shared)),
        Row("before the first upload: the site's, MB", when_healthy(SITE)),
        Row("before the first upload: the daemon's", when_healthy(DAEMON)),
        Row("PSS leaves out (1), MB", hidden),
        Row("the kernel's peak, with page cache, MB", by_kernel("peak")),
        Row("times at the limit", by_kernel("at_limit"), None, 0),
        Row("read again after it was taken back, MB", by_kernel("read_again")),
        Row("processes killed", by_kernel("kills"), 0, 0),
        Row("healthy after, s", lambda s: s.healthy),
        Said("first answer, the team reports, s", TEAM_FIRST),
        Row("first answer, s", lambda s: s.first, first_goal),
        Said("later answers, the team reports, s", TEAM_LATER),
        Row("later answers, median, s", later(50), later_goal, 2),
        Row("later answers, p95, s", later(95), None, 2),
        Row("  processor of the site, s", per_answer("cpu", SITE), None, 3),
        Row("  processor of the daemon, s", per_answer("cpu", DAEMON), None, 3),
        *(
            Row(f"  {stage}, s", per_answer("stages", stage), None, 2)
            for stage in ("queue", "decode", "inference", "render")
        ),
        Row("renewals of the daemon", lambda s: _count(s.renewals), None, 0),
    ]


def as_table(result: Result, lines: list[Row | Said]) -> str:
    text = heading(result.command, result.machine, result.versions)
    titles = (f"{stay.tenant.title:>7}" for stay in result.stays)
    text.append(" " * (LABEL_WIDTH + GOAL_WIDTH) + _columns(titles))
    text += [f"{line}{_columns(line.cell(stay) for stay in result.stays)}" for line in lines]
    text.append("")
    text += [f"{stay.tenant.title}: {stay.fate}" for stay in result.stays if stay.fate]
    for note in result.notes:
        text += textwrap.wrap(note, WIDTH)
    return "\n".join(line.rstrip() for line in text)


def as_json(result: Result, lines: list[Row | Said]) -> dict[str, object]:
    """All samples too: the plot is drawn from this."""
    return {
        "command": result.command,
        "machine": result.machine,
        "versions": result.versions,
        "rows": [
            {
                "label": line.label.strip(),
                "goal": line.goal,
                "figures": {stay.tenant.title: line.figure(stay) for stay in result.stays},
            }
            for line in lines
            if isinstance(line, Row)
        ],
        "stays": [
            {
                "title": stay.tenant.title,
                "start": stay.tenant.command,
                "fate": stay.fate,
                "healthy": stay.healthy,
                "answers": stay.answers,
                "answered": stay.answered,
                "renewals": stay.renewals,
                "samples": [asdict(sample) for sample in stay.samples],
            }
            for stay in result.stays
        ],
        "notes": result.notes,
    }


def _of(sample: Sample, name: str) -> Share:
    return sample.by_name.get(name, Share())


def _count(moments: list[float] | None) -> int | None:
    return None if moments is None else len(moments)


def _columns(cells: Iterable[str]) -> str:
    return "".join(f"{cell:<{COLUMN_WIDTH}}" for cell in cells)
