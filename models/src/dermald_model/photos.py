"""The photos in a folder, for calibration and comparison; it knows no model."""

from pathlib import Path

from PIL import Image, ImageOps

from dermald_model.refusal import Refusal

_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"))


def find(folder: Path, at_most: int | None = None) -> list[Path]:
    """The photos in a folder and below it, by name. Fails with Refusal when there are none.

    `at_most` takes that many, spread evenly: folders are often sorted by class.
    """
    if not folder.is_dir():
        raise Refusal(f"{folder} is no folder; expected one with photos (JPEG, PNG, WebP ...)")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not files:
        raise Refusal(f"there are no photos in {folder}; files that end like .jpg or .png count")
    if at_most is not None and len(files) > at_most:
        files = [files[number * len(files) // at_most] for number in range(at_most)]
    return files


def load(path: Path) -> Image.Image:
    """A photo, upright, RGB. Fails with Refusal, naming the file."""
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Refusal(f"{path} cannot be read as a photo: {error}") from error
