"""As much of PNG as is needed here: an alpha channel for an opaque picture, and a plain one.

Standard library only: a site that needs no Pillow should not need it for this.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_RGB, _RGBA = 2, 6
# What became of 255 in every pixel, by the row's filter (none, sub, up, average, Paeth): for the
# row's first pixel and for the others, in the first row and in those below. PNG filters each
# channel on its own, so the other channels stay as they are and no row has to be unfiltered.
_FIRST_ROW = ((255, 255), (255, 0), (255, 255), (255, 128), (255, 0))
_ROWS_BELOW = ((255, 255), (255, 0), (0, 0), (128, 0), (0, 0))
# Of zlib: an overlay of 300 x 300 takes 9 ms; zlib's default takes 56 and saves 13 %.
_LEVEL = 2


def with_alpha(png: bytes) -> bytes:
    """An RGB picture as RGBA, opaque; any other kind of PNG as it is.

    Raises `ValueError` for what is no PNG.
    """
    chunks = list(_chunks(png))
    width, height, depth, colour, compression, filtering, interlace = _HEADER.unpack(chunks[0][1])
    if (colour, depth, interlace) != (_RGB, 8, 0):
        return png
    rows = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    header = _HEADER.pack(width, height, depth, _RGBA, compression, filtering, interlace)
    return _file(header, _rows_with_alpha(rows, width, height))


def plain_square(side: int, colour: tuple[int, int, int]) -> bytes:
    """A picture of one colour."""
    rows = (b"\0" + bytes(colour) * side) * side
    return _file(_HEADER.pack(side, side, 8, _RGB, 0, 0, 0), rows)


def _rows_with_alpha(rows: bytes, width: int, height: int) -> bytes:
    stride = 1 + 3 * width
    if len(rows) != stride * height:
        raise ValueError("the PNG's pixels are not as many as its header says")
    made = bytearray()
    for number in range(height):
        row = rows[number * stride : (number + 1) * stride]
        first, others = (_ROWS_BELOW if number else _FIRST_ROW)[row[0]]
        wide = bytearray(4 * width)
        for channel in range(3):
            wide[channel::4] = row[1 + channel :: 3]
        wide[3::4] = bytes([first]) + bytes([others]) * (width - 1)
        made.append(row[0])
        made += wide
    return bytes(made)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(_SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError("no PNG")
    place = len(_SIGNATURE)
    while place + 8 <= len(png):
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def _file(header: bytes, rows: bytes) -> bytes:
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, _LEVEL)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
