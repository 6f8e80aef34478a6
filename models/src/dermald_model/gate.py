"""Whether a quantised bundle still agrees with the one that it came from; it writes nothing."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dermald_model import bundle, photos, selftest
from dermald_model.agreement import Agreement, Pair, summarise


@dataclass(frozen=True)
class Verdict:
    """How two bundles compare: agreement, median milliseconds of each, bytes of each."""

    agreement: Agreement
    milliseconds: tuple[float, float]
    sizes_bytes: tuple[int, int]
    drawn: bool

    def table(self, precision: str) -> Table:
        """The verdict for a terminal."""
        found, (low, high) = self.agreement, self.agreement.interval
        table = Table(title=f"{found.photos} {'drawn pictures' if self.drawn else 'photos'}")
        table.add_column("")
        table.add_column("before", justify="right")
        table.add_column(precision, justify="right")
        share = f"{found.share:.1%} (95 %: {low:.1%} to {high:.1%})"
        table.add_row("same most probable class", "", share)
        table.add_row("mean change of a probability", "", f"{found.mean_change:.4f}")
        table.add_row("at most, in 95 of 100 photos", "", f"{found.p95_change:.4f}")
        table.add_row("worst", "", f"{found.worst_change:.4f}")
        if found.correlation is not None and found.overlap is not None:
            table.add_row("correlation of heatmaps", "", f"{found.correlation:.4f}")
            table.add_row("overlap of their hottest fifths", "", f"{found.overlap:.1%}")
        table.add_row("files, MB", *(f"{size / 1e6:.1f}" for size in self.sizes_bytes))
        before, after = self.milliseconds
        taken = f"{after:.1f} ({after / before:.0%})"
        table.add_row("median time, ms, one thread", f"{before:.1f}", taken)
        return table


def compare(original: Path, folder: Path, files: list[Path], console: Console) -> Verdict:
    """Runs both bundles on the same photos, in turn."""
    runners = bundle.Runner(original), bundle.Runner(folder)
    size = runners[0].manifest.input
    drawn = [] if files else selftest.pictures(size.width, size.height)
    pairs, times = [], []
    subjects: list[Path | bundle.Pixels] = [*files, *drawn]
    for one in track(subjects, "comparing with the original", console=console):
        photo = photos.load(one) if isinstance(one, Path) else Image.fromarray(one)
        small = bundle.fitted(photo, size)
        marks = [time.perf_counter()]
        answers = []
        for runner in runners:
            answers.append(runner.answer(small))
            marks.append(time.perf_counter())
        pairs.append(Pair(*answers))
        times.append(np.diff(marks))
    medians = np.median(times, axis=0) * 1000
    return Verdict(
        summarise(pairs),
        (float(medians[0]), float(medians[1])),
        (bundle.size_bytes(original), bundle.size_bytes(folder)),
        not files,
    )


def failed(found: Agreement, agreement: float, change: float) -> list[str]:
    """What is not good enough, as sentences without their ends.

    The share of agreement counts, not the lower end of its interval. That end passes 98 % only from
    189 photos without a single difference: whoever has sixty could never quantise. The change of
    probabilities needs fewer photos and guards against luck.
    """
    sentences = []
    if found.share < agreement:
        sentences.append(
            f"the most probable class is the same in {found.share:.1%} of the photos where "
            f"{agreement:.1%} are asked for"
        )
    # Written so that it also catches what is no number.
    if not found.p95_change <= change:
        sentences.append(
            f"probabilities change by up to {found.p95_change:.3f} in 95 of 100 photos where "
            f"{change:g} is allowed"
        )
    return sentences
