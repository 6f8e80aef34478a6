"""As much of PNG as is needed here: a picture of one colour. Standard library only."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_DEPTH, _RGBA = 8, 6
_OPAQUE = 255


def plain_square(side: int, colour: tuple[int, int, int]) -> bytes:
    """RGBA and opaque, as the daemon's overlays of the model's size are."""
    row = b"\0" + bytes((*colour, _OPAQUE)) * side
    header = _HEADER.pack(side, side, _DEPTH, _RGBA, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * side)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
