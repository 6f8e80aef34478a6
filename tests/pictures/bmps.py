"""BMPs of every depth, in either direction, and run lengths."""

import struct

import numpy as np
from files import Written, saved
from numpy.typing import NDArray
from PIL import Image
from scenes import photo

SIZE = (641, 421)


def written() -> Written:
    """All of them."""
    rgb = photo(*SIZE, seed=4)
    yield "pillow-1.bmp", saved(rgb.convert("1"), "BMP")
    yield "pillow-grey.bmp", saved(rgb.convert("L"), "BMP")
    yield "pillow-palette.bmp", saved(rgb.convert("P"), "BMP")
    yield "pillow-rgb.bmp", saved(rgb, "BMP")
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    yield "pillow-rgba.bmp", saved(alpha, "BMP")
    for top_down in (False, True):
        direction = "top-down" if top_down else "bottom-up"
        for bits in (1, 4, 8):
            few = rgb.quantize(1 << bits)
            yield f"{bits}-{direction}.bmp", indexed(few, bits, top_down)
        pixels = np.asarray(rgb)[..., ::-1]
        yield f"24-{direction}.bmp", bmp(rows_of(pixels), 24, top_down)
        padded = np.concatenate([pixels, np.zeros((*pixels.shape[:2], 1), np.uint8)], 2)
        yield f"32-{direction}.bmp", bmp(rows_of(padded), 32, top_down)
        r, g, b = (pixels[..., at].astype(np.uint16) >> 3 for at in (2, 1, 0))
        yield f"16-{direction}.bmp", bmp(rows_of(r << 10 | g << 5 | b), 16, top_down)
    few = rgb.quantize(256)
    yield "rle8.bmp", bmp([run_lengths(row) for row in np.asarray(few)], 8, False, few, rle=1)


def indexed(few: Image.Image, bits: int, top_down: bool) -> bytes:
    indices = np.asarray(few)
    planes = np.unpackbits(indices[..., None], axis=2)[..., 8 - bits :]
    rows = np.packbits(planes.reshape(indices.shape[0], -1), axis=1)
    return bmp(rows_of(rows), bits, top_down, few)


def rows_of(samples: NDArray[np.generic]) -> list[bytes]:
    """Each padded to four bytes."""
    return [row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in samples]


def run_lengths(row: NDArray[np.uint8]) -> bytes:
    """Runs of one colour, and the mark of a line's end."""
    ends = [*(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
    runs, start = bytearray(), 0
    for end in ends:
        while start < end:
            length = min(end - start, 255)
            runs += bytes((length, int(row[start])))
            start += length
    return bytes(runs) + b"\0\0"


def bmp(
    rows: list[bytes], bits: int, top_down: bool, few: Image.Image | None = None, rle: int = 0
) -> bytes:
    """Headers, palette, and rows from the last one up unless it says otherwise."""
    width, height = SIZE
    flat = few.getpalette() or [] if few else []
    palette = b"".join(bytes((*flat[at : at + 3][::-1], 0)) for at in range(0, len(flat), 3))
    body = b"".join(rows if top_down else rows[::-1]) + (b"\0\1" if rle else b"")
    start = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    size = (width, -height if top_down else height)
    info = struct.pack(
        "<IiiHHIIiiII", 40, *size, 1, bits, rle, len(body), 2835, 2835, len(flat) // 3, 0
    )
    return head + info + palette + body
