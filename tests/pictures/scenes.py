"""What the test pictures show: pixels, before anybody made a file of them."""

import numpy as np
from dermald_model.lesions import LABELS, draw
from PIL import Image

# Corners of the colour cube: nothing in a photograph is further from its neighbour.
PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255))


def photo(width: int, height: int, seed: int = 1) -> Image.Image:
    """Soft shapes, a red one with edges, and a sensor's noise.

    Colours vary as strongly as the brightness, each channel by itself.
    """
    random = np.random.default_rng(seed)
    cells = (max(2, height // 60), max(2, width // 60))
    coarse = random.integers(20, 236, (*cells, 3))
    soft = Image.fromarray(coarse.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(soft).astype(np.int16)
    pixels[height // 3 : height // 2, width // 5 : width // 3] = (200, 60, 50)
    pixels += random.integers(-8, 9, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def patches(width: int, height: int, seed: int = 1) -> Image.Image:
    """Twenty rectangles of pure colours with hard edges, on no grid: what halved colours blur."""
    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128, np.uint8)
    for number in range(20):
        across, down = (int(random.integers(side // 20, side // 3)) for side in (width, height))
        x = int(random.integers(-across // 2, width - across // 2))
        y = int(random.integers(-down // 2, height - down // 2))
        colour = PURE[number % len(PURE)]
        pixels[max(y, 0) : y + down, max(x, 0) : x + across] = colour
    return Image.fromarray(pixels)


def skin(width: int, height: int, seed: int = 1) -> Image.Image:
    """A drawn photograph of skin, as the demonstration's model learnt from."""
    picture = draw(np.random.default_rng(seed), seed % len(LABELS), width, height)
    return Image.fromarray(picture.pixels)
