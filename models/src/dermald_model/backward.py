"""Reverse mode over an ONNX graph: the derivative of a score as forward nodes of the same graph.

Frameworks run a network backwards when they are asked for a gradient. Here the backward pass is
written down once, as nodes, when a model is converted. It only has to cover the tail of a
classifier, from the layer that Grad-CAM looks at to the score. How each operator is
differentiated stands in `derivatives` and, for what slides over a picture, in `spatial`.
"""

from dermald_model.derivatives import RULES
from dermald_model.graph import Graph, GraphError
from dermald_model.step import Gradient, Step

# Operators whose outputs do not change when their inputs change a little.
_STEPS = frozenset(
    {
        *("ArgMax", "ArgMin", "NonZero", "Shape", "Size"),
        *("And", "Equal", "Greater", "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual", "Not", "Or"),
        *("Ceil", "Floor", "Round", "Sign"),
    }
)


def derive(graph: Graph, output: str, seed: Gradient, target: str) -> Gradient:
    """The derivative of a score by `target`, given its derivative `seed` by `output`.

    Fails with UncoveredOperatorError, naming the operator, or with GraphError when `target` has
    no influence on `output`.
    """
    reached = _downstream(graph, target)
    gradients = {output: seed}
    for node in reversed(graph.network):
        outgoing = [gradients.get(name) for name in node.output]
        places = {place for place, name in enumerate(node.input) if name in reached}
        if not places or not any(outgoing) or node.op_type in _STEPS:
            continue
        step = Step(graph, node, outgoing)
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise step.uncovered()
        for place, gradient in rule(step, places).items():
            name = node.input[place]
            gradients[name] = _sum(step, gradients.get(name), gradient)
    if target not in gradients:
        raise GraphError(f"the tensor {target!r} has no influence on the output {output!r}")
    return gradients[target]


def _sum(step: Step, known: Gradient | None, more: Gradient) -> Gradient:
    if known is None:
        return more
    name = step.apply("Add", known.name, more.name)
    return Gradient(name, step.graph.shape(name))


def _downstream(graph: Graph, target: str) -> set[str]:
    """The target and every tensor that depends on it."""
    reached = {target}
    for node in graph.network:
        # What makes the target, and what else that makes, does not depend on it.
        if target not in node.output and not reached.isdisjoint(node.input):
            reached.update(name for name in node.output if name)
    return reached
