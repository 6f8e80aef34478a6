"""Grad-CAM as the tutorials do it: Keras under TensorFlow's gradient tape, to compare with.

One pass answers for several layers, both scores and several classes.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dermald_model.refusal import Refusal
from dermald_model.sources.keras_layers import Calls, choose, layers

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Taped:
    """Probabilities [classes], and a heatmap [height, width] by layer, score and class."""

    probabilities: Numbers
    heatmaps: dict[tuple[str, str, int], Numbers]


class Tape:
    """A Keras network that explains itself by running backwards.

    Its last layer applies softmax or sigmoid; the logits are what goes into that. The network is
    changed by this (its last activation is taken out and applied here): it must not be used
    elsewhere.
    """

    def __init__(
        self, network: Any, size: tuple[int, int], names: list[str], method: str = "gradcam"
    ) -> None:
        self._network = network
        self._method = method
        self._calls = Calls(network, size)
        self._names = names
        self._layers = [choose(self._calls, name) for name in names]
        last = list(layers(network))[-1]
        if not hasattr(last, "activation"):
            raise Refusal(f"layer {last.name!r} has no activation that could be undone for logits")
        self._activation, last.activation = last.activation, keras.activations.linear
        self._run = tf.function(self._explain, reduce_retracing=True)

    def explain(self, image: NDArray[np.float32], targets: list[int]) -> Taped:
        """For a tensor [1, height, width, 3]; -1 among the targets is the most probable class."""
        image = tf.constant(image, self._network.compute_dtype)
        probabilities, found = self._run(image, tf.constant(targets, tf.int32))
        heatmaps = {
            (name, score, target): _heatmap(
                features.numpy()[0], gradients.numpy()[number, 0], self._method
            )
            for name, (features, by_score) in zip(self._names, found, strict=True)
            for score, gradients in by_score.items()
            for number, target in enumerate(targets)
        }
        return Taped(probabilities.numpy()[0], heatmaps)

    def _explain(self, image: Any, targets: Any) -> Any:
        self._calls.catch, self._calls.caught = self._layers, {}
        # Only what comes after the layers is recorded: a gradient runs back through everything that
        # is, and most of a network comes before.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            self._calls.on_catch = tape.watch
            logits = self._network(image, training=False)
            probabilities = self._activation(logits)
            top = tf.argmax(logits[0], output_type=tf.int32)
            chosen = tf.unstack(tf.where(targets < 0, top, targets))
            scores = {
                name: [tf.gather(values[0], target) for target in chosen]
                for name, values in (("softmax", probabilities), ("logit", logits))
            }
        found = []
        for layer in self._layers:
            features = self._calls.caught[layer]
            by_score = {
                name: tf.stack([tape.gradient(value, features) for value in values])
                for name, values in scores.items()
            }
            found.append((features, by_score))
        return probabilities, found


def _heatmap(features: Numbers, gradient: Numbers, method: str) -> Numbers:
    weights = gradient if method == "hirescam" else gradient.mean((0, 1))
    weighted = (features * weights).sum(-1)
    positive = np.maximum(weighted, 0)
    raw = positive if positive.max() > 0 else np.abs(weighted)
    result: Numbers = raw / raw.max() if raw.max() > 0 else raw
    return result
