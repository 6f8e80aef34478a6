"""The values of docs/protocol.md as bytes: fixed width, little-endian, nothing in between.

Knows no message. This is written from the page alone, so that the vectors check the Rust and the
Python implementation instead of repeating one of them.
"""

import struct


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def f32(value: float) -> bytes:
    return struct.pack("<f", value)


def boolean(value: bool) -> bytes:
    return u8(1 if value else 0)


def string(text: str) -> bytes:
    return blob(text.encode("utf-8"))


def blob(data: bytes) -> bytes:
    return u64(len(data)) + data


NONE = u8(0)


def some(value: bytes) -> bytes:
    return u8(1) + value


def several(*values: bytes) -> bytes:
    return u64(len(values)) + b"".join(values)


def choice(number: int, *fields: bytes) -> bytes:
    return u32(number) + b"".join(fields)


def extension(key: str, value: bytes) -> bytes:
    return string(key) + blob(value)


NO_EXTENSIONS = several()


def frame(message: bytes) -> bytes:
    """The length is the only big-endian number of the protocol."""
    return struct.pack(">I", len(message)) + message
