"""The photos of the demonstration's sheet come out as a browser would show them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import dermald
import numpy as np
import pytest
from conftest import BINARY, ROOT
from PIL import Image

EXAMPLE = ROOT / "python-client/example"
sys.path.insert(0, str(EXAMPLE))

from odd_photos import OddPhoto, odd_photos

DEMO = ROOT / "models/demo"
PHOTOS = list(odd_photos(Image.open(DEMO / "sample.jpg")))
SIDE = 320


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.caption.split(":")[0])
def test_ground_of_an_overlay_is_the_photo_as_it_is_seen(photo: OddPhoto, socket: Path) -> None:
    """Turned, in its colours, in its aspect ratio: seen where the heatmap is left out."""
    with dermald.Client(socket) as client:
        look = dermald.RenderOverlay("png", SIDE, alpha=0.0)
        overlay = client.predict(photo.file, explain=look).overlay
    assert overlay is not None
    drawn = np.asarray(Image.open(io.BytesIO(overlay.data)).convert("RGB")).astype(np.float64)
    seen = photo.as_seen()
    ratio = SIDE / max(seen.size)
    size = (round(seen.width * ratio), round(seen.height * ratio))
    assert (overlay.width, overlay.height) == size
    expected = np.asarray(seen.resize(size, Image.Resampling.LANCZOS)).astype(np.float64)
    if photo.caption.startswith("Cut out"):
        # What is transparent lies over white for a browser, and is what it hides for this model.
        middle = np.abs(drawn - expected)[SIDE // 4 : SIDE // 2, SIDE // 4 : SIDE // 2]
        assert middle.mean() <= 2
        assert drawn[0, 0].max() < 255
    else:
        # Large JPEGs are decoded smaller, and CMYK is turned to colours by another formula.
        assert np.abs(drawn - expected).mean() <= 2


def test_sheet_shows_every_photo(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "overlays.py"), "--daemon", str(BINARY)]
    done = subprocess.run(
        [*command, "--bundle", str(DEMO), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(PHOTOS)} odd photos" in done.stdout
    with Image.open(tmp_path / "overlays.png") as sheet:
        colours = np.asarray(sheet.convert("RGB"))
    # A row of the page that has no coloured pixel lies between two photos.
    coloured = (np.ptp(colours, axis=2) > 20).any(axis=1)
    assert np.count_nonzero(np.diff(coloured.astype(int)) == 1) == len(PHOTOS)
