"""Photos as large as a phone's, drawn: nobody's skin is needed for a measurement."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from dermald_model.lesions import LABELS, draw
from PIL import Image

# Width and height: 12 megapixels, either way up.
SIZES = ((4000, 3000), (3000, 4000))
# Drawn at a quarter of the side, which takes a second instead of a quarter of a minute.
ENLARGED = 4
# Levels of a sensor's noise. It makes most of the bytes of a phone's photo.
NOISE = 4.0
QUALITIES = (97, 95, 93, 91, 88, 85)
BYTES = 4_000_000

# "Camera was turned": how phones store an upright photo.
ORIENTATION_TAG = 0x0112


def write_photos(folder: Path, count: int) -> list[Path]:
    """JPEG files of about 4 MB, the same at each run."""
    folder.mkdir()
    paths = []
    for number in range(count):
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(_photo(number))
    return paths


def _photo(number: int) -> bytes:
    source = np.random.default_rng([4, number])
    width, height = SIZES[number % len(SIZES)]
    small = draw(source, number % len(LABELS), width // ENLARGED, height // ENLARGED).pixels
    photo = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    luma, *colours = photo.convert("YCbCr").split()
    noise = source.normal(0, NOISE, (height, width)).astype(np.float32)
    noisy = np.clip(np.asarray(luma, np.float32) + noise, 0, 255).astype(np.uint8)
    photo = Image.merge("YCbCr", (Image.fromarray(noisy), *colours))
    # Every other one is stored lying down, as most phones do with upright photos.
    exif = photo.getexif()
    exif[ORIENTATION_TAG] = 6 if number % 2 else 1
    files = (_jpeg(photo, quality, exif) for quality in QUALITIES)
    return min(files, key=lambda file: abs(len(file) - BYTES))


def _jpeg(photo: Image.Image, quality: int, exif: Image.Exif) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality, subsampling=2, exif=exif)
    return file.getvalue()
