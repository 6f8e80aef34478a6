"""Grad-CAM in the forward graph against TensorFlow's gradient tape, and at its edges."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx", reason="builds ONNX graphs: install the extra [train]")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX: install the extra [train]")

from dermald_model.gradcam import (
    Names,
    Part,
    float_tensor,
    heatmap_nodes,
    target_tensor,
    to_bytes,
)

_CLASSES = 5


def _heatmap(
    features: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    dense: NDArray[np.float32],
    target: int,
    score: str = "softmax",
) -> NDArray[np.float32]:
    """The heatmap of given features [1, channels, height, width] by the nodes alone."""
    height, width = features.shape[2:]
    part = heatmap_nodes(Names("features", "probabilities"), dense, height, width, score)
    inputs = [
        float_tensor("features", list(features.shape)),
        float_tensor("probabilities", list(probabilities.shape)),
        target_tensor(),
    ]
    file = to_bytes(
        "cam", Part(part.nodes, part.constants), inputs, [float_tensor("heatmap", [height, width])]
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feeds = {
        "features": features,
        "probabilities": probabilities,
        "target_class": np.array([target], np.int64),
    }
    heatmap: NDArray[np.float32] = session.run(None, feeds)[0]
    return heatmap


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max())
    share: NDArray[np.float64] = raised / raised.sum()
    return share


def _expected(
    features: NDArray[Any], logits: NDArray[Any], dense: NDArray[Any], target: int
) -> NDArray[np.float64]:
    """The softmax score's map in float64, from the textbook gradient p_k (e_k - p)."""
    p = _softmax(logits.astype(np.float64))
    gradient = p[target] * (np.eye(len(p))[target] - p)
    raw = np.tensordot(dense.astype(np.float64) @ gradient, features[0].astype(np.float64), 1)
    positive = np.maximum(raw, 0)
    result: NDArray[np.float64] = positive / positive.max()
    return result


def _example(seed: int, spread: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((1, 12, 6, 7)), 0).astype(np.float32)
    dense = (rng.standard_normal((12, _CLASSES)) * spread).astype(np.float32)
    return features, dense, features[0].mean((1, 2)) @ dense


@pytest.mark.parametrize("score", ["softmax", "logit"])
def test_forward_nodes_agree_with_the_gradient_tape(score: str) -> None:
    tf = pytest.importorskip(
        "tensorflow", reason="compares with TensorFlow's gradient tape: install the extra [train]"
    )
    for seed in range(12):
        features, dense, _ = _example(seed, 1.0)
        activations = tf.constant(features.transpose(0, 2, 3, 1))
        for target in range(_CLASSES):
            with tf.GradientTape() as tape:
                tape.watch(activations)
                logits = tf.reduce_mean(activations, (1, 2)) @ tf.constant(dense)
                probabilities = tf.nn.softmax(logits)
                value = (probabilities if score == "softmax" else logits)[0, target]
            weights = tf.reduce_mean(tape.gradient(value, activations), (1, 2))
            taped = np.maximum((activations * weights).numpy().sum(-1)[0], 0)
            heatmap = _heatmap(features, probabilities.numpy(), dense, target, score)
            if taped.max() > 0:
                # Sums of 12 float32 products in another order; measured at most 1.4e-6.
                assert np.abs(heatmap - taped / taped.max()).max() <= 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_nothing_cancels_when_a_class_is_nearly_certain(seed: int) -> None:
    """At p_k of about 1 - 1e-9 float32 knows no 1 - p_k, but the map keeps its digits."""
    features, dense, logits = _example(seed, 1.0)
    top = int(logits.argmax())
    certain = logits + 20 * np.eye(_CLASSES)[top]
    probabilities = _softmax(certain).astype(np.float32)[None]
    assert probabilities[0, top] == 1
    heatmap = _heatmap(features, probabilities, dense, -1)
    assert np.abs(heatmap - _expected(features, certain, dense, top)).max() <= 1e-4


def test_minus_one_explains_the_top_class() -> None:
    features, dense, logits = _example(3, 1.0)
    probabilities = _softmax(logits).astype(np.float32)[None]
    top = int(probabilities.argmax())
    maps = [_heatmap(features, probabilities, dense, k) for k in range(_CLASSES)]
    assert np.array_equal(_heatmap(features, probabilities, dense, -1), maps[top])
    assert all(not np.allclose(maps[top], maps[k], atol=0.01) for k in range(_CLASSES) if k != top)


def test_absolute_value_stands_in_when_nothing_is_positive() -> None:
    features = np.array([[[[1, 2], [4, 0]]]], np.float32)
    dense = np.array([[-1, 1]], np.float32)
    probabilities = np.array([[0.5, 0.5]], np.float32)
    heatmap = _heatmap(features, probabilities, dense, 0)
    assert np.array_equal(heatmap, np.array([[0.25, 0.5], [1, 0]], np.float32))


def test_map_of_zeros_stays_zero() -> None:
    features = np.zeros((1, 3, 2, 2), np.float32)
    probabilities = np.array([[0.5, 0.5]], np.float32)
    heatmap = _heatmap(features, probabilities, np.ones((3, 2), np.float32), -1)
    assert np.array_equal(heatmap, np.zeros((2, 2), np.float32))


def test_class_that_does_not_exist_fails() -> None:
    features, dense, logits = _example(3, 1.0)
    probabilities = _softmax(logits).astype(np.float32)[None]
    with pytest.raises(Exception, match="out of"):
        _heatmap(features, probabilities, dense, _CLASSES)


def test_unknown_score_is_refused() -> None:
    with pytest.raises(ValueError, match="accepted: softmax, logit"):
        heatmap_nodes(Names("a", "b"), np.ones((3, 2), np.float32), 2, 2, "loss")
