"""The convolutions of a network that may become int8; it knows nothing of photos or of rounding.

Not among them are depthwise ones (they do so little with each number that rounding it costs more
than it saves) and those that the heatmap is read from: what explains a decision stays in float.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermald_model.graph import Graph, attributes
from dermald_model.refusal import Refusal

# Quantising channel by channel came with this opset.
_OPSET = 13
_EXPLANATION = "gradcam/"
# A weight costs at least as much as so many multiplications: it must be read. This is what the
# convolutions of squeeze-and-excite blocks cost, which have one position.
_READING = 20


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution by the names of its tensors; weights [out, in, height, width]."""

    input: str
    output: str
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    # Multiplications for one picture, or what costs as much.
    work: int
    positions: int


def find(graph: Graph) -> list[Convolution]:
    """The candidates, in the graph's order. Fails with Refusal when there are none."""
    if graph.opset < _OPSET:
        raise Refusal(f"int8 needs opset {_OPSET} or later, this graph has {graph.opset}")
    explained = _explained(graph.network)
    found = [
        one
        for node in graph.network
        if node.op_type == "Conv" and node.output[0] not in explained
        for one in _candidate(graph, node)
    ]
    if not found:
        raise Refusal("the network has no convolution that int8 would make faster")
    return found


def _candidate(graph: Graph, node: Any) -> list[Convolution]:
    weights = graph.constant(node.input[1])
    named = len(node.input) > 2 and node.input[2]
    bias = graph.constant(node.input[2]) if named else None
    if weights is None or weights.ndim != 4 or attributes(node).get("group", 1) != 1:
        return []
    positions = int(np.prod([length or 1 for length in graph.shape(node.output[0])[2:]]))
    if named and bias is None:
        return []
    if bias is None:
        bias = np.zeros(len(weights))
    wide = weights.astype(np.float64), bias.astype(np.float64)
    work = weights.size * max(positions, _READING)
    return [Convolution(node.input[0], node.output[0], *wide, work, positions)]


def grouped(found: Sequence[Convolution]) -> list[list[Convolution]]:
    """What is decided together: those of a single position, which are many and small."""
    groups = [[one] for one in found if one.positions > 1]
    single = [one for one in found if one.positions == 1]
    return [*groups, single] if single else groups


def _explained(nodes: list[Any]) -> set[str]:
    """The tensors that Grad-CAM reads, and everything that is computed from them."""
    # Constants are read by anyone: the bounds of a ReLU6 by every ReLU6 of the network.
    computed = {name for node in nodes for name in node.output}
    explanation = [node for node in nodes if node.name.startswith(_EXPLANATION)]
    reached = computed.intersection(name for node in explanation for name in node.input)
    for node in nodes:
        if not reached.isdisjoint(node.input):
            reached.update(node.output)
    return reached
