"""Writes pictures as people send them, with what Pillow makes of each: `make.py OUT`.

Each picture NAME.EXT lies beside NAME.EXT.expected.png, which is Pillow's own way from the file to
the model's size: `exif_transpose`, `convert("RGB")`, `resize` with Lanczos, every pixel decoded.
tests/pillow.rs holds the daemon's way against it. The same versions write the same bytes.
"""

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Neither square nor a divisor of anything: a picture that lies on its side shows.
MODEL_SIZE = (150, 100)
ORIENTATION = 0x0112

Written = Iterator[tuple[str, bytes]]


def main() -> None:
    """Writes every picture into the folder that was named."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for maker in (jpegs, turned, odd_sizes, other_formats):
        for name, file in maker():
            (out / name).write_bytes(file)
            expected(file).save(out / f"{name}.expected.png")


def expected(file: bytes) -> Image.Image:
    """What Pillow gives a model."""
    with Image.open(BytesIO(file)) as picture:
        upright = ImageOps.exif_transpose(picture)
        return upright.convert("RGB").resize(MODEL_SIZE, Image.Resampling.LANCZOS)


def photo(width: int, height: int, seed: int = 1) -> Image.Image:
    """Soft shapes, a coloured one with edges, and a sensor's noise.

    Colours vary half as much as the brightness, which is still more than in photographs.
    """
    random = np.random.default_rng(seed)
    cells = (max(2, height // 60), max(2, width // 60))
    coarse = random.integers(60, 196, (*cells, 1)) + random.integers(-40, 41, (*cells, 3))
    soft = Image.fromarray(coarse.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(soft).astype(np.int16)
    pixels[height // 3 : height // 2, width // 5 : width // 3] = (200, 60, 50)
    pixels += random.integers(-8, 9, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def jpegs() -> Written:
    """Codings and colours, at a size that is decoded at 1/2, 1/4 and 1/8 of its sides."""
    for width, height in ((700, 500), (1403, 917), (2600, 1801)):
        size = f"{width}"
        rgb = photo(width, height)
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
            for progressive in (False, True):
                coding = "progressive" if progressive else "baseline"
                yield (
                    f"{coding}-{name}-{size}.jpg",
                    saved(
                        rgb, "JPEG", quality=90, subsampling=subsampling, progressive=progressive
                    ),
                )
        yield f"quality-40-{size}.jpg", saved(rgb, "JPEG", quality=40)
        yield f"restarts-{size}.jpg", saved(rgb, "JPEG", quality=85, restart_marker_rows=1)
        yield f"rgb-{size}.jpg", saved(rgb, "JPEG", quality=90, keep_rgb=True)
        yield f"grey-{size}.jpg", saved(rgb.convert("L"), "JPEG", quality=90)
        yield f"grey-progressive-{size}.jpg", saved(rgb.convert("L"), "JPEG", progressive=True)
        cmyk = saved(rgb.convert("CMYK"), "JPEG", quality=90)
        yield f"cmyk-{size}.jpg", cmyk
        yield f"ycck-{size}.jpg", as_ycck(cmyk)
        yield (
            f"cmyk-progressive-{size}.jpg",
            saved(rgb.convert("CMYK"), "JPEG", progressive=True),
        )


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
            exif = Image.Exif()
            exif[ORIENTATION] = orientation
            yield (
                f"orientation-{orientation}-{width}.jpg",
                saved(picture, "JPEG", quality=90, exif=exif),
            )


def odd_sizes() -> Written:
    """What lies at the edges of blocks, and beyond good taste.

    The narrowest have a colour for each pixel: libjpeg does not smooth the colours of a picture
    that has fewer than three columns of them, and others do.
    """
    sizes = (
        (1, 1),
        (2, 1),
        (1, 3),
        (7, 9),
        (17, 15),
        (601, 401),
        (1201, 803),
        (9000, 5),
        (3, 7000),
    )
    for width, height in sizes:
        picture = photo(width, height, seed=3)
        for kind, extension in (("JPEG", "jpg"), ("PNG", "png")):
            options = {"subsampling": 0} if kind == "JPEG" and width < 5 else {}
            yield f"size-{width}x{height}.{extension}", saved(picture, kind, **options)


def other_formats() -> Written:
    """Formats beside JPEG, and the colour modes that they have."""
    rgb = photo(640, 421, seed=4)
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    convert: Callable[[str], Image.Image] = rgb.convert
    pictures = {
        "rgb": rgb,
        "rgba": alpha,
        "grey": convert("L"),
        "grey-alpha": alpha.convert("LA"),
        "palette": convert("P"),
    }
    for name, picture in pictures.items():
        yield f"{name}.png", saved(picture, "PNG")
    for name in ("rgb", "grey", "palette"):
        yield f"{name}.bmp", saved(pictures[name], "BMP")
        yield f"{name}.gif", saved(pictures[name], "GIF")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"rgb-{compression}.tiff", saved(rgb, "TIFF", compression=compression)
    yield "grey.tiff", saved(pictures["grey"], "TIFF")
    yield "lossy.webp", saved(rgb, "WEBP", quality=85)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "alpha.webp", saved(alpha, "WEBP", lossless=True, exact=True)


if __name__ == "__main__":
    main()
