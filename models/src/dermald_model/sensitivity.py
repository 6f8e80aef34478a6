"""Which convolutions stay in float, found by measuring; it knows nothing of how they are rewritten.

Each convolution is made int8 alone, and what that does to the logits is measured; probabilities
would tell nothing on photos that the network is sure of. Rounding errors of different places are
independent, so their squares add up. The ones that harm most for the time they save stay in float,
as many as the time allows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dermald_model import manifest
from dermald_model.convolutions import Convolution
from dermald_model.probe import Probe, Tensor, share_of_time

_THREADS = 2

Group = list[Convolution]
Rewrite = Callable[[Sequence[Convolution]], onnx.ModelProto]
Track = Callable[[Sequence[Any], str], Iterable[Any]]
Table = NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """A float network with the tensor [1, classes] that its answer is made from."""

    model: onnx.ModelProto
    description: manifest.Manifest
    logits: str

    def logits_of(self, model: onnx.ModelProto, pictures: Iterable[Tensor]) -> Table:
        """The logits [pictures, classes] that this network has in a rewritten form."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        if self.logits not in {info.name for info in copy.graph.output}:
            output = helper.make_tensor_value_info(self.logits, TensorProto.FLOAT, None)
            copy.graph.output.append(output)
        probe = Probe(copy, self.description, _THREADS)
        found = [probe.tensors([self.logits], picture)[0][0] for picture in pictures]
        return np.stack(found).astype(np.float64)

    def shift(
        self, model: onnx.ModelProto, pictures: Sequence[Tensor], track: Track
    ) -> NDArray[np.float64]:
        """What each class's logit lacks in a rewritten form, on the average."""
        both = [
            self.logits_of(one, track(pictures, what))
            for one, what in (
                (self.model, "finding what rounding shifts: before"),
                (model, "finding what rounding shifts: after"),
            )
        ]
        difference = both[0] - both[1]
        shift: NDArray[np.float64] = difference.mean(axis=0)
        return shift


@dataclass(frozen=True)
class Harm:
    """Convolutions, and how much the logits scatter when they alone are int8."""

    convolutions: Group
    scatter: float

    @property
    def for_its_time(self) -> float:
        """The square of the scatter for each multiplication."""
        return self.scatter**2 / sum(one.work for one in self.convolutions)


@dataclass(frozen=True)
class Choice:
    """Which become int8, how many do not, and the share of float32's time that is taken here."""

    integer: list[Convolution]
    left: int
    time: float


def measure(
    network: Network,
    groups: Sequence[Group],
    rewrite: Rewrite,
    pictures: Sequence[Tensor],
    track: Track,
) -> list[Harm]:
    """Tries every group alone; the most harmful for its time comes first."""
    reference = network.logits_of(network.model, pictures)
    found = []
    for group in track(groups, "trying each convolution in int8"):
        difference = network.logits_of(rewrite(group), pictures) - reference
        # What all photos share is put right afterwards, and what all classes share changes nothing.
        difference -= difference.mean(axis=0)
        difference -= difference.mean(axis=1, keepdims=True)
        found.append(Harm(group, float(np.sqrt((difference**2).mean()))))
    return sorted(found, key=lambda harm: harm.for_its_time, reverse=True)


def choose(
    network: Network,
    harms: Sequence[Harm],
    rewrite: Rewrite,
    pictures: Sequence[Tensor],
    budget: float,
    leave: int | None = None,
) -> Choice:
    """Leaves as many in float as keep the time within `budget`, a share of float32's.

    With none left in float the time may still be above it: then that is the choice. With `leave`
    that many convolutions stay in float, and those that share an input with the last of them.
    """
    reference = Probe(network.model, network.description)

    def tried(count: int) -> Choice:
        left = sum(len(harm.convolutions) for harm in harms[:count])
        integer = [one for harm in harms[count:] for one in harm.convolutions]
        probe = Probe(rewrite(integer), network.description)
        return Choice(integer, left, share_of_time(reference, probe, pictures))

    if leave is not None:
        sizes = np.cumsum([len(harm.convolutions) for harm in harms])
        return tried(int(np.searchsorted(sizes, leave)) + 1 if leave else 0)
    best, low, high = tried(0), 0, len(harms)
    while high - low > 1 and best.time <= budget:
        middle = (low + high) // 2
        choice = tried(middle)
        if choice.time <= budget:
            best, low = choice, middle
        else:
            high = middle
    return best
