"""A form field for a photo: a chosen file, or a camera's `data:image/...;base64,` text.

    class UploadForm(forms.Form):
        image = PhotoField()

Both arrive under the same name. `cleaned_data` holds an `UploadedFile` in either case, which the
client takes as it is; its `content_type` is what the content says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.template.defaultfilters import filesizeformat

from .._translation import translated_lazily
from .._visitors import MISSING
from .conf import daemon_settings
from .photos import BrokenText, LongText, holds_nothing, is_data_url, media_type, photo_in
from .validators import TOO_LARGE, PhotoValidator, head_of

if TYPE_CHECKING:
    from django.core.files.base import File
    from django.utils.datastructures import MultiValueDict

_ACCEPT = "image/jpeg,image/png,image/webp"


class PhotoInput(forms.FileInput):
    """A file input whose value may also come as text of the same name."""

    def __init__(self, attrs: Mapping[str, Any] | None = None) -> None:
        super().__init__({"accept": _ACCEPT, **(attrs or {})})

    def value_from_datadict(
        self, data: Mapping[str, Any], files: MultiValueDict[str, UploadedFile[bytes]], name: str
    ) -> UploadedFile[bytes] | str | None:
        upload: UploadedFile[bytes] | None = super().value_from_datadict(data, files, name)
        return upload if upload is not None else data.get(name)

    def value_omitted_from_data(
        self, data: Mapping[str, Any], files: Mapping[str, Any], name: str
    ) -> bool:
        return name not in files and name not in data


class PhotoField(forms.FileField):
    """max_bytes: None for MAX_BYTES of the settings.

    Errors have the codes of `PhotoValidator`, `required`, `empty`, and `picture_broken` for a
    camera's text that is no photo.
    """

    widget = PhotoInput
    default_error_messages: ClassVar = {
        "required": translated_lazily(MISSING.text),
        "picture_too_large": TOO_LARGE,
        "picture_broken": translated_lazily(
            "The camera's photo did not arrive whole. Please take it again."
        ),
    }

    def __init__(self, *, max_bytes: int | None = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.max_bytes = max_bytes
        self.validators.append(PhotoValidator(max_bytes))

    def to_python(self, data: Any) -> File[bytes] | None:  # noqa: ANN401  # as Django has it
        if isinstance(data, str):
            return None if holds_nothing(data) else self._camera_photo(data)
        return super().to_python(data)

    def clean(self, data: Any, initial: Any = None) -> Any:  # noqa: ANN401  # as Django has it
        # An empty text is no photo; Django's FileField knows emptiness only as None.
        cleaned = super().clean(None if data in ("", "data:,") else data, initial)
        if isinstance(cleaned, UploadedFile):
            cleaned.content_type = media_type(head_of(cleaned))
        return cleaned

    def _camera_photo(self, text: str) -> UploadedFile[bytes]:
        limit = self.max_bytes or daemon_settings().max_bytes
        if not is_data_url(text):
            raise self._error("picture_broken")
        try:
            photo = photo_in(text, limit)
        except LongText as error:
            raise self._error("picture_too_large", limit=filesizeformat(limit)) from error
        except BrokenText as error:
            raise self._error("picture_broken") from error
        if not photo:
            raise self._error("empty")
        kind = media_type(photo) or "application/octet-stream"
        ending = kind.removeprefix("image/").replace("jpeg", "jpg")
        return SimpleUploadedFile(f"camera.{ending}", photo, kind)

    def _error(self, code: str, **values: str) -> ValidationError:
        return ValidationError(self.error_messages[code], code, values)
