"""Writes small pictures of every format and coding, to be changed byte by byte: `seeds.py OUT`.

They are a few hundred bytes long, so that a change is likely to hit something that matters.
tests/pictures/make.py has those that look like photos. The same versions write the same bytes.
"""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image, PngImagePlugin

ORIENTATION = 0x0112

Written = Iterator[tuple[str, bytes]]


def main() -> None:
    """Writes every picture into the folder that was named."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for maker in (jpegs, pngs, webps, gifs, bmps, tiffs):
        for name, file in maker():
            (out / name).write_bytes(file)


def picture(width: int = 24, height: int = 18) -> Image.Image:
    """Edges, colours and soft parts."""
    mandelbrot = Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 40)
    colours = (
        mandelbrot,
        mandelbrot.rotate(180),
        mandelbrot.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    )
    return Image.merge("RGB", colours)


def saved(made: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    made.save(file, kind, **options)
    return file.getvalue()


def in_mode(mode: str) -> Image.Image:
    """The picture in Pillow's mode `mode`, of which some are reached through another."""
    rgb = picture()
    if mode in ("I;16", "F"):
        return rgb.convert("L").convert("I" if mode == "I;16" else "F").convert(mode)
    if mode in ("LA", "RGBA"):
        with_alpha = rgb.convert(mode)
        with_alpha.putalpha(rgb.convert("L"))
        return with_alpha
    return rgb.convert(mode)


def plain(mode: str) -> str:
    """The mode as part of a name."""
    return mode.lower().replace(";", "")


def jpegs() -> Written:
    """Codings and colours, orientation, metadata, and sizes that leave partial blocks."""
    for progressive in (False, True):
        coding = "progressive" if progressive else "baseline"
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
            options = {"subsampling": subsampling, "progressive": progressive}
            yield f"{coding}-{name}.jpg", saved(picture(), "JPEG", **options)
        yield f"{coding}-large.jpg", saved(picture(70, 50), "JPEG", progressive=progressive)
        for mode in ("L", "CMYK"):
            file = saved(in_mode(mode), "JPEG", progressive=progressive)
            yield f"{coding}-{plain(mode)}.jpg", file
    yield "restarts.jpg", saved(picture(40, 40), "JPEG", restart_marker_rows=1)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    metadata = {"exif": exif, "icc_profile": b"no profile" * 20, "comment": b"a comment"}
    yield "metadata.jpg", saved(picture(), "JPEG", **metadata)


def pngs() -> Written:
    """Colour types, and every kind of metadata."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"{plain(mode)}.png", saved(in_mode(mode), "PNG")
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    texts = PngImagePlugin.PngInfo()
    texts.add_text("plain", "text " * 20)
    texts.add_text("packed", "text " * 20, zip=True)
    texts.add_itxt("international", "text " * 20, zip=True)
    metadata = {"exif": exif, "icc_profile": b"no profile" * 20, "pnginfo": texts}
    yield "metadata.png", saved(picture(), "PNG", **metadata)
    yield "transparent.png", saved(in_mode("P"), "PNG", transparency=3)
    yield (
        "animated.png",
        saved(picture(), "PNG", save_all=True, append_images=[in_mode("RGB").rotate(90)]),
    )


def webps() -> Written:
    """Both codings, transparency, animation, metadata."""
    yield "lossy.webp", saved(picture(), "WEBP")
    yield "lossless.webp", saved(picture(), "WEBP", lossless=True)
    yield "lossy-alpha.webp", saved(in_mode("RGBA"), "WEBP")
    yield "lossless-alpha.webp", saved(in_mode("RGBA"), "WEBP", lossless=True)
    more = {"save_all": True, "append_images": [picture().rotate(90)]}
    yield "animated.webp", saved(picture(), "WEBP", **more)
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    yield "metadata.webp", saved(picture(), "WEBP", exif=exif, icc_profile=b"no profile" * 20)


def gifs() -> Written:
    """Plain, interlaced, transparent, animated, with a comment."""
    yield "plain.gif", saved(in_mode("P"), "GIF", interlace=False)
    yield "interlaced.gif", saved(in_mode("P"), "GIF", interlace=True, comment=b"a comment")
    yield "transparent.gif", saved(in_mode("P"), "GIF", transparency=3)
    more = {"save_all": True, "append_images": [in_mode("P").rotate(90)], "loop": 0}
    yield "animated.gif", saved(in_mode("P"), "GIF", **more)


def bmps() -> Written:
    """Depths."""
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"{plain(mode)}.bmp", saved(in_mode(mode), "BMP")


def tiffs() -> Written:
    """Modes and compressions, tiles, big files, orientation."""
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"):
        yield f"{plain(mode)}.tiff", saved(in_mode(mode), "TIFF")
    for packed in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{packed}.tiff", saved(picture(), "TIFF", compression=packed)
    for packed in ("group3", "group4"):
        yield f"{packed}.tiff", saved(in_mode("1"), "TIFF", compression=packed)
    predicted = {"compression": "tiff_lzw", "tiffinfo": {317: 2, ORIENTATION: 5}}
    yield "predicted.tiff", saved(picture(), "TIFF", **predicted)
    yield "big.tiff", saved(picture(), "TIFF", big_tiff=True)


if __name__ == "__main__":
    main()
