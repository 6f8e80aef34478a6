"""TIFFs: compressions, layouts and colours."""

from io import BytesIO

import numpy as np
import tifffile
from files import ORIENTATION, Written, saved
from PIL import Image
from scenes import photo

SIZE = (641, 421)
PREDICTOR = 317


def written() -> Written:
    """All of them."""
    rgb = photo(*SIZE, seed=4)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"rgb-{compression}.tiff", saved(rgb, "TIFF", compression=compression)
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        file = saved(rgb, "TIFF", compression=compression, tiffinfo={PREDICTOR: 2})
        yield f"rgb-{compression}-predictor.tiff", file
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    modes: dict[str, Image.Image] = {
        "1": rgb.convert("1"),
        "grey": rgb.convert("L"),
        "palette": rgb.convert("P"),
        "rgba": alpha,
        "grey-alpha": alpha.convert("LA"),
        "cmyk": rgb.convert("CMYK"),
    }
    for name, picture in modes.items():
        yield f"{name}.tiff", saved(picture, "TIFF")
    yield "cmyk-lzw.tiff", saved(modes["cmyk"], "TIFF", compression="tiff_lzw")
    yield "jpeg.tiff", saved(rgb, "TIFF", compression="jpeg")
    yield from scientific(np.asarray(rgb))
    for orientation in range(1, 9):
        picture = photo(400, 300, seed=2)
        file = saved(picture, "TIFF", tiffinfo={ORIENTATION: orientation})
        yield f"orientation-{orientation}.tiff", file


def scientific(pixels: np.ndarray) -> Written:
    """As tifffile writes them: tiles, either byte order, 16 bits."""
    for name in ("little", "big"):
        for tile in (None, (64, 64)):
            layout = "tiles" if tile else "strips"
            for samples in (pixels, pixels.astype(np.uint16) * 257):
                for predictor in (False, True):
                    file = BytesIO()
                    tifffile.imwrite(
                        file,
                        samples,
                        byteorder="<" if name == "little" else ">",
                        tile=tile,
                        rowsperstrip=None if tile else 50,
                        predictor=predictor,
                        metadata=None,
                        photometric="rgb",
                        compression="zlib",
                    )
                    bits = samples.itemsize * 8
                    ending = "-predictor" if predictor else ""
                    yield f"{name}-{layout}-{bits}{ending}.tiff", file.getvalue()
