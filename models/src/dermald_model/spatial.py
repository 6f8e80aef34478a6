"""How operators that slide over a picture are differentiated: convolutions, pooling, norms.

Tensors are [batch, channels, height, width].
"""

import math
from typing import Any

import numpy as np

from dermald_model.graph import Shape
from dermald_model.step import Gradient, Rule, Step, as_float

_SPACE = (2, 3)


def _sides(step: Step, shape: Shape) -> list[int]:
    """Height and width."""
    if len(shape) != 4 or None in shape[1:]:
        raise step.uncovered(f" on a tensor of shape {list(shape)}")
    return [length for length in shape[2:] if length is not None]


def _window(step: Step, kernel: list[int]) -> dict[str, list[int]]:
    """Strides, dilations and pads of a window, with what ONNX leaves out filled in."""
    if "auto_pad" in step.attributes and step.attributes["auto_pad"] not in ("NOTSET", "VALID"):
        pads = _auto_pads(step, kernel)
    else:
        pads = list(step.attributes.get("pads", [0, 0, 0, 0]))
    return {
        "kernel_shape": kernel,
        "strides": list(step.attributes.get("strides", [1, 1])),
        "dilations": list(step.attributes.get("dilations", [1, 1])),
        "pads": pads,
    }


def _auto_pads(step: Step, kernel: list[int]) -> list[int]:
    strides = step.attributes.get("strides", [1, 1])
    dilations = step.attributes.get("dilations", [1, 1])
    sides = zip(_sides(step, step.shape()), kernel, strides, dilations, strict=True)
    total = [
        max(0, (math.ceil(side / stride) - 1) * stride + (size - 1) * dilation + 1 - side)
        for side, size, stride, dilation in sides
    ]
    less, more = [n // 2 for n in total], [n - n // 2 for n in total]
    return less + more if step.attributes["auto_pad"] == "SAME_UPPER" else more + less


def _spread(
    step: Step, gradient: str, weights: str, window: dict[str, list[int]], group: int
) -> str:
    """The transposed convolution that carries a gradient back to the input's size."""
    full, small = step.shape(), step.graph.shape(gradient)
    rest = []
    for axis, side in enumerate(_sides(step, full)):
        covered = (
            ((small[2 + axis] or 0) - 1) * window["strides"][axis]
            + (window["kernel_shape"][axis] - 1) * window["dilations"][axis]
            + 1
            - window["pads"][axis]
            - window["pads"][axis + 2]
        )
        rest.append(side - covered)
    options: dict[str, Any] = {"group": group, "output_padding": rest, **window}
    return step.graph.add("ConvTranspose", [gradient, weights], full, **options)


def _conv(step: Step, places: set[int]) -> dict[int, Gradient]:
    if places != {0}:
        raise step.uncovered(", whose weights are computed")
    _sides(step, step.shape())
    kernel = [length or 0 for length in step.shape(1)[2:]]
    window = _window(step, kernel)
    group = step.attributes.get("group", 1)
    gradient = step.gradient
    full = step.graph.shape(step.output)
    pointwise = kernel == [1, 1] and window["strides"] == [1, 1] and not any(window["pads"])
    if pointwise and gradient.shape[2:] == (1, 1):
        # The same everywhere before, so the same everywhere behind it.
        whole = step.whole(gradient, full, axes=[0, 1])
        shape: Shape = (gradient.shape[0], step.shape()[1], 1, 1)
        name = step.graph.add(
            "ConvTranspose", [whole, step.input(1)], shape, group=group, kernel_shape=kernel
        )
        return {0: Gradient(name, shape)}
    whole = step.whole(gradient, full)
    return {0: Gradient(_spread(step, whole, step.input(1), window, group), step.shape())}


def _global_average(step: Step, _places: set[int]) -> dict[int, Gradient]:
    return {0: step.times(step.gradient, 1 / math.prod(_sides(step, step.shape())))}


def _global_max(step: Step, _places: set[int]) -> dict[int, Gradient]:
    chosen = as_float(step, step.apply("Equal", step.input(0), step.output))
    # Several greatest elements share the gradient: the mean over space, which Grad-CAM takes, is
    # the same as if the first of them had it all.
    count = step.graph.reduce("ReduceSum", chosen, _SPACE)
    return {0: step.times(step.gradient, step.apply("Div", chosen, count))}


def _average_pool(step: Step, _places: set[int]) -> dict[int, Gradient]:
    sides = _sides(step, step.shape())
    kernel = list(step.attributes["kernel_shape"])
    window = _window(step, kernel)
    if step.attributes.get("ceil_mode", 0) or window["dilations"] != [1, 1]:
        raise step.uncovered(" with ceil_mode or dilations")
    whole = step.whole(step.gradient, step.graph.shape(step.output))
    counts = _counts(sides, window, bool(step.attributes.get("count_include_pad", 0)))
    shared = step.apply("Mul", whole, step.graph.add_constant(np.float32(1) / counts))
    channels = step.shape()[1] or 0
    ones = step.graph.add_constant(np.ones((channels, 1, *kernel), np.float32))
    return {0: Gradient(_spread(step, shared, ones, window, channels), step.shape())}


def _counts(sides: list[int], window: dict[str, list[int]], with_pad: bool) -> np.ndarray:
    """How many elements each mean is taken over, float32 [1, 1, height, width]."""
    lines = []
    for axis, side in enumerate(sides):
        before, after = window["pads"][axis], window["pads"][axis + 2]
        size, stride = window["kernel_shape"][axis], window["strides"][axis]
        starts = np.arange(-before, side + after - size + 1, stride)
        inside = np.minimum(starts + size, side) - np.maximum(starts, 0)
        lines.append(np.full_like(inside, size) if with_pad else inside)
    counts = np.outer(*lines).astype(np.float32)
    return counts[None, None]


def _max_pool(step: Step, _places: set[int]) -> dict[int, Gradient]:
    gradient = step.gradient
    full, small = step.shape(), step.graph.shape(step.output)
    if full[0] != 1 or step.attributes.get("storage_order", 0):
        raise step.uncovered(" in a batch")
    whole = step.whole(gradient, small)
    options = {k: v for k, v in step.attributes.items() if k != "storage_order"}
    # Where each maximum was found, counted through the whole input.
    places = step.graph.add("MaxPool", [step.input(0)], small, outputs=2, **options)
    length, count = math.prod(n or 0 for n in full), math.prod(n or 0 for n in small)
    zeros = step.graph.expand(step.graph.reshape(step.number(0), (1,)), (length,))
    spread = step.graph.add(
        "ScatterElements",
        [zeros, step.graph.reshape(places, (count,)), step.graph.reshape(whole, (count,))],
        (length,),
        axis=0,
        reduction="add",
    )
    return {0: Gradient(step.graph.reshape(spread, full), full)}


def _batch_norm(step: Step, places: set[int]) -> dict[int, Gradient]:
    if places != {0}:
        raise step.uncovered(", whose weights are computed")
    scale, variance = (step.constant(place).astype(np.float64) for place in (1, 4))
    slope = scale / np.sqrt(variance + step.attributes.get("epsilon", 1e-5))
    column = slope.astype(np.float32).reshape(1, -1, *([1] * (len(step.shape()) - 2)))
    return {0: step.times(step.gradient, step.graph.add_constant(column))}


RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "MaxPool": _max_pool,
}
