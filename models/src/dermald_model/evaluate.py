"""Accuracy and localisation of a bundle on drawn pictures; it knows nothing of training."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermald_model.bundle import Runner
from dermald_model.lesions import Picture
from dermald_model.photo import photograph


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


def hottest_in_mask(heatmap: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Whether the centre of the hottest cell, carried back to the picture, lies in the mask."""
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    y = int((row + 0.5) / heatmap.shape[0] * mask.shape[0])
    x = int((column + 0.5) / heatmap.shape[1] * mask.shape[1])
    return bool(mask[y, x])


def score(classifier: Runner, pictures: Iterable[Picture], seed: int) -> Score:
    """Scores the classifier; `seed` chooses the JPEG qualities."""
    rng = np.random.default_rng(seed)
    right, hits, areas = [], [], []
    for picture in pictures:
        answer = classifier.answer(photograph(rng, picture.pixels))
        right.append(answer.top == picture.label)
        if picture.mask.any() and answer.heatmap is not None:
            hits.append(hottest_in_mask(answer.heatmap, picture.mask))
            areas.append(float(picture.mask.mean()))
    return Score(len(right), float(np.mean(right)), float(np.mean(hits)), float(np.mean(areas)))
