"""Which convolutions stay in float, found by measuring; it knows nothing of how they are rewritten.

Each convolution is made int8 alone, and what that does to the probabilities is measured. Rounding
errors of different places are independent, so their squares add up: the sum of the squares predicts
the whole (0.0048 predicted and 0.0043 found for EfficientNetV2-S with twelve left in float). The
ones that harm most for the time they save stay in float, as many as the time allows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from dermald_model import manifest
from dermald_model.convolutions import Convolution
from dermald_model.probe import Probe, Tensor, share_of_time

_THREADS = 2

Rewrite = Callable[[Sequence[Convolution]], onnx.ModelProto]
Track = Callable[[Sequence[Convolution], str], Iterable[Convolution]]


@dataclass(frozen=True)
class Harm:
    """A convolution, and the mean change of the most changed probability when it alone is int8."""

    convolution: Convolution
    change: float

    @property
    def for_its_time(self) -> float:
        """The squared change for each multiplication."""
        return self.change**2 / self.convolution.work


@dataclass(frozen=True)
class Choice:
    """Which become int8, and the share of float32's time that the whole then takes here."""

    integer: list[Convolution]
    left: list[Harm]
    time: float


def measure(
    model: onnx.ModelProto,
    description: manifest.Manifest,
    candidates: Sequence[Convolution],
    rewrite: Rewrite,
    pictures: Sequence[Tensor],
    track: Track,
) -> list[Harm]:
    """Tries every candidate alone; the most harmful for its time comes first."""
    reference = _answers(model, description, pictures)
    found = []
    for one in track(candidates, "trying each convolution in int8"):
        answers = _answers(rewrite([one]), description, pictures)
        found.append(Harm(one, float(np.abs(answers - reference).max(axis=1).mean())))
    return sorted(found, key=lambda harm: harm.for_its_time, reverse=True)


def choose(
    model: onnx.ModelProto,
    description: manifest.Manifest,
    harms: Sequence[Harm],
    rewrite: Rewrite,
    pictures: Sequence[Tensor],
    budget: float,
) -> Choice:
    """Leaves as many in float as keep the time within `budget`, a share of float32's.

    With none left in float the time may still be above it: then that is the choice.
    """
    reference = Probe(model, description)

    def tried(count: int) -> Choice:
        integer = [harm.convolution for harm in harms[count:]]
        probe = Probe(rewrite(integer), description)
        time = share_of_time(reference, probe, pictures)
        return Choice(integer, list(harms[:count]), time)

    best, low, high = tried(0), 0, len(harms)
    while high - low > 1 and best.time <= budget:
        middle = (low + high) // 2
        choice = tried(middle)
        if choice.time <= budget:
            best, low = choice, middle
        else:
            high = middle
    return best


def _answers(
    model: onnx.ModelProto, description: manifest.Manifest, pictures: Sequence[Tensor]
) -> Tensor:
    probe = Probe(model, description, _THREADS)
    return np.stack([probe.probabilities(picture) for picture in pictures])
