"""One node on the way back: what the rule of its operator is given and builds its derivative with.

A gradient that is the same for every element along an axis keeps length 1 there. Behind global
average pooling that is so for height and width: the whole backward pass then works on one number
a channel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto

from dermald_model.graph import Graph, GraphError, Shape, attributes, broadcast


class UncoveredOperatorError(GraphError):
    """An operator between layer and score that cannot be differentiated here."""

    def __init__(self, node: Any, why: str = "") -> None:
        self.operator = str(node.op_type)
        name = node.name or node.output[0]
        super().__init__(
            f"Grad-CAM does not get past the operator {self.operator} ({name}){why}; choose a "
            "layer behind it with --layer, or convert without Grad-CAM with --no-gradcam"
        )


@dataclass(frozen=True)
class Gradient:
    """The derivative of the score by one tensor.

    `shape` has the tensor's rank. Where it is 1 and the tensor is longer, the derivative is the
    same along that axis.
    """

    name: str
    shape: Shape


class Step:
    """One node on the way back, and what its derivative is made with."""

    def __init__(self, graph: Graph, node: Any, gradients: list[Gradient | None]) -> None:
        self.graph = graph
        self.node = node
        self.attributes = attributes(node)
        self.gradients = gradients

    @property
    def gradient(self) -> Gradient:
        """The derivative by the first output."""
        if self.gradients[0] is None or any(self.gradients[1:]):
            raise self.uncovered(", whose further outputs are used")
        return self.gradients[0]

    @property
    def output(self) -> str:
        """The name of the first output."""
        return str(self.node.output[0])

    def input(self, place: int) -> str:
        """The name of an input; an optional one that is left out has the name ''."""
        return str(self.node.input[place]) if place < len(self.node.input) else ""

    def shape(self, place: int = 0) -> Shape:
        """The shape of an input."""
        return self.graph.shape(self.input(place))

    def constant(self, place: int) -> Any:
        """The value of an input that must be a constant."""
        value = self.graph.constant(self.input(place))
        if value is None:
            raise self.uncovered(f", whose input {place} is computed")
        return value

    def uncovered(self, why: str = "") -> UncoveredOperatorError:
        """This node, as the one that stops us."""
        return UncoveredOperatorError(self.node, why)

    def apply(self, operator: str, *names: str, **attributes: Any) -> str:
        """Adds an elementwise node."""
        shape = broadcast(*(self.graph.shape(name) for name in names))
        return self.graph.add(operator, names, shape, **attributes)

    def number(self, value: float) -> str:
        """A constant."""
        return self.graph.number(value)

    def times(self, gradient: Gradient, *factors: str | float) -> Gradient:
        """The gradient times tensors or numbers, elementwise."""
        name = gradient.name
        for factor in factors:
            if factor == 1.0:
                continue
            other = factor if isinstance(factor, str) else self.number(factor)
            name = self.apply("Mul", name, other)
        return Gradient(name, self.graph.shape(name))

    def where(self, condition: str, gradient: Gradient) -> Gradient:
        """The gradient where a condition holds, 0 elsewhere."""
        name = self.apply("Where", condition, gradient.name, self.number(0))
        return Gradient(name, self.graph.shape(name))

    def whole(self, gradient: Gradient, shape: Shape, axes: Iterable[int] | None = None) -> str:
        """The name of the gradient, repeated along `axes` (all of them) where it was kept short."""
        chosen = set(range(len(shape)) if axes is None else axes)
        wanted = tuple(
            full if axis in chosen else kept
            for axis, (full, kept) in enumerate(zip(shape, gradient.shape, strict=True))
        )
        return self.graph.expand(gradient.name, wanted)

    def shrink(self, gradient: Gradient, full: Shape, shape: Shape) -> Gradient:
        """The gradient by an input of `shape` that was broadcast to `full`: the sum over what it
        was repeated along."""
        extra = len(full) - len(shape)
        repeated = [
            axis
            for axis, length in enumerate(full)
            if length != 1 and (axis < extra or shape[axis - extra] == 1)
        ]
        summed = [axis for axis in repeated if gradient.shape[axis] != 1]
        times = 1.0
        for axis in set(repeated) - set(summed):
            length = full[axis]
            if length is None:
                raise self.uncovered(", which adds up over the batch")
            times *= length
        name = self.times(gradient, times).name
        if summed:
            name = self.graph.reduce("ReduceSum", name, summed)
        if extra:
            name = self.graph.reshape(name, self.graph.shape(name)[extra:])
        return Gradient(name, self.graph.shape(name))


# Gives the derivatives by those inputs whose places are asked for.
Rule = Callable[[Step, set[int]], dict[int, Gradient]]


def as_float(step: Step, condition: str) -> str:
    """A condition as 1.0 and 0.0."""
    return step.graph.add("Cast", [condition], step.graph.shape(condition), to=TensorProto.FLOAT)
