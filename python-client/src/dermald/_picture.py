"""Pictures as callers have them: bytes, a path, an open file, an upload. Looks at no content."""

from __future__ import annotations

import os

from ._errors import picture_too_long

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol, TypeAlias, TypeGuard

    class BinaryFile(Protocol):
        """An open binary file, as `open(path, "rb")` returns it."""

        def read(self, size: int = ..., /) -> bytes: ...

    class Upload(Protocol):
        """Django's `UploadedFile`, or anything alike."""

        size: int | None

        def chunks(self) -> Iterable[bytes]: ...

    Image: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryFile | Upload


class Picture:
    """A picture that is read once, when the longest length that the daemon takes is known."""

    __slots__ = ("_data", "_read")

    def __init__(self, image: Image) -> None:
        """Raises `TypeError` when `image` is nothing that a picture can be read from."""
        self._read = _reader_of(image)
        self._data: bytes | memoryview | None = None

    def data(self, limit_bytes: int) -> bytes | memoryview:
        """The file's bytes.

        Raises `PictureError` when there are more than `limit_bytes` of them, without reading them
        all, and `OSError` when the file cannot be read.
        """
        if self._data is None:
            data = self._read(limit_bytes)
            if len(data) > limit_bytes:
                raise picture_too_long(limit_bytes)
            self._data = data
        return self._data


def _reader_of(image: Image) -> Callable[[int], bytes | memoryview]:
    if isinstance(image, (bytes, bytearray, memoryview)):
        view = memoryview(image).cast("B")
        return lambda _limit: view
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        return lambda limit: _read_path(path, limit)
    # By their methods: importing Django to ask for its class would make every site pay for it.
    if _is_upload(image):
        return lambda limit: _read_upload(image, limit)
    if _is_file(image):
        return lambda limit: _read_file(image, limit)
    raise TypeError(
        "image is bytes, a path, an open binary file or an uploaded file, "
        f"not {type(image).__name__}"
    )


def _is_upload(image: BinaryFile | Upload) -> TypeGuard[Upload]:
    return hasattr(image, "chunks")


def _is_file(image: BinaryFile | Upload) -> TypeGuard[BinaryFile]:
    return hasattr(image, "read")


def _read_path(path: str, limit: int) -> bytes:
    with open(path, "rb") as file:
        return _read_file(file, limit)


def _read_file(file: BinaryFile, limit: int) -> bytes:
    # One byte more than allowed tells a file that is too long from one that just fits.
    data: object = file.read(limit + 1)
    if not isinstance(data, bytes):
        raise TypeError("image is a file in text mode; open it with mode 'rb'")
    return data


def _read_upload(upload: Upload, limit: int) -> bytes:
    if upload.size is not None and upload.size > limit:
        raise picture_too_long(limit)
    parts: list[bytes] = []
    length = 0
    for chunk in upload.chunks():
        parts.append(chunk)
        length += len(chunk)
        if length > limit:
            raise picture_too_long(limit)
    return b"".join(parts)
