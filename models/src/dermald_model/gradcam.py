"""Grad-CAM and HiResCAM as forward nodes of an ONNX graph; it knows nothing of files or Keras.

Grad-CAM (Selvaraju et al. 2017) weighs each channel of a layer by the mean gradient of a class's
score and adds the channels up. HiResCAM (Draelos and Carin 2020) multiplies layer and gradient
place by place instead. Both keep what is positive and divide by its maximum.

The score is the class's logit or its probability after the softmax. Its gradient by the logits z,
where the backward pass begins, is

    logit      d = e_k
    softmax    d = e_k * sum over j != k of q_j - (1 - e_k) * q

with q_j = exp(z_j - m) and m the greatest logit of the other classes.

The true gradient of the softmax score has the further factor p_k (1 - p_k) / sum of q. It is
positive, so the division by the maximum cancels it. Left out, nothing is lost where p_k is close
to 1: a gradient tape in float32 computes with 1 - p_k there, which has no digits left.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from dermald_model.backward import derive
from dermald_model.graph import Graph, GraphError, attributes
from dermald_model.parts import float_tensor, target_tensor
from dermald_model.step import Gradient

SCORES = ("softmax", "logit")
METHODS = ("gradcam", "hirescam")


@dataclass(frozen=True)
class Explanation:
    """What is to be explained, and how.

    `layer` is a tensor of the network, float32 of four axes, whose channels are on axis `channel`.
    `output` is the network's output, float32 [batch, classes].
    """

    layer: str
    output: str
    channel: int = 1
    score: str = "softmax"
    method: str = "gradcam"


@dataclass(frozen=True)
class Names:
    """What was added to the graph: its input for the class, and its output."""

    target: str
    heatmap: str


def attach(model: onnx.ModelProto, wanted: Explanation) -> tuple[onnx.ModelProto, Names]:
    """The model with a heatmap as a further output, and the class to explain as a further input.

    The input is int64 [batch]: a class, or -1 for the most probable one. A class that does not
    exist makes the run fail. The output is float32 [height, width] of the layer, or [batch, height,
    width] when the batch is open, each map within 0..1. When nothing speaks for the class (the map
    is 0 throughout), the absolute value takes the map's place; when that is 0 too, the heatmap is
    all zeros.

    Fails with GraphError: an operator between layer and output is not covered, or the layer is
    none that Grad-CAM can weigh.
    """
    if wanted.score not in SCORES or wanted.method not in METHODS:
        raise ValueError(f"score is one of {SCORES}, method one of {METHODS}: {wanted}")
    graph = Graph(model)
    layer, channel = _before_transposes(graph, wanted.layer, wanted.channel)
    sides = [n for axis, n in enumerate(graph.shape(layer)) if axis not in (0, channel)]
    if len(sides) != 2:
        raise GraphError(f"the layer's output {layer!r} has no height and width")
    names = Names(graph.fresh("target_class"), graph.fresh("heatmap"))
    logits, activation = logits_of(graph, wanted.output)
    batch, classes = shape = graph.shape(wanted.output)
    # The same, and sometimes not inferred: behind a loop, for one.
    graph.learn_shape(logits, shape)
    chosen = _chosen(graph, names.target, wanted.output, classes or 0)
    if wanted.score == "softmax" and activation != "sigmoid":
        direction = _softmax_direction(graph, logits, chosen)
    else:
        # A sigmoid's factor p (1 - p) is positive as well: its two scores have one map.
        direction = graph.add("Cast", [chosen], (batch, classes), to=onnx.TensorProto.FLOAT)
    gradient = derive(graph, logits, Gradient(direction, graph.shape(direction)), layer)
    raw = _map(graph, layer, channel, gradient, wanted.method)
    _normalise(graph, raw, names.heatmap, sides if batch == 1 else None)
    graph.model.graph.input.append(target_tensor(names.target, batch or "batch"))
    lengths = sides if batch == 1 else [batch, *sides]
    heatmap = float_tensor(names.heatmap, [n or "batch" for n in lengths])
    graph.model.graph.output.append(heatmap)
    return graph.model, names


def logits_of(graph: Graph, output: str) -> tuple[str, str]:
    """The tensor before the last activation, and that activation: softmax, sigmoid or none."""
    name = output
    while (node := graph.producer(name)) is not None:
        if node.op_type in ("Softmax", "Sigmoid"):
            return node.input[0], node.op_type.lower()
        if node.op_type not in ("Identity", "Cast", "Dropout"):
            break
        name = node.input[0]
    return output, "none"


def _before_transposes(graph: Graph, layer: str, channel: int) -> tuple[str, int]:
    """The tensor that a layer's output is only another order of, and its channel axis.

    The network goes on from that tensor; the reordered copy may have no other reader.
    """
    while (node := graph.producer(layer)) is not None:
        if node.op_type == "Transpose":
            order = attributes(node).get("perm", [3, 2, 1, 0])
            channel = order[channel]
        elif node.op_type != "Identity":
            break
        layer = node.input[0]
    return layer, channel


def _chosen(graph: Graph, target: str, output: str, classes: int) -> str:
    """Which is the class to explain, bool [batch, classes]."""
    batch = graph.shape(output)[0]
    numbers = graph.add_constant(np.arange(classes, dtype=np.int64))
    zero = graph.add_constant(np.zeros(1, np.int64))
    top = graph.add("ArgMax", [output], (batch,), axis=1, keepdims=0)
    free = graph.add("Less", [target, zero], (batch,))
    wish = graph.add("Where", [free, top, target], (batch,))
    # Gathering makes the run fail for a class that does not exist.
    known = graph.add("Gather", [numbers, wish], (batch,), axis=0)
    return graph.add("Equal", [graph.reshape(known, (batch, 1)), numbers], (batch, classes))


def _softmax_direction(graph: Graph, logits: str, chosen: str) -> str:
    shape = graph.shape(logits)
    if shape[1] == 1:
        raise GraphError("a softmax over one class is always 1: use --score logit")
    lowest = graph.number(float(np.finfo(np.float32).min))
    others = graph.add("Where", [chosen, lowest, logits], shape)
    highest = graph.reduce("ReduceMax", others, [1])
    q = graph.add("Exp", [graph.add("Sub", [others, highest], shape)], shape)
    total = graph.reduce("ReduceSum", q, [1])
    return graph.add("Where", [chosen, total, graph.add("Neg", [q], shape)], shape)


def _map(graph: Graph, layer: str, channel: int, gradient: Gradient, method: str) -> str:
    """The weighted sum over the channels, float32 [batch, height, width]."""
    shape = graph.shape(layer)
    space = [axis for axis in (1, 2, 3) if axis != channel]
    batch, channels = shape[0], shape[channel]
    height, width = (shape[axis] or 0 for axis in space)
    if method == "hirescam":
        product = graph.add("Mul", [layer, gradient.name], shape)
        return graph.reshape(graph.reduce("ReduceSum", product, [channel]), (batch, height, width))
    means = gradient.name
    repeated = [axis for axis in space if gradient.shape[axis] != 1]
    if repeated:
        means = graph.reduce("ReduceMean", means, repeated)
    kept = tuple(n if axis in (0, channel) else 1 for axis, n in enumerate(shape))
    means = graph.expand(means, kept)
    if channel == 1:
        weights = graph.reshape(means, (batch, 1, channels))
        rows = graph.reshape(layer, (batch, channels, height * width))
        flat = graph.add("MatMul", [weights, rows], (batch, 1, height * width))
    else:
        weights = graph.reshape(means, (batch, channels, 1))
        rows = graph.reshape(layer, (batch, height * width, channels))
        flat = graph.add("MatMul", [rows, weights], (batch, height * width, 1))
    return graph.reshape(flat, (batch, height, width))


def _normalise(graph: Graph, raw: str, heatmap: str, sides: list[int | None] | None) -> None:
    """The positive part of a map, or its absolute value, divided by its maximum."""
    shape = graph.shape(raw)
    zero = graph.number(0)
    positive = graph.add("Relu", [raw], shape)
    peak = graph.reduce("ReduceMax", positive, [1, 2])
    column = graph.shape(peak)
    speaks = graph.add("Greater", [peak, zero], column)
    absolute = graph.add("Abs", [raw], shape)
    kept = graph.add("Where", [speaks, positive, absolute], shape)
    maximum = graph.reduce("ReduceMax", kept, [1, 2])
    some = graph.add("Greater", [maximum, zero], column)
    divisor = graph.add("Where", [some, maximum, graph.number(1)], column)
    if sides is None:
        graph.add_as(heatmap, "Div", [kept, divisor])
        return
    shares = graph.add("Div", [kept, divisor], shape)
    flat = graph.add_constant(np.array(sides, np.int64))
    graph.add_as(heatmap, "Reshape", [shares, flat])
