"""Photos as visitors really send them, made from one ordinary photo.

Needs Pillow; knows no daemon.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

ORIENTATION = 0x0112


@dataclass(frozen=True)
class OddPhoto:
    """A file as it is uploaded, and what is odd about it."""

    caption: str
    file: bytes

    def as_seen(self) -> Image.Image:
        """Upright and in colour, as a browser would show it."""
        with Image.open(io.BytesIO(self.file)) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode == "P":
                upright = upright.convert("RGBA")
            if "A" not in upright.getbands():
                return upright.convert("RGB")
            white = Image.new("RGBA", upright.size, "white")
            white.alpha_composite(upright.convert("RGBA"))
            return white.convert("RGB")


def odd_photos(photo: Image.Image) -> Iterator[OddPhoto]:
    """The ordinary photo first, then the odd ones."""
    photo = photo.convert("RGB")
    yield OddPhoto("An ordinary photo, landscape", _saved(photo, "JPEG", quality=90))
    yield _sideways(photo)
    large = photo.resize((4000, 3000), Image.Resampling.BICUBIC)
    yield OddPhoto("12 megapixels, as a telephone takes them", _saved(large, "JPEG", quality=85))
    yield OddPhoto(
        "Progressive: it comes into focus while it loads",
        _saved(photo, "JPEG", quality=90, progressive=True),
    )
    yield OddPhoto("Very wide: a strip cut out of a photo", _saved(_strip(photo), "JPEG"))
    tall = _strip(photo.rotate(90, expand=True), lying=False)
    yield OddPhoto("Very tall: a strip the other way", _saved(tall, "PNG"))
    yield OddPhoto("Black and white", _saved(photo.convert("L"), "JPEG", quality=90))
    yield OddPhoto("Made for printing: CMYK", _saved(photo.convert("CMYK"), "JPEG", quality=90))
    yield OddPhoto(
        "Cut out: the model still sees the colours that are hidden", _saved(_cut_out(photo), "PNG")
    )
    yield _animated(photo)
    yield OddPhoto("WebP, as messengers send it", _saved(photo, "WEBP", quality=70))
    yield OddPhoto("A single pixel", _saved(photo.resize((1, 1)), "PNG"))


def _sideways(photo: Image.Image) -> OddPhoto:
    """A portrait that the camera stored lying on its side, with a note which way is up."""
    side = min(photo.size)
    portrait = photo.crop((0, 0, side * 3 // 4, side))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying = portrait.transpose(Image.Transpose.ROTATE_90)
    return OddPhoto(
        "Stored on its side; EXIF says how to turn it", _saved(lying, "JPEG", quality=90, exif=exif)
    )


def _strip(photo: Image.Image, lying: bool = True) -> Image.Image:
    """A sixth of the photo's height (or width), through its middle."""
    width, height = photo.size
    if lying:
        return photo.crop((0, height * 5 // 12, width, height * 7 // 12))
    return photo.crop((width * 5 // 12, 0, width * 7 // 12, height))


def _cut_out(photo: Image.Image) -> Image.Image:
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).ellipse((20, 20, photo.width - 20, photo.height - 20), fill=255)
    cut = photo.copy()
    cut.putalpha(mask)
    return cut


def _animated(photo: Image.Image) -> OddPhoto:
    """The photo, and then the same one turned: only the first frame is looked at."""
    small = photo.resize((480, 360))
    frames = [small.rotate(angle) for angle in (90, 180, 270)]
    file = _saved(small, "GIF", save_all=True, append_images=frames, duration=300, loop=0)
    return OddPhoto("Animated GIF: the first frame counts", file)


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
