"""The demonstration network as an ONNX file, from its trained weights; it trains nothing.

The graph is written node by node rather than exported: batch norms are folded into the
convolutions, and the heatmap is part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from dermald_model.gradcam import Explanation, attach
from dermald_model.parts import constant, float_tensor, node, to_model

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class BatchNorm:
    """The trained values of a batch norm, one of each per channel, and its epsilon."""

    gamma: Weights
    beta: Weights
    mean: Weights
    variance: Weights
    epsilon: float


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, its batch norm, and a ReLU.

    The kernel is [size, size, in, out], as Keras has it. Its size is odd, or 4 with a stride of 2:
    then padding is the same on every side.
    """

    kernel: Weights
    stride: int
    norm: BatchNorm


@dataclass(frozen=True)
class Network:
    """A trained network: convolutions, global average pooling, dense layer, softmax."""

    size: int
    convs: Sequence[Conv]
    dense: Weights
    bias: Weights


def to_onnx(network: Network) -> onnx.ModelProto:
    """The ONNX model: `image` and `target_class` in, `probabilities` and `heatmap` out."""
    nodes = [
        node("Mul", ["image", "scale"], "scaled"),
        node("Sub", ["scaled", "shift"], "centred"),
        node("Transpose", ["centred"], "planes", perm=[0, 3, 1, 2]),
    ]
    # 0..255 becomes -1..1, as in training.
    constants = [
        constant("scale", np.array(1 / 127.5, np.float32)),
        constant("shift", np.array(1, np.float32)),
    ]
    features = "planes"
    for number, conv in enumerate(network.convs, 1):
        kernel, bias = folded(conv)
        constants += [constant(f"kernel_{number}", kernel), constant(f"bias_{number}", bias)]
        size = conv.kernel.shape[0]
        nodes.append(
            node(
                "Conv",
                [features, f"kernel_{number}", f"bias_{number}"],
                f"conv_{number}",
                kernel_shape=[size, size],
                strides=[conv.stride, conv.stride],
                pads=[(size - 1) // 2] * 4,
            )
        )
        nodes.append(node("Relu", [f"conv_{number}"], f"relu_{number}"))
        features = f"relu_{number}"
    constants += [constant("dense", network.dense), constant("dense_bias", network.bias)]
    nodes += [
        node("GlobalAveragePool", [features], "pooled"),
        node("Flatten", ["pooled"], "flat", axis=1),
        node("Gemm", ["flat", "dense", "dense_bias"], "logits"),
        node("Softmax", ["logits"], "probabilities", axis=1),
    ]
    model = to_model(
        "dermald-demo",
        nodes,
        constants,
        [float_tensor("image", [1, network.size, network.size, 3])],
        [float_tensor("probabilities", [1, len(network.bias)])],
    )
    explained, _ = attach(model, Explanation(features, "probabilities"))
    return explained


def folded(conv: Conv) -> tuple[Weights, Weights]:
    """Kernel [out, in, size, size] and bias of a convolution that does its batch norm as well.

    Folded in float64: the factor multiplies every weight, and float32 would round twice.
    """
    norm = conv.norm
    deviation = np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    factor = norm.gamma / deviation
    kernel = conv.kernel.astype(np.float64) * factor
    bias = norm.beta - norm.mean * factor
    return (
        np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), dtype=np.float32),
        bias.astype(np.float32),
    )
