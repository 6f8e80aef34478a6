"""Whether an uploaded file can be a photo: its size and its first bytes. Asks no daemon.

For form fields and model fields alike:

    image = models.ImageField(validators=[PhotoValidator()])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils.deconstruct import deconstructible

from .._translation import translated_lazily
from .._visitors import PICTURE
from .conf import daemon_settings
from .photos import HEAD_BYTES, foreign_kind, media_type

if TYPE_CHECKING:
    from django.core.files.base import File

TOO_LARGE = translated_lazily("This photo is larger than %(limit)s. Please choose a smaller one.")
FOREIGN = translated_lazily("This is a %(kind)s file. Please choose a photo as JPEG, PNG or WebP.")


@deconstructible
class PhotoValidator:
    """max_bytes: None for MAX_BYTES of the settings. Raises `ValidationError` with code
    `picture_too_large` or `picture_unsupported`."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes

    def __call__(self, file: File[bytes]) -> None:
        limit = self.max_bytes or daemon_settings().max_bytes
        if file.size > limit:
            values = {"limit": filesizeformat(limit)}
            raise ValidationError(TOO_LARGE, "picture_too_large", values)
        head = head_of(file)
        if media_type(head) is not None:
            return
        kind = foreign_kind(head)
        if kind is not None:
            raise ValidationError(FOREIGN, "picture_unsupported", {"kind": kind})
        raise ValidationError(PICTURE.sentence(), "picture_unsupported")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PhotoValidator) and self.max_bytes == other.max_bytes

    def __hash__(self) -> int:
        return hash((PhotoValidator, self.max_bytes))


validate_photo = PhotoValidator()


def head_of(file: File[bytes]) -> bytes:
    """The first bytes; the file stands at its start afterwards."""
    file.open()
    head: bytes = file.read(HEAD_BYTES)
    file.seek(0)
    return head
