"""Pictures that the demonstration model has never seen, drawn now, through the daemon.

The seed took no part in training or tuning. `TEST_PICTURES` asks for more of them.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import dermald
from dermald_model.lesions import dataset
from PIL import Image

COUNT = int(os.environ.get("TEST_PICTURES", "200"))
SEED = 90210


def test_classes_and_hottest_points_are_right(socket: Path) -> None:
    right = hits = lesions = 0
    chance = 0.0
    with dermald.Client(socket) as client:
        for number, picture in enumerate(dataset(SEED, COUNT)):
            file = io.BytesIO()
            Image.fromarray(picture.pixels).save(file, "JPEG", quality=80 + number % 16)
            answer = client.predict(file.getvalue(), explain="values")
            right += answer.labels[0].index == picture.label
            if not picture.mask.any():
                continue
            lesions += 1
            chance += float(picture.mask.mean())
            assert answer.heatmap is not None
            x, y = hottest(answer.heatmap)
            height, width = picture.mask.shape
            hits += bool(picture.mask[int(y * height), int(x * width)])
    print(
        f"\n{COUNT} held-out pictures through the daemon: {right / COUNT:.1%} classes right; "
        f"hottest point inside the lesion in {hits / lesions:.1%} of {lesions} "
        f"(chance: {chance / lesions:.1%})"
    )
    assert right >= 0.9 * COUNT
    assert hits >= 0.9 * lesions


def hottest(heatmap: dermald.Heatmap) -> tuple[float, float]:
    """The middle of the hottest cell, as shares of width and height."""
    best = max(range(len(heatmap.values)), key=lambda place: heatmap.values[place])
    row, column = divmod(best, heatmap.width)
    return (column + 0.5) / heatmap.width, (row + 0.5) / heatmap.height
