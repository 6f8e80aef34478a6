"""Pictures as files: what all makers of files need."""

from collections.abc import Iterator
from io import BytesIO

from PIL import Image

# Name and content of a file.
Written = Iterator[tuple[str, bytes]]

ORIENTATION = 0x0112


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file, by Pillow."""
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation: int) -> Image.Exif:
    """EXIF that says nothing else."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif
