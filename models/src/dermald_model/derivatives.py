"""How each operator of a classifier's tail is differentiated.

A rule gets the derivative by its node's output and gives the derivative by each input that is
asked for. The formulas are those of any calculus text. Functions of one number stand in `curves`,
what slides over a picture in `spatial`.
"""

import math
from collections.abc import Callable
from typing import Any

from dermald_model import curves, spatial
from dermald_model.graph import Shape
from dermald_model.step import Gradient, Rule, Step, as_float


def _passed_on(step: Step, _places: set[int]) -> dict[int, Gradient]:
    return {0: step.gradient}


def _cast(step: Step, _places: set[int]) -> dict[int, Gradient]:
    if not (step.graph.is_float(step.input(0)) and step.graph.is_float(step.output)):
        raise step.uncovered(", which changes the type; convert a float32 model")
    return {0: step.gradient}


# Of several tensors -------------------------------------------------------------------------


def _elementwise(parts: Callable[[Step, int], Gradient]) -> Rule:
    """The rule of an operator that broadcasts its inputs."""

    def rule(step: Step, places: set[int]) -> dict[int, Gradient]:
        full = step.graph.shape(step.output)
        return {p: step.shrink(parts(step, p), full, step.shape(p)) for p in sorted(places)}

    return rule


def _sum(step: Step, _place: int) -> Gradient:
    return step.gradient


def _sub(step: Step, place: int) -> Gradient:
    return step.gradient if place == 0 else step.times(step.gradient, -1.0)


def _mul(step: Step, place: int) -> Gradient:
    return step.times(step.gradient, step.input(1 - place))


def _div(step: Step, place: int) -> Gradient:
    over = step.times(step.gradient, step.apply("Reciprocal", step.input(1)))
    return over if place == 0 else step.times(over, step.output, -1.0)


def _mean(step: Step, _place: int) -> Gradient:
    return step.times(step.gradient, 1 / len(step.node.input))


def _extreme(step: Step, place: int) -> Gradient:
    chosen = step.apply("Equal", step.input(place), step.output)
    return step.where(chosen, step.gradient)


def _choice(step: Step, place: int) -> Gradient:
    condition = step.input(0)
    return step.where(condition if place == 1 else step.apply("Not", condition), step.gradient)


# Shapes -------------------------------------------------------------------------------------


def _reshape(step: Step, _places: set[int]) -> dict[int, Gradient]:
    whole = step.whole(step.gradient, step.graph.shape(step.output))
    return {0: Gradient(step.graph.reshape(whole, step.shape()), step.shape())}


def _transpose(step: Step, _places: set[int]) -> dict[int, Gradient]:
    gradient = step.gradient
    order = step.attributes.get("perm", list(reversed(range(len(gradient.shape)))))
    back = [order.index(axis) for axis in range(len(order))]
    shape = tuple(gradient.shape[axis] for axis in back)
    return {0: Gradient(step.graph.add("Transpose", [gradient.name], shape, perm=back), shape)}


def _concat(step: Step, places: set[int]) -> dict[int, Gradient]:
    gradient = step.gradient
    axis = step.attributes["axis"] % len(gradient.shape)
    if gradient.shape[axis] == 1:
        return dict.fromkeys(places, gradient)
    lengths = [step.shape(place)[axis] or 0 for place in range(len(step.node.input))]
    parts = {}
    for place in places:
        start = sum(lengths[:place])
        shape = (*gradient.shape[:axis], lengths[place], *gradient.shape[axis + 1 :])
        part = step.graph.slice(gradient.name, axis, start, start + lengths[place], shape)
        parts[place] = Gradient(part, shape)
    return parts


def _split(step: Step, _places: set[int]) -> dict[int, Gradient]:
    full = step.shape()
    axis = step.attributes.get("axis", 0) % len(full)
    parts = []
    for name, gradient in zip(step.node.output, step.gradients, strict=True):
        shape = step.graph.shape(name)
        known = gradient or Gradient(step.number(0), (1,) * len(shape))
        if gradient is None:
            known = Gradient(step.graph.reshape(known.name, known.shape), known.shape)
        parts.append(step.whole(known, shape))
    return {0: Gradient(step.graph.add("Concat", parts, full, axis=axis), full)}


# Sums over axes -----------------------------------------------------------------------------


def _axes(step: Step, rank: int) -> list[int]:
    listed: Any = step.attributes.get("axes")
    if listed is None and step.input(1):
        listed = step.constant(1).tolist()
    if not listed:
        return list(range(rank))
    return [axis % rank for axis in listed]


def _kept(step: Step) -> tuple[Gradient, str, list[int], int]:
    """Of a reduction: gradient and output with the reduced axes at length 1, the axes, and how
    many elements went into one."""
    full = step.shape()
    axes = _axes(step, len(full))
    lengths = [full[axis] for axis in axes]
    if None in lengths:
        raise step.uncovered(", which adds up over the batch")
    keep: Shape = tuple(1 if axis in axes else length for axis, length in enumerate(full))
    whole = step.whole(step.gradient, step.graph.shape(step.output))
    gradient = Gradient(step.graph.reshape(whole, keep), keep)
    count = math.prod(length for length in lengths if length is not None)
    return gradient, step.graph.reshape(step.output, keep), axes, count


def _reduce_sum(step: Step, _places: set[int]) -> dict[int, Gradient]:
    return {0: _kept(step)[0]}


def _reduce_mean(step: Step, _places: set[int]) -> dict[int, Gradient]:
    gradient, _, _, count = _kept(step)
    return {0: step.times(gradient, 1 / count)}


def _reduce_extreme(step: Step, _places: set[int]) -> dict[int, Gradient]:
    gradient, extreme, axes, _ = _kept(step)
    chosen = as_float(step, step.apply("Equal", step.input(0), extreme))
    # Several greatest elements share the gradient, as in both frameworks.
    count = step.graph.reduce("ReduceSum", chosen, axes)
    return {0: step.times(gradient, step.apply("Div", chosen, count))}


def _reduce_l2(step: Step, _places: set[int]) -> dict[int, Gradient]:
    gradient, norm, _, _ = _kept(step)
    return {0: step.times(gradient, step.apply("Div", step.input(0), norm))}


def _softmax(step: Step, _places: set[int]) -> dict[int, Gradient]:
    axis = step.attributes.get("axis", -1) % len(step.shape())
    # y (g - sum of g y)
    weighted = step.times(step.gradient, step.output)
    total = step.graph.reduce("ReduceSum", weighted.name, [axis])
    share = step.apply("Sub", step.gradient.name, total)
    return {0: step.times(Gradient(share, step.graph.shape(share)), step.output)}


def _log_softmax(step: Step, _places: set[int]) -> dict[int, Gradient]:
    axis = step.attributes.get("axis", -1) % len(step.shape())
    whole = step.whole(step.gradient, step.shape())
    total = step.graph.reduce("ReduceSum", whole, [axis])
    pulled = step.apply("Mul", step.apply("Exp", step.output), total)
    return {0: Gradient(step.apply("Sub", whole, pulled), step.shape())}


# Products and norms -------------------------------------------------------------------------


def _gemm(step: Step, places: set[int]) -> dict[int, Gradient]:
    if places != {0} or step.attributes.get("transA", 0):
        raise step.uncovered(", whose weights are computed")
    whole = step.whole(step.gradient, step.graph.shape(step.output))
    flipped = {"alpha": step.attributes.get("alpha", 1.0)}
    turn = 0 if step.attributes.get("transB", 0) else 1
    name = step.graph.add("Gemm", [whole, step.input(1)], step.shape(), transB=turn, **flipped)
    return {0: Gradient(name, step.shape())}


def _matmul(step: Step, places: set[int]) -> dict[int, Gradient]:
    left, right = step.shape(0), step.shape(1)
    if len(left) < 2 or len(right) < 2:
        raise step.uncovered(" with a vector")
    full = step.graph.shape(step.output)
    whole = step.whole(step.gradient, full)
    found = {}
    if 0 in places and len(right) == 2:
        # The same weights serve, read the other way round: no second copy of a large matrix.
        count = None if None in full else math.prod(n or 0 for n in full[:-1])
        rows = step.graph.reshape(whole, (count, right[1]))
        back = step.graph.add("Gemm", [rows, step.input(1)], (count, right[0]), transB=1)
        found[0] = Gradient(step.graph.reshape(back, left), left)
    elif 0 in places:
        back = _product(step, whole, _turned(step, step.input(1)))
        found[0] = step.shrink(Gradient(back, step.graph.shape(back)), (*full[:-1], left[-1]), left)
    if 1 in places:
        back = _product(step, _turned(step, step.input(0)), whole)
        grown = (*full[:-2], *right[-2:])
        found[1] = step.shrink(Gradient(back, step.graph.shape(back)), grown, right)
    return found


def _turned(step: Step, name: str) -> str:
    """A matrix, or a stack of them, with rows and columns exchanged."""
    shape = step.graph.shape(name)
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    return step.graph.add("Transpose", [name], tuple(shape[a] for a in order), perm=order)


def _product(step: Step, left: str, right: str) -> str:
    a, b = step.graph.shape(left), step.graph.shape(right)
    longer = a if len(a) >= len(b) else b
    return step.graph.add("MatMul", [left, right], (*longer[:-2], a[-2], b[-1]))


def _layer_norm(step: Step, places: set[int]) -> dict[int, Gradient]:
    if places != {0}:
        raise step.uncovered(", whose weights are computed")
    shape = step.shape()
    axes = list(range(step.attributes.get("axis", -1) % len(shape), len(shape)))
    x = step.input(0)
    centred = step.apply("Sub", x, step.graph.reduce("ReduceMean", x, axes))
    square = step.graph.reduce("ReduceMean", step.apply("Mul", centred, centred), axes)
    room = step.number(step.attributes.get("epsilon", 1e-5))
    scale = step.apply("Reciprocal", step.apply("Sqrt", step.apply("Add", square, room)))
    normal = step.apply("Mul", centred, scale)
    # s (g - mean of g - n mean of g n), where g is the gradient times the norm's own weights
    g = step.whole(step.times(step.gradient, step.input(1)), shape)
    mean = step.graph.reduce("ReduceMean", g, axes)
    along = step.graph.reduce("ReduceMean", step.apply("Mul", g, normal), axes)
    rest = step.apply("Sub", step.apply("Sub", g, mean), step.apply("Mul", normal, along))
    return {0: Gradient(step.apply("Mul", rest, scale), shape)}


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Dropout"), _passed_on),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Add", "Sum"), _elementwise(_sum)),
    **dict.fromkeys(("Max", "Min"), _elementwise(_extreme)),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), _reduce_extreme),
    "Cast": _cast,
    "Concat": _concat,
    "Div": _elementwise(_div),
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _log_softmax,
    "MatMul": _matmul,
    "Mean": _elementwise(_mean),
    "Mul": _elementwise(_mul),
    "ReduceL2": _reduce_l2,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Softmax": _softmax,
    "Split": _split,
    "Sub": _elementwise(_sub),
    "Transpose": _transpose,
    "Where": _elementwise(_choice),
    **curves.RULES,
    **spatial.RULES,
}
