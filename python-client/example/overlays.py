"""A sheet of overlays over odd photos, each beside its colour maps, made by a real daemon.

    python overlays.py --daemon target/release/dermald --bundle models/demo --output build/demo

Writes overlays.png. Exits 1 when a photo was not answered with an overlay. Needs Pillow.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

import dermald
from odd_photos import OddPhoto, odd_photos
from processes import Daemon, private_folder

COLOUR_MAPS = ("jet", "turbo", "viridis", "inferno", "magma")
LOOKS = [
    dermald.RenderOverlay(),
    *(dermald.RenderOverlay("png", 240, colour_map) for colour_map in COLOUR_MAPS),
]
HEADINGS = ("The photo", "Jet, at the\nmodel's size", *(name.title() for name in COLOUR_MAPS))

TEXT, CELL, GAP, HEAD = 330, 240, 16, 70
INK, QUIET, PAPER, EDGE = (25, 25, 25), (105, 105, 105), (255, 255, 255), (225, 225, 225)


@dataclass(frozen=True)
class Row:
    """A photo and what the daemon made of it."""

    photo: OddPhoto
    answer: dermald.Prediction
    pictures: list[Image.Image]


def main() -> int:
    arguments = parse_arguments()
    sample = Image.open(arguments.photo or arguments.bundle / "sample.jpg")
    try:
        with private_folder() as folder:
            daemon = Daemon(arguments.daemon, arguments.bundle, folder / "dermald.sock")
            try:
                with dermald.Client(daemon.socket) as client:
                    rows = [ask(client, photo) for photo in odd_photos(sample)]
            finally:
                daemon.terminate()
    except (OSError, RuntimeError, dermald.DermaldError) as error:
        print(f"The sheet of overlays failed: {error}", file=sys.stderr)
        return 1
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "overlays.png"
    sheet(rows).save(path)
    print(f"{len(rows)} odd photos, each under five colour maps: {path}\n")
    return 0


def ask(client: dermald.Client, photo: OddPhoto) -> Row:
    """Every look of one photo. Raises `RuntimeError` when one is missing."""
    pictures = []
    for look in LOOKS:
        answer = client.predict(photo.file, explain=look, language="en")
        if answer.overlay is None:
            raise RuntimeError(f"{photo.caption}: no overlay, {answer.explanation}")
        pictures.append(Image.open(io.BytesIO(answer.overlay.data)).convert("RGB"))
    return Row(photo, answer, pictures)


def sheet(rows: list[Row]) -> Image.Image:
    """All rows under one heading."""
    columns = len(HEADINGS)
    width = GAP + TEXT + columns * (CELL + GAP) + GAP
    page = Image.new("RGB", (width, HEAD + len(rows) * (CELL + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for column, heading in enumerate(HEADINGS):
        draw.multiline_text((left(column), 14), heading, INK, font(19), spacing=3)
    # What the model's maker wants shown with every answer.
    notice = "\n".join(wrap(rows[0].answer.notice or "", 42))
    draw.multiline_text((GAP, 16), notice, QUIET, font(15), spacing=5)
    for number, row in enumerate(rows):
        top = HEAD + number * (CELL + GAP)
        draw.line((GAP, top - GAP // 2, width - GAP, top - GAP // 2), EDGE)
        describe(draw, row, top)
        seen = row.photo.as_seen()
        for column, picture in enumerate([seen, *row.pictures]):
            shown = fitted(picture)
            page.paste(shown, place(shown, left(column), top))
    return page


def describe(draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    """What is odd about a photo, and what the model calls it."""
    caption = "\n".join(wrap(row.photo.caption, 30))
    draw.multiline_text((GAP, top), caption, INK, font(20), spacing=4)
    with Image.open(io.BytesIO(row.photo.file)) as picture:
        size = f"{picture.format}, {picture.width} x {picture.height}, {picture.mode}"
    best = row.answer.labels[0]
    taken = row.answer.timings.decode_us / 1000
    facts = (
        size,
        f"{len(row.photo.file) / 1000:,.1f} KB, read in {taken:.0f} ms",
        f"{best.title}, {best.probability:.0%}",
    )
    draw.multiline_text((GAP, top + 90), "\n".join(facts), QUIET, font(17), spacing=7)


def fitted(picture: Image.Image) -> Image.Image:
    """As large as the cell allows; a single pixel becomes a square that can be seen."""
    ratio = CELL / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def place(picture: Image.Image, x: int, y: int) -> tuple[int, int]:
    """The middle of the cell whose corner is given."""
    return x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2


def left(column: int) -> int:
    return GAP + TEXT + column * (CELL + GAP)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, so that the sheet looks alike everywhere."""
    return ImageFont.load_default(size)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Overlays over odd photos, on one sheet.")
    parser.add_argument("--daemon", type=Path, required=True, help="the dermald binary")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the model bundle")
    parser.add_argument("--photo", type=Path, help="default: sample.jpg of the bundle")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="where to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
