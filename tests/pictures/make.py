"""Writes pictures as people send them, with what Pillow makes of each: `make.py OUT`.

Each picture NAME.EXT lies beside NAME.EXT.expected.png, which is Pillow's own way from the file to
the model's size: `exif_transpose`, `convert("RGB")`, `resize` with Lanczos, every pixel decoded.
Those in `profiles` are converted to sRGB first, those in `cut` end early, and the names of those in
`filters` say how they are resized.
tests/library/pillow.rs holds the daemon's way against it. The same versions write the same bytes.
"""

import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import bmps
import cut
import jpegs
import numpy as np
import pngs
import profiles
import scenes
import tiffs
import webs
from files import Written
from PIL import Image, ImageFile, ImageOps

# Neither square nor a divisor of anything: a picture that lies on its side shows.
MODEL_SIZE = (150, 100)

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Conversion = Callable[[Image.Image], Image.Image]


def main() -> None:
    """Writes every picture into the folder that was named."""
    # Pillow advises against what `pngs.palettes()` is for.
    warnings.filterwarnings("ignore", "Palette images with Transparency")
    out = Path(sys.argv[1])
    for maker in (jpegs, pngs, tiffs, bmps, webs):
        write(out, maker.written(), as_stored)
    write(out / "profiles", profiles.written(), profiles.in_srgb)
    write_filtered(out / "filters")
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    write(out / "cut", cut.written(), as_stored)


def write(out: Path, written: Written, convert: Conversion) -> None:
    """Pictures and what is expected of them."""
    out.mkdir(parents=True, exist_ok=True)
    for name, file in written:
        (out / name).write_bytes(file)
        expected(file, convert).save(out / f"{name}.expected.png")


def write_filtered(out: Path) -> None:
    """A picture of pure colours, larger and smaller than the model's, by each filter and fit."""
    out.mkdir(parents=True, exist_ok=True)
    for width, height in ((37, 29), (601, 401), (150, 333), (30, 4000)):
        picture = scenes.patches(width, height)
        for name, method in FILTERS.items():
            for fit, small in (
                ("stretch", picture.resize(MODEL_SIZE, method)),
                ("centre-crop", ImageOps.fit(picture, MODEL_SIZE, method)),
            ):
                path = out / f"{name},{fit},{width}x{height}.png"
                picture.save(path)
                small.save(f"{path}.expected.png")


def expected(file: bytes, convert: Conversion) -> Image.Image:
    """What Pillow gives a model."""
    with Image.open(BytesIO(file)) as picture:
        upright = ImageOps.exif_transpose(picture)
        return convert(upright).resize(MODEL_SIZE, Image.Resampling.LANCZOS)


def as_stored(picture: Image.Image) -> Image.Image:
    """The numbers in the file are the colours."""
    if picture.mode == "I;16":
        # Pillow itself cuts off at 255, which leaves a white picture. With colours it takes
        # the upper byte.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


if __name__ == "__main__":
    main()
