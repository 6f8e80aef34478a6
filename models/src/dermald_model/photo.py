"""What happens to a picture between the camera and the tensor; it knows nothing of labels.

The way to the tensor is the daemon's way: decode, convert to RGB, stretch straight to the input
size with Lanczos. Training and evaluation both come through here.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# JPEG qualities between a much forwarded picture and a camera's own.
QUALITIES = (45, 96)


def encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG file of the pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def photograph(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG file at a random quality within QUALITIES."""
    return encode(pixels, int(rng.integers(*QUALITIES)))


def to_input(file: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """A picture file as the pixels of the input tensor, uint8 [height, width, 3]."""
    with Image.open(io.BytesIO(file)) as picture:
        stretched = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(stretched, np.uint8)


def overlay(file: bytes, heatmap: NDArray[np.float32], path: Path) -> None:
    """Writes the picture with the heatmap laid over it in yellow to red, to be looked at."""
    with Image.open(io.BytesIO(file)) as picture:
        under = np.asarray(picture.convert("RGB"), np.float32)
    size = (under.shape[1], under.shape[0])
    wide = Image.fromarray(heatmap).resize(size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(wide, np.float32), 0, 1)[..., None]
    colour = np.concatenate([255 + 0 * heat, 255 * (1 - heat), 0 * heat], axis=2)
    mixed = under + (colour - under) * heat * 0.6
    Image.fromarray(mixed.astype(np.uint8)).save(path)
