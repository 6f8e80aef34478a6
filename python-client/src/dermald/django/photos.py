"""Photos as visitors send them: told by their content, and out of a camera's `data:` text.

Never by the name or the type that came along: those are the visitor's words. Decodes no picture.
"""

from __future__ import annotations

import binascii
from base64 import b64decode

# What the daemon reads, by its first bytes: media type and the ending of a name.
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"BM", "image/bmp"),
)
# What visitors choose by mistake, or because their phone saves it.
_FOREIGN = (
    (b"%PDF", "PDF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"PK\x03\x04", "ZIP"),
)
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
# As much of a file as tells its kind, with the further brands of a HEIF file.
HEAD_BYTES = 64
_NOT_BASE64 = str.maketrans({" ": "+", "\r": None, "\n": None, "\t": None})


class BrokenText(ValueError):
    """A camera's text that does not hold a whole photo."""


class LongText(ValueError):
    """A camera's text whose photo would be larger than allowed; it was not decoded."""


def media_type(head: bytes) -> str | None:
    """The type of a picture that the daemon reads, by the file's first bytes; else None."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def foreign_kind(head: bytes) -> str | None:
    """The name of another known kind of file, such as HEIC; else None."""
    for signature, kind in _FOREIGN:
        if head.startswith(signature):
            return kind
    if head[4:8] != b"ftyp":
        return None
    # Some cameras write the brand of any HEIF file first, and only the others tell which it is.
    brands = {head[place : place + 4] for place in range(8, len(head) - 3, 4)}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & _HEIC else None


def is_data_url(text: str) -> bool:
    """Whether a form's text is what a camera's canvas gives, and not words."""
    return text[:5].lower() == "data:"


def holds_nothing(text: str) -> bool:
    """Whether it is what a canvas without pixels gives (`data:,`), or no text at all."""
    return text.strip() in ("", "data:,")


def photo_in(text: str, max_bytes: int) -> bytes:
    """The file in `data:image/...;base64,...`.

    Raises `LongText` before anything is decoded, `BrokenText` for all else.
    """
    head, comma, body = text.partition(",")
    kind, _, parameters = head.partition(";")
    is_base64 = "base64" in parameters.lower().split(";")
    if not comma or not kind.lower().startswith("data:image/") or not is_base64:
        raise BrokenText("no data:image/...;base64, text")
    if len(body) * 3 // 4 > max_bytes + 3:
        raise LongText(f"about {len(body) * 3 // 4} bytes")
    # A `+` that was sent without being escaped arrives as a space.
    try:
        return b64decode(body.strip().translate(_NOT_BASE64), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenText(f"no base64: {error}") from error
