"""How far two models agree on the same photos; it knows nothing of files or of running them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermald_model.bundle import Answer

# The share of a map that counts as its hot spot.
HOT_SHARE = 0.2


@dataclass(frozen=True)
class Pair:
    """What two models say of one photo."""

    reference: Answer
    candidate: Answer

    @property
    def same_top(self) -> bool:
        """Whether the most probable class is the same."""
        return self.reference.top == self.candidate.top

    @property
    def change(self) -> float:
        """The largest change of any probability."""
        return float(np.abs(self.reference.probabilities - self.candidate.probabilities).max())

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of the heatmaps; None without two of them, or when one is flat."""
        maps = self._maps()
        if maps is None or min(float(one.std()) for one in maps) == 0:
            return None
        return float(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1])

    @property
    def overlap(self) -> float | None:
        """How much of the two hot spots is common: intersection over union of the hottest fifth."""
        maps = self._maps()
        if maps is None:
            return None
        hot = [one >= np.quantile(one, 1 - HOT_SHARE) for one in maps]
        return float((hot[0] & hot[1]).sum() / (hot[0] | hot[1]).sum())

    @property
    def difference(self) -> float | None:
        """The largest difference of the heatmaps."""
        maps = self._maps()
        return None if maps is None else float(np.abs(maps[0] - maps[1]).max())

    def _maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        if self.reference.heatmap is None or self.candidate.heatmap is None:
            return None
        first, second = self.reference.heatmap, self.candidate.heatmap
        if first.shape != second.shape:
            size = (first.shape[1], first.shape[0])
            wide = Image.fromarray(second).resize(size, Image.Resampling.BILINEAR)
            second = np.asarray(wide, np.float32)
        return first, second


@dataclass(frozen=True)
class Agreement:
    """The summary over many photos. Shares are of 1."""

    photos: int
    same_top: int
    # Of the largest change of a probability in each photo.
    mean_change: float
    p95_change: float
    worst_change: float
    correlation: float | None
    overlap: float | None

    @property
    def share(self) -> float:
        """Of photos with the same most probable class."""
        return self.same_top / self.photos

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % confidence interval (Wilson 1927), honest also at 0 and at 1."""
        z, n, p = 1.959964, self.photos, self.share
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
        return max(0.0, middle - half), min(1.0, middle + half)


def summarise(pairs: Iterable[Pair]) -> Agreement:
    """The summary; there must be at least one pair."""
    kept = list(pairs)
    changes = np.array([pair.change for pair in kept])
    correlations = [value for pair in kept if (value := pair.correlation) is not None]
    overlaps = [value for pair in kept if (value := pair.overlap) is not None]
    return Agreement(
        photos=len(kept),
        same_top=sum(pair.same_top for pair in kept),
        mean_change=float(changes.mean()),
        p95_change=float(np.quantile(changes, 0.95)),
        worst_change=float(changes.max()),
        correlation=float(np.mean(correlations)) if correlations else None,
        overlap=float(np.mean(overlaps)) if overlaps else None,
    )
