"""JPEGs: codings, colours, encoders, and what lies at the edges of blocks."""

import cv2
import numpy as np
from files import Written, oriented, saved
from PIL import Image
from scenes import patches, photo, skin

# Decoded at 1/2, and at 1/4 with much and with little to spare.
SIZES = ((700, 500), (1403, 917), (2600, 1801))


def written() -> Written:
    """All of them."""
    for maker in (codings, scenes, opencvs, cmyks, turned, odd_sizes):
        yield from maker()


def codings() -> Written:
    """What encoders choose between."""
    for width, height in SIZES:
        rgb = photo(width, height)
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
            for coding in ("baseline", "progressive"):
                progressive = coding == "progressive"
                file = saved(
                    rgb, "JPEG", quality=90, subsampling=subsampling, progressive=progressive
                )
                yield f"{coding}-{name}-{width}.jpg", file
        grey = rgb.convert("L")
        yield f"quality-40-{width}.jpg", saved(rgb, "JPEG", quality=40)
        yield f"restarts-{width}.jpg", saved(rgb, "JPEG", quality=85, restart_marker_rows=1)
        yield f"rgb-{width}.jpg", saved(rgb, "JPEG", quality=90, keep_rgb=True)
        yield f"grey-{width}.jpg", saved(grey, "JPEG", quality=90)
        yield f"grey-progressive-{width}.jpg", saved(grey, "JPEG", progressive=True)


def scenes() -> Written:
    """Colours as people have them, and as strong as they get; the sizes are just enough."""
    for width, height in ((607, 411), (800, 533), (1201, 803), (2400, 1600)):
        for name, subsampling in (("444", 0), ("420", 2)):
            for scene in (patches, skin):
                file = saved(scene(width, height), "JPEG", quality=90, subsampling=subsampling)
                yield f"{scene.__name__}-{name}-{width}.jpg", file


def opencvs() -> Written:
    """Of another encoder, with samplings that Pillow does not write."""
    for width, height in SIZES:
        pixels = np.asarray(photo(width, height, seed=5))
        for name in ("411", "420", "422", "440", "444"):
            sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}")
            yield f"opencv-{name}-{width}.jpg", opencv(pixels, sampling, progressive=False)
            yield f"opencv-progressive-{name}-{width}.jpg", opencv(pixels, sampling, True)


def opencv(pixels: np.ndarray, sampling: int, progressive: bool) -> bytes:
    """With a restart marker after every 7 MCUs, which is no whole row."""
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_RST_INTERVAL, 7]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    done, file = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done
    return file.tobytes()


def cmyks() -> Written:
    """Ink, as Photoshop writes it: inverted, with an Adobe segment."""
    for width, height in SIZES:
        ink = photo(width, height).convert("CMYK")
        file = saved(ink, "JPEG", quality=90)
        yield f"cmyk-{width}.jpg", file
        yield f"ycck-{width}.jpg", as_ycck(file)
        yield f"cmyk-progressive-{width}.jpg", saved(ink, "JPEG", progressive=True)


def as_ycck(cmyk: bytes) -> bytes:
    """The same samples, called YCCK by the last byte of the Adobe segment."""
    at = cmyk.index(b"Adobe") + 11
    assert cmyk[at] == 0
    return cmyk[:at] + b"\x02" + cmyk[at + 1 :]


def turned() -> Written:
    """The eight EXIF orientations, small and large."""
    for width, height in ((400, 300), (2400, 1600), (3000, 2003)):
        picture = photo(width, height, seed=2)
        for orientation in range(1, 9):
            file = saved(picture, "JPEG", quality=90, exif=oriented(orientation))
            yield f"orientation-{orientation}-{width}.jpg", file


def odd_sizes() -> Written:
    """What lies at the edges of blocks, and beyond good taste."""
    sizes = ((1, 1), (2, 1), (1, 3), (3, 4), (7, 9), (17, 15), (601, 401), (1201, 803), (9000, 5))
    for width, height in (*sizes, (3, 7000), (2, 5000), (12001, 17)):
        picture = photo(width, height, seed=3)
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
            file = saved(picture, "JPEG", quality=90, subsampling=subsampling)
            yield f"size-{width}x{height}-{name}.jpg", file
        grey: Image.Image = picture.convert("L")
        yield f"size-{width}x{height}-grey.jpg", saved(grey, "JPEG", quality=90)
