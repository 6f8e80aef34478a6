"""PNGs: every colour type and depth, in rows and interlaced."""

from io import BytesIO

import numpy as np
import png  # type: ignore[import-untyped,unused-ignore]
from files import Written, oriented, saved
from numpy.typing import NDArray
from PIL import Image
from scenes import photo

SIZE = (641, 421)

Samples = NDArray[np.integer]


def written() -> Written:
    """All of them."""
    for maker in (depths, palettes, pillows, odd_sizes, turned):
        yield from maker()


def depths() -> Written:
    """Grey and colours, with alpha and without, of 1 to 16 bits."""
    rgb = photo(*SIZE, seed=4)
    colours, grey = wide(rgb), wide(rgb.convert("L"))[..., None]
    alpha = grey[::-1]
    kinds = {
        "grey": (grey, (1, 2, 4, 8, 16)),
        "grey-alpha": (np.concatenate([grey, alpha], 2), (8, 16)),
        "rgb": (colours, (8, 16)),
        "rgba": (np.concatenate([colours, alpha], 2), (8, 16)),
    }
    for name, (samples, depths) in kinds.items():
        for bits in depths:
            for interlaced in (False, True):
                writer = png.Writer(
                    *SIZE,
                    greyscale=name.startswith("grey"),
                    alpha=name.endswith(("-alpha", "rgba")),
                    bitdepth=bits,
                    interlace=interlaced,
                )
                yield named(name, bits, interlaced), packed(writer, samples >> (16 - bits))


def palettes() -> Written:
    """Few colours, some of them transparent."""
    rgb = photo(*SIZE, seed=4)
    for bits in (1, 2, 4, 8):
        few = rgb.quantize(1 << bits)
        flat = few.getpalette() or []
        colours = [(*flat[at : at + 3], 255 - at % 200) for at in range(0, len(flat), 3)]
        indices = np.asarray(few).astype(np.uint16)[..., None]
        for interlaced in (False, True):
            writer = png.Writer(*SIZE, palette=colours, bitdepth=bits, interlace=interlaced)
            yield named("palette", bits, interlaced), packed(writer, indices)
    for name, transparent, samples in (
        ("grey", (77,), wide(rgb.convert("L"))[..., None]),
        ("rgb", (200, 60, 50), wide(rgb)),
    ):
        writer = png.Writer(
            *SIZE, greyscale=name == "grey", transparent=transparent, bitdepth=8, interlace=False
        )
        yield f"{name}-transparent.png", packed(writer, samples >> 8)


def wide(picture: Image.Image) -> Samples:
    """Samples of 16 bits, with something in the lower eight."""
    random = np.random.default_rng(6)
    samples = np.asarray(picture).astype(np.uint16) << 8
    noise: Samples = random.integers(0, 256, samples.shape, dtype=np.uint16)
    return samples | noise


def named(name: str, bits: int, interlaced: bool) -> str:
    return f"{name}-{bits}{'-interlaced' if interlaced else ''}.png"


def packed(writer: png.Writer, samples: Samples) -> bytes:
    file = BytesIO()
    rows = samples.reshape(samples.shape[0], -1)
    writer.write(file, rows.tolist())
    return file.getvalue()


def pillows() -> Written:
    """As Pillow writes them, small and large."""
    yield "pillow-1.png", saved(photo(*SIZE).convert("1"), "PNG")
    yield "pillow-palette.png", saved(photo(*SIZE).convert("P"), "PNG")
    for width, height in ((1403, 917), (2600, 1801)):
        rgb = photo(width, height)
        alpha = rgb.copy()
        alpha.putalpha(rgb.convert("L"))
        yield f"pillow-rgb-{width}.png", saved(rgb, "PNG", compress_level=1)
        yield f"pillow-rgba-{width}.png", saved(alpha, "PNG", compress_level=1)
        yield f"pillow-grey-{width}.png", saved(rgb.convert("L"), "PNG", compress_level=1)


def odd_sizes() -> Written:
    """Single pixels and ribbons."""
    for width, height in ((1, 1), (2, 1), (1, 3), (7, 9), (9000, 5), (3, 7000), (301, 201)):
        yield f"size-{width}x{height}.png", saved(photo(width, height, seed=3), "PNG")


def turned() -> Written:
    """The eight EXIF orientations."""
    for orientation in range(1, 9):
        picture = photo(400, 300, seed=2)
        yield f"orientation-{orientation}.png", saved(picture, "PNG", exif=oriented(orientation))
