"""Frames out of a stream of bytes, however the stream is cut. Does no I/O, knows no message."""

from __future__ import annotations

import struct

from .values import WireError, malformed

_LENGTH = struct.Struct(">I")
_PREFIX = _LENGTH.size


class FrameReader:
    """Feed it what was received; take out whole messages.

    Memory grows with what arrives, never with what a length promises, and a length above the
    limit is an error as soon as its four bytes are there.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Bytes as received, any number of them."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The oldest whole message, without its length; None when more bytes are needed.

        Raises `WireError` when the length is zero or above the limit; the stream is useless then.
        """
        buffer = self._buffer
        if len(buffer) < _PREFIX:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length > self._limit:
            raise WireError("frame_too_large", f"{length} bytes are more than {self._limit}")
        if length == 0:
            raise malformed("a frame is empty")
        end = _PREFIX + length
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            message = bytes(view[_PREFIX:end])
        del buffer[:end]
        return message

    def pending(self) -> int:
        """Bytes of a frame that has begun and not ended."""
        return len(self._buffer)
