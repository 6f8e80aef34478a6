"""From what a model file gave to the graph of a bundle; it knows nothing of the command line."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from dermald_model import gradcam, manifest, selftest
from dermald_model.graph import Graph
from dermald_model.parts import constant, node
from dermald_model.preprocessing import Pixels
from dermald_model.refusal import Refusal
from dermald_model.simplify import simplify, without_output
from dermald_model.sources import Source

# Probabilities of the same picture in two frameworks. Measured: 3e-6 for EfficientNetV2-S, trained
# or not; up to 3e-5 for random networks that magnify rounding.
AGREEMENT = 1e-4


@dataclass(frozen=True)
class Built:
    """The finished graph, and what the manifest must know of it."""

    model: onnx.ModelProto
    output: str
    activation: str
    classes: int
    gradcam: manifest.GradCam | None
    # Whether the graph turns the channels round before the original's first node.
    blue_first: bool


def build(source: Source, pixels: Pixels, score: str, method: str) -> Built:
    """The graph of a source, simplified, with Grad-CAM. Fails with Refusal."""
    model = source.model
    if pixels.blue_first:
        _turn_channels(model, source)
    model = simplify(model)
    graph = Graph(model)
    shape = graph.shape(source.output)
    _, activation = gradcam.logits_of(graph, source.output)
    explained = None
    if source.layer is not None:
        wanted = gradcam.Explanation(source.layer, source.output, source.channel, score, method)
        model, names = gradcam.attach(model, wanted)
        model = without_output(model, source.layer)
        explained = manifest.GradCam(names.heatmap, names.target, source.layer_name, score, method)
    onnx.checker.check_model(model, full_check=True)
    return Built(model, source.output, activation, shape[1] or 0, explained, pixels.blue_first)


def compare(built: Built, source: Source) -> float | None:
    """The largest difference of any output between the original and the graph, on drawn pictures.

    Fails with Refusal when they disagree. None when the original cannot be run here.
    """
    if source.predict is None:
        return None
    file = built.model.SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    worst = 0.0
    for drawn in selftest.pictures(source.width, source.height):
        tensor = drawn[None].astype(np.float32)
        if source.layout == "NCHW":
            tensor = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)) / np.float32(255)
        turned = tensor[..., ::-1] if source.layout == "NHWC" else tensor[:, ::-1]
        expected = source.predict(np.ascontiguousarray(turned) if built.blue_first else tensor)
        feeds = {source.input: tensor}
        if built.gradcam is not None:
            feeds[built.gradcam.target] = np.array([-1], np.int64)
        found = session.run([built.output], feeds)[0]
        scale = max(1.0, float(np.abs(expected).max()))
        worst = max(worst, float(np.abs(found - expected).max()) / scale)
    if not worst <= AGREEMENT:
        raise Refusal(
            f"the converted graph differs from the original by {worst:.2g} where at most "
            f"{AGREEMENT:g} is accepted; this network cannot be converted faithfully here"
        )
    return worst


def _turn_channels(model: onnx.ModelProto, source: Source) -> None:
    """Puts a node in front that turns red, green, blue into blue, green, red."""
    turned = f"{source.input}/blue_first"
    for one in model.graph.node:
        for place, name in enumerate(one.input):
            if name == source.input:
                one.input[place] = turned
    axis = 3 if source.layout == "NHWC" else 1
    order = constant(f"{turned}/order", np.array([2, 1, 0], np.int64))
    model.graph.initializer.append(order)
    model.graph.node.insert(0, node("Gather", [source.input, order.name], turned, axis=axis))
