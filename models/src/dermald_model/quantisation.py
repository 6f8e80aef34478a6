"""From a float network and photos to its int8 form; it knows nothing of the command line."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from dermald_model import calibration, convolutions, int8, manifest, sensitivity
from dermald_model.gradcam import logits_of
from dermald_model.graph import Graph
from dermald_model.probe import Tensor
from dermald_model.refusal import Refusal

# Enough to tell which convolutions harm: each photo counts once for every class.
_TRIED = 16

# Passes things through, and shows how far it is.
Track = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Wish:
    """What the caller decides: a way of calibration, the largest weight, a share of float32's time,
    or instead of it how many convolutions stay in float."""

    calibration: str
    largest_weight: int
    time: float
    leave: int | None = None


@dataclass(frozen=True)
class Made:
    """The int8 network, and a sentence about it."""

    model: onnx.ModelProto
    told: str


def to_int8(
    model: onnx.ModelProto,
    description: manifest.Manifest,
    pictures: Sequence[Tensor],
    wish: Wish,
    track: Track,
) -> Made:
    """Calibrates, tries, chooses and rewrites. Fails with Refusal."""
    graph = Graph(model)
    found = convolutions.find(graph)
    names = list(dict.fromkeys(name for one in found for name in (one.input, one.output)))
    ranges = calibration.measure(model, description, names, pictures, wish.calibration, track)
    recipe = int8.Recipe(graph, ranges, wish.largest_weight)
    network = sensitivity.Network(
        model, description, logits_of(graph, description.output.tensor)[0]
    )
    few = pictures[:: max(1, len(pictures) // _TRIED)][:_TRIED]
    groups = convolutions.grouped(found)
    harms = sensitivity.measure(network, groups, recipe.quantised, few, track)
    choice = sensitivity.choose(network, harms, recipe.quantised, few, wish.time, wish.leave)
    if not choice.integer:
        raise Refusal(
            f"--leave {wish.leave}: only {choice.left} convolutions can become int8 at all"
        )
    result = recipe.quantised(choice.integer)
    # Rounding errors pass through curved activations, and what was noise becomes a shift that is
    # the same for every photo: for EfficientNetV2-S, two fifths of the squared error.
    shift = network.shift(result, pictures, track)
    told = (
        f"{len(choice.integer)} of {len(choice.integer) + choice.left} convolutions are int8, with "
        f"weights of {wish.largest_weight.bit_length() + 1} bits, calibrated on {len(pictures)} "
        f"photos ({wish.calibration}); those that harm most for their time stay in float."
    )
    return Made(int8.shifted(result, network.logits, shift), told)
