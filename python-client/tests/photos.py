"""Photos that differ, made from the sample."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageEnhance


def variants(photo: Path, count: int) -> list[bytes]:
    """The sample, turned and brightened in `count` ways, as JPEG."""
    with Image.open(photo) as opened:
        original = opened.convert("RGB")
    made: list[bytes] = []
    for number in range(count):
        turned = original.rotate(360 / count * number)
        bright = ImageEnhance.Brightness(turned).enhance(0.7 + 0.6 * number / count)
        made.append(as_file(bright, "JPEG"))
    return made


def as_file(picture: Image.Image, format: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, format)
    return out.getvalue()
