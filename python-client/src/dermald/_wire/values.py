"""The values that messages are made of: numbers, strings, options, lists, choices.

Knows no message and does no I/O. Every length is compared with the bytes at hand before anything
is reserved for it.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

Extensions = tuple[tuple[str, bytes], ...]
# A frame to be sent: pieces for `sendmsg`.
Parts = list[bytes | bytearray | memoryview]

EXTENSIONS_LIMIT = 64
# What the length before a frame can say.
LONGEST_FRAME_BYTES = 0xFFFF_FFFF
# From this size on, bytes are handed to the socket as they are instead of being copied into the
# frame. Below it one copy is cheaper than one more entry in sendmsg's list.
UNCOPIED_BYTES = 4096

_U8 = struct.Struct("B")
_U16 = struct.Struct("<H")
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
F32 = struct.Struct("<f")
_LENGTH = struct.Struct(">I")


class WireError(Exception):
    """Bytes that are no message; `code` is the protocol's word for why."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


def malformed(why: str) -> WireError:
    return WireError("malformed", why)


class Writer:
    """Collects a message; `frame` returns it with its length in front, in parts to be sent."""

    __slots__ = ("_done", "_open", "_start")

    def __init__(self) -> None:
        self._done: Parts = []
        # The length's place is kept free, so that nothing is copied when it is known.
        self._start = self._open = bytearray(_LENGTH.size)

    def frame(self, limit_bytes: int) -> Parts:
        parts = [*self._done, self._open]
        length = sum(map(len, parts)) - _LENGTH.size
        if length > limit_bytes:
            raise WireError("frame_too_large", f"{length} bytes are more than {limit_bytes}")
        _LENGTH.pack_into(self._start, 0, length)
        return parts

    def u16(self, value: int) -> None:
        self._open += _U16.pack(value)

    def u32(self, value: int) -> None:
        self._open += U32.pack(value)

    def u64(self, value: int) -> None:
        self._open += U64.pack(value)

    def f32(self, value: float) -> None:
        self._open += F32.pack(value)

    def f32s(self, values: tuple[float, ...]) -> None:
        self.u64(len(values))
        self._open += struct.pack(f"<{len(values)}f", *values)

    def boolean(self, value: bool) -> None:
        self._open.append(1 if value else 0)

    def string(self, text: str) -> None:
        self.blob(text.encode())

    def blob(self, data: bytes | memoryview) -> None:
        self.u64(len(data))
        if len(data) < UNCOPIED_BYTES:
            self._open += data
            return
        self._done += [self._open, data]
        self._open = bytearray()

    def option(self, value: T | None, write: Callable[[T], None]) -> None:
        self.boolean(value is not None)
        if value is not None:
            write(value)

    def choice(self, name: str, names: tuple[str, ...]) -> None:
        self.u32(names.index(name))

    def extensions(self, extensions: Extensions) -> None:
        self.u64(len(extensions))
        for key, value in extensions:
            self.string(key)
            self.blob(value)


class Reader:
    """Takes a message apart, in order. Raises `WireError` where the bytes do not fit.

    This runs after each wait for the daemon, when the interpreter's caches are cold: a function
    that is entered for the first time since costs more than what it does.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, message: bytes) -> None:
        self._data = message
        self._end = len(message)
        self._at = 0

    def end(self) -> None:
        """The message must have been read to its last byte."""
        if self._at != self._end:
            raise malformed(f"{self._end - self._at} bytes follow the message")

    def numbers(self, form: struct.Struct) -> tuple[int, ...]:
        """Several numbers that follow one another."""
        at = self._at
        self._at = at + form.size
        try:
            return form.unpack_from(self._data, at)
        except struct.error as error:
            raise self._too_short(form.size, at) from error

    def u16(self) -> int:
        return self.numbers(_U16)[0]

    def u32(self) -> int:
        return self.numbers(U32)[0]

    def u64(self) -> int:
        return self.numbers(U64)[0]

    def f32(self) -> float:
        return self.numbers(F32)[0]

    def f32s(self) -> tuple[float, ...]:
        return self.numbers(struct.Struct(f"<{self.count(4)}f"))

    def boolean(self) -> bool:
        value = self.numbers(_U8)[0]
        if value > 1:
            raise malformed(f"{value} is neither 0 nor 1")
        return value == 1

    def string(self) -> str:
        at = self._at + U64.size
        try:
            (length,) = U64.unpack_from(self._data, self._at)
            if length > self._end - at:
                raise self._too_short(length, at)
            self._at = at + length
            return self._data[at : self._at].decode()
        except struct.error as error:
            raise self._too_short(U64.size, self._at) from error
        except UnicodeDecodeError as error:
            raise malformed("a string is not UTF-8") from error

    def blob(self) -> bytes:
        (length,) = self.numbers(U64)
        at = self._at
        end = at + length
        if end > self._end:
            raise self._too_short(length, at)
        self._at = end
        return self._data[at:end]

    def option(self, read: Callable[[], T]) -> T | None:
        return read() if self.boolean() else None

    def choice(self, names: tuple[str, ...]) -> str:
        number = self.u32()
        if number >= len(names):
            raise malformed(f"{number} is none of {', '.join(names)}")
        return names[number]

    def extensions(self) -> Extensions:
        count = self.count(16)
        if count > EXTENSIONS_LIMIT:
            raise malformed(f"{count} extensions are more than {EXTENSIONS_LIMIT}")
        return tuple([(self.string(), self.blob()) for _ in range(count)])

    def count(self, smallest: int) -> int:
        """The count of a list whose entries take `smallest` bytes or more each."""
        count = self.numbers(U64)[0]
        if count * smallest > self._end - self._at:
            raise malformed(f"{count} entries do not fit into the rest of the frame")
        return count

    def _too_short(self, expected: int, at: int) -> WireError:
        return malformed(f"{expected} bytes were expected, {self._end - at} are left")
