"""Grad-CAM in the forward graph against TensorFlow's gradient tape, and at its edges."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx", reason="builds ONNX graphs: install the extra [tools]")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX: install the extra [tools]")

from dermald_model.gradcam import Explanation, attach
from dermald_model.graph import GraphError
from dermald_model.parts import constant, float_tensor, node, to_model

_CLASSES = 5


def _heatmap(
    features: NDArray[np.float32],
    dense: NDArray[np.float32],
    target: int,
    score: str = "softmax",
    bias: NDArray[np.float32] | None = None,
    method: str = "gradcam",
) -> NDArray[np.float32]:
    """The heatmap of features [1, channels, height, width] behind pooling and a dense layer."""
    bias = np.zeros(dense.shape[1], np.float32) if bias is None else bias
    model = to_model(
        "head",
        [
            node("GlobalAveragePool", ["features"], "pooled"),
            node("Flatten", ["pooled"], "flat"),
            node("Gemm", ["flat", "dense", "bias"], "logits"),
            node("Softmax", ["logits"], "probabilities", axis=1),
        ],
        [constant("dense", dense), constant("bias", bias.astype(np.float32))],
        [float_tensor("features", features.shape)],
        [float_tensor("probabilities", [1, dense.shape[1]])],
    )
    wanted = Explanation("features", "probabilities", score=score, method=method)
    explained, names = attach(model, wanted)
    file = explained.SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feeds = {"features": features, names.target: np.array([target], np.int64)}
    heatmap: NDArray[np.float32] = session.run([names.heatmap], feeds)[0]
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
        "tensorflow", reason="compares with TensorFlow's gradient tape: install the extra [tools]"
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
            heatmap = _heatmap(features, dense, target, score)
            if taped.max() > 0:
                # Sums of 12 float32 products in another order; measured at most 1.4e-6.
                assert np.abs(heatmap - taped / taped.max()).max() <= 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_nothing_cancels_when_a_class_is_nearly_certain(seed: int) -> None:
    """At p_k of about 1 - 1e-9 float32 knows no 1 - p_k, but the map keeps its digits."""
    features, dense, logits = _example(seed, 1.0)
    top = int(logits.argmax())
    bias = (20 * np.eye(_CLASSES)[top]).astype(np.float32)
    certain = logits.astype(np.float64) + bias
    assert _softmax(certain).astype(np.float32)[top] == 1
    for target in range(_CLASSES):
        heatmap = _heatmap(features, dense, target, bias=bias)
        assert np.abs(heatmap - _expected(features, certain, dense, target)).max() <= 1e-4


def test_minus_one_explains_the_top_class() -> None:
    features, dense, logits = _example(3, 1.0)
    top = int(logits.argmax())
    maps = [_heatmap(features, dense, k) for k in range(_CLASSES)]
    assert np.array_equal(_heatmap(features, dense, -1), maps[top])
    assert all(not np.allclose(maps[top], maps[k], atol=0.01) for k in range(_CLASSES) if k != top)


def test_absolute_value_stands_in_when_nothing_is_positive() -> None:
    features = np.array([[[[1, 2], [4, 0]]]], np.float32)
    dense = np.array([[-1, 1]], np.float32)
    heatmap = _heatmap(features, dense, 0)
    assert np.array_equal(heatmap, np.array([[0.25, 0.5], [1, 0]], np.float32))


def test_map_of_zeros_stays_zero() -> None:
    features = np.zeros((1, 3, 2, 2), np.float32)
    heatmap = _heatmap(features, np.ones((3, 2), np.float32), -1)
    assert np.array_equal(heatmap, np.zeros((2, 2), np.float32))


def test_hirescam_weighs_place_by_place() -> None:
    """Behind pooling and a dense layer both methods have the same gradient everywhere, and so the
    same map; behind a flattened map they differ."""
    features, dense, _ = _example(3, 1.0)
    for target in range(_CLASSES):
        maps = [_heatmap(features, dense, target, method=m) for m in ("gradcam", "hirescam")]
        assert np.abs(maps[0] - maps[1]).max() <= 1e-5


def test_hirescam_of_a_flattened_map_is_gradient_times_feature() -> None:
    rng = np.random.default_rng(4)
    features = rng.standard_normal((1, 3, 2, 2)).astype(np.float32)
    dense = rng.standard_normal((12, 2)).astype(np.float32)
    nodes = [
        node("Flatten", ["features"], "flat"),
        node("MatMul", ["flat", "dense"], "logits"),
    ]
    ends = [float_tensor("features", [1, 3, 2, 2])], [float_tensor("logits", [1, 2])]
    model = to_model("flat", nodes, [constant("dense", dense)], *ends)
    wanted = Explanation("features", "logits", score="logit", method="hirescam")
    explained, names = attach(model, wanted)
    session = onnxruntime.InferenceSession(explained.SerializeToString())
    found = session.run([names.heatmap], {"features": features, names.target: np.array([1])})[0]
    raw = (dense[:, 1].reshape(3, 2, 2) * features[0]).sum(0)
    expected = np.maximum(raw, 0) if raw.max() > 0 else np.abs(raw)
    assert np.abs(found - expected / expected.max()).max() <= 1e-6


def test_open_batch_explains_each_picture_by_itself() -> None:
    features, dense, _ = _example(3, 1.0)
    others, _, _ = _example(4, 1.0)
    nodes = [
        node("GlobalAveragePool", ["features"], "pooled"),
        node("Flatten", ["pooled"], "flat"),
        node("MatMul", ["flat", "dense"], "logits"),
        node("Softmax", ["logits"], "probabilities", axis=1),
    ]
    ends = (
        [float_tensor("features", ["batch", *features.shape[1:]])],
        [float_tensor("probabilities", ["batch", _CLASSES])],
    )
    model = to_model("batch", nodes, [constant("dense", dense)], *ends)
    explained, names = attach(model, Explanation("features", "probabilities"))
    session = onnxruntime.InferenceSession(explained.SerializeToString())
    feeds = {
        "features": np.concatenate([features, others]),
        names.target: np.array([-1, 2], np.int64),
    }
    found = session.run([names.heatmap], feeds)[0]
    for row, (one, target) in enumerate(((features, -1), (others, 2))):
        assert np.abs(found[row] - _heatmap(one, dense, target)).max() <= 1e-6


def test_class_that_does_not_exist_fails() -> None:
    features, dense, _ = _example(3, 1.0)
    with pytest.raises(Exception, match="out of"):
        _heatmap(features, dense, _CLASSES)


def test_unknown_score_is_refused() -> None:
    features, dense, _ = _example(3, 1.0)
    with pytest.raises(ValueError, match="score is one of"):
        _heatmap(features, dense, 0, "loss")


def test_softmax_over_one_class_is_refused() -> None:
    features, dense, _ = _example(3, 1.0)
    with pytest.raises(GraphError, match="use --score logit"):
        _heatmap(features, dense[:, :1], 0)
