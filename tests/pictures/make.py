"""Writes pictures as people send them, with what Pillow makes of each: `make.py OUT`.

Each picture NAME.EXT lies beside NAME.EXT.expected.png, which is Pillow's own way from the file to
the model's size: `exif_transpose`, `convert("RGB")`, `resize` with Lanczos, every pixel decoded.
tests/pillow.rs holds the daemon's way against it. The same versions write the same bytes.
"""

import sys
import warnings
from io import BytesIO
from pathlib import Path

import bmps
import jpegs
import numpy as np
import pngs
import tiffs
import webs
from PIL import Image, ImageOps

# Neither square nor a divisor of anything: a picture that lies on its side shows.
MODEL_SIZE = (150, 100)


def main() -> None:
    """Writes every picture into the folder that was named."""
    # Pillow advises against what `palettes()` is for.
    warnings.filterwarnings("ignore", "Palette images with Transparency")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for maker in (jpegs, pngs, tiffs, bmps, webs):
        for name, file in maker.written():
            (out / name).write_bytes(file)
            expected(file).save(out / f"{name}.expected.png")


def expected(file: bytes) -> Image.Image:
    """What Pillow gives a model."""
    with Image.open(BytesIO(file)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode == "I;16":
            # Pillow's own conversion cuts off at 255, which leaves a white picture.
            upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
        return upright.convert("RGB").resize(MODEL_SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
