"""What an overlay's file holds: pixels, and nothing that came with the photo."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import dermald
import pytest
from conftest import ROOT
from PIL import Image, ImageCms, PngImagePlugin

# In every place where a file can say something. None may come back, in any spelling.
SECRET = "Nguyen Thi Bi Mat"
LOOKS = [dermald.RenderOverlay(form, side) for form in ("png", "jpeg", "webp") for side in (0, 400)]


def photos() -> Iterator[tuple[str, bytes]]:
    """One photo in three formats, each full of what it can hold beside pixels."""
    picture = Image.open(ROOT / "models/demo/sample.jpg").convert("RGB").resize((640, 480))
    exif, icc = exif_with_position(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    profile = icc.tobytes().replace(b"sRGB", SECRET.encode()[:4])
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><who>{SECRET}</who></x:xmpmeta>'.encode()
    held = {"exif": exif, "icc_profile": profile, "dpi": (72, 72)}
    jpeg = saved(picture, "JPEG", xmp=xmp, comment=SECRET.encode(), **held)
    iptc = b"Photoshop 3.0\x00" + SECRET.encode()
    segment = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    yield "photo.jpg", jpeg[:2] + segment + jpeg[2:] + SECRET.encode()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", SECRET)
    texts.add_text("Comment", SECRET, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode(), "vi", SECRET)
    yield "photo.png", saved(picture, "PNG", pnginfo=texts, **held)
    yield "photo.webp", saved(picture, "WEBP", exif=exif, icc_profile=profile, xmp=xmp)


def exif_with_position() -> bytes:
    """Who took it, with what, when and where."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = exif[0x013B] = exif[0x8298] = SECRET
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + SECRET.encode()
    exif.get_ifd(0x8825).update({1: "N", 2: (10.0, 46.0, 37.2), 3: "E", 4: (106.0, 41.0, 43.1)})
    return exif.tobytes()


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


PHOTOS = dict(photos())


@pytest.mark.parametrize("name", PHOTOS)
def test_photo_holds_what_must_not_come_back(name: str) -> None:
    """The test below means something: its photos are as full as they look."""
    with Image.open(io.BytesIO(PHOTOS[name])) as picture:
        assert picture.getexif().get_ifd(0x8825)
        assert picture.info.get("icc_profile")
    assert SECRET.encode() in PHOTOS[name]
    assert not set(parts(PHOTOS[name])) <= allowed(PHOTOS[name])


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.format}-{look.longest_side}")
@pytest.mark.parametrize("name", PHOTOS)
def test_overlay_holds_pixels_only(name: str, look: dermald.RenderOverlay, socket: Path) -> None:
    with dermald.Client(socket) as client:
        overlay = client.predict(PHOTOS[name], explain=look).overlay
    assert overlay is not None
    file = overlay.data
    assert set(parts(file)) <= allowed(file)
    for spelling in (SECRET.encode(), SECRET.encode("utf-16-le"), SECRET.encode("utf-16-be")):
        assert spelling not in file
    with Image.open(io.BytesIO(file)) as picture:
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"} | {
            "loop",
            "background",
            "timestamp",
            "duration",
        }
        if look.longest_side:
            # The photo lies on its side: what the metadata said has been done.
            assert picture.size == (300, 400)


def parts(file: bytes) -> Iterator[bytes]:
    """The names of a file's chunks or segments, to its very last byte."""
    if file.startswith(b"\x89PNG\r\n\x1a\n"):
        yield from chunks(file)
    elif file.startswith(b"RIFF"):
        yield from riff(file)
    else:
        assert file.startswith(b"\xff\xd8")
        yield from segments(file)


def allowed(file: bytes) -> set[bytes]:
    """What is needed to show the pixels."""
    if file.startswith(b"\x89PNG"):
        return {b"IHDR", b"IDAT", b"IEND"}
    if file.startswith(b"RIFF"):
        return {b"VP8L"}
    # JFIF, tables, frame, scan.
    return {bytes([kind]) for kind in (0xE0, 0xDB, 0xC4, 0xC0, 0xDA, 0xD9)}


def chunks(file: bytes) -> Iterator[bytes]:
    place, name = 8, b""
    while place < len(file):
        (length,), name = struct.unpack_from(">I", file, place), file[place + 4 : place + 8]
        (check,) = struct.unpack_from(">I", file, place + 8 + length)
        assert check == zlib.crc32(file[place + 4 : place + 8 + length])
        yield name
        place += 12 + length
    assert name == b"IEND"
    assert place == len(file)


def riff(file: bytes) -> Iterator[bytes]:
    assert struct.unpack_from("<I", file, 4) == (len(file) - 8,)
    assert file[8:12] == b"WEBP"
    place = 12
    while place < len(file):
        yield file[place : place + 4]
        (length,) = struct.unpack_from("<I", file, place + 4)
        place += 8 + length + length % 2
    assert place == len(file)


def segments(file: bytes) -> Iterator[bytes]:
    place = 2
    while True:
        assert file[place] == 0xFF
        kind, (length,) = file[place + 1], struct.unpack_from(">H", file, place + 2)
        yield file[place + 1 : place + 2]
        if kind == 0xE0:
            # JFIF without a thumbnail.
            assert (length, file[place + 4 : place + 9]) == (16, b"JFIF\x00")
        place += 2 + length
        if kind == 0xDA:
            break
    end = file.index(b"\xff\xd9", place)
    # A byte behind the end would be somebody else's.
    yield from [b"\xd9"] if end + 2 == len(file) else [b"\xd9", b"more"]
