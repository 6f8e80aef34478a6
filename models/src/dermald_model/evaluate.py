"""Accuracy and localisation of a bundle, through ONNX Runtime; it knows nothing of training."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dermald_model import manifest
from dermald_model.lesions import Picture
from dermald_model.photo import photograph, to_input


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture."""

    probabilities: NDArray[np.float32]
    heatmap: NDArray[np.float32]

    @property
    def top(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Score:
    """How well a bundle does on pictures that it has not seen, all as shares of 1.

    `hits` is the share of pictures with a lesion whose hottest cell has its centre in the mask;
    `chance` is their mean mask area, which a random point would reach.
    """

    pictures: int
    accuracy: float
    hits: float
    chance: float


class Classifier:
    """A bundle with NHWC input and unscaled pixels, run by one thread."""

    def __init__(self, bundle: Path) -> None:
        self._input = manifest.read(bundle).input
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            bundle / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def answer(self, file: bytes, target: int = -1) -> Answer:
        """The answer for a picture file; the heatmap is for `target`, or -1 for the top class."""
        pixels = to_input(file, self._input.width, self._input.height)
        probabilities, heatmap = self._session.run(
            ["probabilities", "heatmap"],
            {
                "image": pixels.astype(np.float32)[None],
                "target_class": np.array([target], np.int64),
            },
        )
        return Answer(probabilities[0], heatmap)


def hottest_in_mask(heatmap: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Whether the centre of the hottest cell, carried back to the picture, lies in the mask."""
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    y = int((row + 0.5) / heatmap.shape[0] * mask.shape[0])
    x = int((column + 0.5) / heatmap.shape[1] * mask.shape[1])
    return bool(mask[y, x])


def score(classifier: Classifier, pictures: Iterable[Picture], seed: int) -> Score:
    """Scores the classifier; `seed` chooses the JPEG qualities."""
    rng = np.random.default_rng(seed)
    right, hits, areas = [], [], []
    for picture in pictures:
        answer = classifier.answer(photograph(rng, picture.pixels))
        right.append(answer.top == picture.label)
        if picture.mask.any():
            hits.append(hottest_in_mask(answer.heatmap, picture.mask))
            areas.append(float(picture.mask.mean()))
    return Score(len(right), float(np.mean(right)), float(np.mean(hits)), float(np.mean(areas)))
