"""Grad-CAM as forward nodes of an ONNX graph; it knows nothing of any particular network.

It covers networks that end in global average pooling and one dense layer. There the gradient of a
class's score has a closed form, so that no backward pass is needed:

    logit score      d = e_k
    softmax score    d = e_k * sum over j != k of p_j - (1 - e_k) * p
    channel weights  w = W d
    map              relu(sum over c of w_c A_c)

A is the target layer's output, W the dense weights, p the probabilities and e_k the unit vector
of class k. The true gradient of the softmax score has a further factor p_k / (height * width); it
is positive and cancels when the map is divided by its maximum. The sum over the other classes is
formed from their own probabilities: 1 - p_k would lose every digit near p_k = 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# IR 10 with opset 17 loads in every ONNX Runtime from 1.24; newer IR versions do not.
IR_VERSION = 10
OPSET = 17


@dataclass(frozen=True)
class Part:
    """Nodes and constants to be joined into a graph."""

    nodes: list[Any]
    constants: list[Any]


@dataclass(frozen=True)
class Names:
    """The tensors that the heatmap is made from, and what it shall be called.

    `features` is float32 [1, channels, height, width], `probabilities` float32 [1, classes],
    `target` int64 [1]: a class, or -1 for the top class. A class that does not exist makes the
    run fail.
    """

    features: str
    probabilities: str
    target: str = "target_class"
    heatmap: str = "heatmap"


def heatmap_nodes(
    names: Names, dense: NDArray[np.float32], height: int, width: int, score: str = "softmax"
) -> Part:
    """The nodes from features and probabilities to a heatmap [height, width] within 0..1.

    `dense` is [channels, classes]. `score` is "softmax" or "logit"; other scores raise
    ValueError. When nothing speaks for the class (the map is 0 throughout), the absolute value
    takes the map's place, and when that is 0 too the heatmap is all zeros.
    """
    if score not in ("softmax", "logit"):
        raise ValueError(f"score is {score!r}; accepted: softmax, logit")
    channels, classes = dense.shape
    constants = [
        constant("cam_zero_class", np.zeros(1, np.int64)),
        constant("cam_unit_vectors", np.eye(classes, dtype=np.float32)),
        constant("cam_dense_t", np.ascontiguousarray(dense.T, dtype=np.float32)),
        constant("cam_flat", np.array([channels, height * width], np.int64)),
        constant("cam_square", np.array([height, width], np.int64)),
        constant("cam_zero", np.zeros((), np.float32)),
        constant("cam_one", np.ones((), np.float32)),
    ]
    nodes = [
        node("ArgMax", [names.probabilities], "cam_top", axis=1, keepdims=0),
        node("Less", [names.target, "cam_zero_class"], "cam_no_target"),
        node("Where", ["cam_no_target", "cam_top", names.target], "cam_class"),
        node("Gather", ["cam_unit_vectors", "cam_class"], "cam_chosen", axis=0),
        *(_softmax_direction(names.probabilities) if score == "softmax" else ()),
    ]
    direction = "cam_direction" if score == "softmax" else "cam_chosen"
    nodes += [
        node("MatMul", [direction, "cam_dense_t"], "cam_weights"),
        node("Reshape", [names.features, "cam_flat"], "cam_features"),
        node("MatMul", ["cam_weights", "cam_features"], "cam_row"),
        node("Reshape", ["cam_row", "cam_square"], "cam_raw"),
        node("Relu", ["cam_raw"], "cam_positive"),
        node("ReduceMax", ["cam_positive"], "cam_peak", keepdims=0),
        node("Greater", ["cam_peak", "cam_zero"], "cam_any_positive"),
        node("Abs", ["cam_raw"], "cam_absolute"),
        node("Where", ["cam_any_positive", "cam_positive", "cam_absolute"], "cam_map"),
        *normalise_nodes("cam_map", names.heatmap),
    ]
    return Part(nodes, constants)


def normalise_nodes(source: str, result: str) -> list[Any]:
    """Division of a non-negative map by its maximum; a map of zeros stays one.

    Uses the constants `cam_zero` and `cam_one` of the graph.
    """
    return [
        node("ReduceMax", [source], "cam_maximum", keepdims=0),
        node("Greater", ["cam_maximum", "cam_zero"], "cam_nonzero"),
        node("Where", ["cam_nonzero", "cam_maximum", "cam_one"], "cam_divisor"),
        node("Div", [source, "cam_divisor"], result),
    ]


def _softmax_direction(probabilities: str) -> list[Any]:
    return [
        node("Sub", ["cam_one", "cam_chosen"], "cam_others"),
        node("Mul", ["cam_others", probabilities], "cam_other_p"),
        node("ReduceSum", ["cam_other_p"], "cam_other_sum", keepdims=1),
        node("Mul", ["cam_chosen", "cam_other_sum"], "cam_own"),
        node("Sub", ["cam_own", "cam_other_p"], "cam_direction"),
    ]


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    """A node with one output, named after it."""
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def constant(name: str, values: NDArray[Any]) -> Any:
    """A constant of the graph."""
    return numpy_helper.from_array(values, name)


def float_tensor(name: str, shape: list[int]) -> Any:
    """The declaration of a float32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def target_tensor(name: str = "target_class") -> Any:
    """The declaration of the class input, int64 [1]."""
    return helper.make_tensor_value_info(name, TensorProto.INT64, [1])


def to_bytes(name: str, part: Part, inputs: list[Any], outputs: list[Any]) -> bytes:
    """A checked ONNX file of the graph."""
    from onnx import checker

    graph = helper.make_graph(part.nodes, name, inputs, outputs, part.constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=opset, producer_name="dermald-model"
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
