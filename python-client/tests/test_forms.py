"""Photos in forms: chosen files and camera texts, told by content, refused in a visitor's words."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile, UploadedFile
from django.db.migrations.writer import MigrationWriter
from django.http import QueryDict
from django.test import RequestFactory, override_settings
from django.utils import translation
from django.utils.datastructures import MultiValueDict
from PIL import Image

import dermald
from dermald.django.forms import PhotoField
from dermald.django.photos import HEAD_BYTES, foreign_kind, media_type
from dermald.django.validators import PhotoValidator
from processes import Daemon

HEIC = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100)


class UploadForm(forms.Form):
    image = PhotoField()


def picture(format: str = "JPEG", side: int = 16) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), "brown").save(out, format)
    return out.getvalue()


def camera(photo: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{b64encode(photo).decode()}"


def with_file(data: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> UploadForm:
    return UploadForm({}, files(SimpleUploadedFile(name, data, kind)))


def files(upload: UploadedFile[bytes]) -> MultiValueDict[str, UploadedFile[bytes]]:
    return MultiValueDict({"image": [upload]})


def with_text(text: str) -> UploadForm:
    return UploadForm({"image": text})


def codes(form: forms.Form) -> list[str | None]:
    return [error.code for error in form.errors.as_data().get("image", [])]


def said(form: forms.Form, language: str) -> str:
    with translation.override(language):
        return str(form.errors["image"][0])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_that_the_daemon_reads_are_taken(format: str) -> None:
    """By content: neither name nor type that come along say what it is."""
    data = picture(format)
    for form in (with_file(data, "notes.txt", "text/plain"), with_text(camera(data))):
        assert form.is_valid(), form.errors
        image = form.cleaned_data["image"]
        assert isinstance(image, UploadedFile)
        assert image.content_type == f"image/{format.lower()}"
        assert image.read() == data


def test_camera_text_is_classified_like_the_file(daemon: Daemon, photo: Path) -> None:
    data = photo.read_bytes()
    with dermald.Client(daemon.socket) as client:
        labels = []
        for form in (with_file(data), with_text(camera(data))):
            assert form.is_valid()
            labels.append(client.predict(form.cleaned_data["image"]).labels)
    assert labels[0] == labels[1]


def test_camera_text_arrives_through_a_real_post() -> None:
    data = picture("PNG")
    request = RequestFactory().post("/", {"image": camera(data, "image/png")})
    form = UploadForm(request.POST, request.FILES)
    assert form.is_valid()
    assert form.cleaned_data["image"].name == "camera.png"


def test_unescaped_plus_is_read_as_such() -> None:
    """A page that builds its own body: every `+` of the base64 arrives as a space."""
    data = next(
        made
        for made in (picture("PNG", side) for side in range(8, 200))
        if "+" in b64encode(made).decode()
    )
    query = QueryDict("image=" + camera(data, "image/png"))
    assert "+" not in query["image"]
    form = UploadForm(query)
    assert form.is_valid()
    assert form.cleaned_data["image"].read() == data


def test_file_counts_when_both_came() -> None:
    upload = SimpleUploadedFile("a", picture("GIF"))
    form = UploadForm({"image": camera(picture("PNG"))}, files(upload))
    assert form.is_valid()
    assert form.cleaned_data["image"].content_type == "image/gif"


@pytest.mark.parametrize(
    "form", [UploadForm({}), with_text(""), with_text("data:,")], ids=["none", "empty", "canvas"]
)
def test_missing_photo_is_told(form: UploadForm) -> None:
    assert codes(form) == ["required"]
    assert "No photo was chosen" in said(form, "en")
    assert "Chưa có ảnh" in said(form, "vi")


def test_optional_photo_may_be_missing() -> None:
    class Optional(forms.Form):
        image = PhotoField(required=False)

    for form in (Optional({}), Optional({"image": "data:,"})):
        assert form.is_valid(), form.errors
        assert form.cleaned_data["image"] is None


@pytest.mark.parametrize(
    "text",
    [
        camera(picture())[:-3],
        camera(picture())[:60] + "!" + camera(picture())[61:],
        "data:image/jpeg;base64",
        "data:image/jpeg,plain",
        "data:text/html;base64," + b64encode(b"<script>").decode(),
        "C:\\fakepath\\photo.jpg",
        "data:image/jpeg;base64,ảnh",
        "data:image/jpeg;base64,=AAA",
    ],
)
def test_broken_camera_text_is_told(text: str) -> None:
    form = with_text(text)
    assert codes(form) == ["picture_broken"]
    assert "did not arrive whole" in said(form, "en")
    assert "chưa được gửi đầy đủ" in said(form, "vi")


def test_camera_text_without_a_photo_is_told() -> None:
    assert codes(with_text("data:image/jpeg;base64,")) == ["empty"]
    assert codes(with_text(camera(b"This is a text. " * 50))) == ["picture_unsupported"]


@pytest.mark.parametrize("data", [b"This is a text. " * 50, b"<svg/>", bytes(500), b"GIF", b"B"])
def test_other_content_is_told(data: bytes) -> None:
    form = with_file(data)
    assert codes(form) == ["picture_unsupported"]
    assert "cannot be read as a photo" in with_language(data, "en")
    assert "Không đọc được" in with_language(data, "vi")


def with_language(data: bytes, language: str) -> str:
    with translation.override(language):
        return str(with_file(data).errors["image"][0])


@pytest.mark.parametrize(
    ("data", "kind"),
    [(HEIC, "HEIC"), (b"\0\0\0\x1cftypavif" + bytes(90), "AVIF"), (b"%PDF-1.7 " * 9, "PDF")],
)
def test_known_kind_that_is_no_photo_is_named(data: bytes, kind: str) -> None:
    for form in (with_file(data), with_text(camera(data))):
        assert codes(form) == ["picture_unsupported"]
        assert f"This is a {kind} file" in said(form, "en")
    assert f"Đây là tệp {kind}" in said(with_file(data), "vi")


def test_size_is_capped_in_both_ways() -> None:
    data = picture("BMP", 64)
    with override_settings(DERMALD={"default": {"MAX_BYTES": len(data) - 1}}):
        for form in (with_file(data), with_text(camera(data))):
            assert codes(form) == ["picture_too_large"]
            assert "Please choose a smaller one" in said(form, "en")
        assert "Vui lòng chọn ảnh nhỏ hơn" in said(with_file(data), "vi")
    with override_settings(DERMALD={"default": {"MAX_BYTES": len(data)}}):
        for form in (with_file(data), with_text(camera(data))):
            assert form.is_valid()


def test_text_of_a_hundred_megabytes_is_refused_without_decoding_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> bytes:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("dermald.django.photos.b64decode", never)
    assert codes(with_text("data:image/jpeg;base64," + "A" * (100 * 2**20))) == [
        "picture_too_large"
    ]


def test_file_on_disk_is_told_by_its_head_and_left_at_its_start() -> None:
    upload = TemporaryUploadedFile("x", "text/plain", 0, None)
    upload.write(picture("PNG"))
    upload.size = upload.tell()
    form = UploadForm({}, files(upload))
    assert form.is_valid()
    assert form.cleaned_data["image"].tell() == 0
    upload.close()


def test_validator_serves_model_fields_and_their_migrations() -> None:
    file: Any = ContentFile(b"no picture at all", "x.jpg")
    with pytest.raises(ValidationError) as caught:
        PhotoValidator(5)(file)
    assert caught.value.code == "picture_too_large"
    with pytest.raises(ValidationError) as caught:
        PhotoValidator()(file)
    assert caught.value.code == "picture_unsupported"
    assert PhotoValidator(5) == PhotoValidator(5) != PhotoValidator()
    written, _ = MigrationWriter.serialize(PhotoValidator(5))
    assert written == "dermald.django.validators.PhotoValidator(5)"


def test_input_says_what_it_takes_and_can_be_changed() -> None:
    assert 'type="file"' in str(UploadForm()["image"])
    assert 'accept="image/jpeg,image/png,image/webp"' in str(UploadForm()["image"])
    assert UploadForm().is_multipart()


def test_head_tells_the_kind_like_the_whole_file() -> None:
    for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        assert media_type(picture(format)[:HEAD_BYTES]) == f"image/{format.lower()}"
    assert foreign_kind(HEIC[:HEAD_BYTES]) == "HEIC"
    assert foreign_kind(b"") is None
