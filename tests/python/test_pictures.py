"""Probabilities of a picture by our way, and of what Pillow makes of it.

Pillow's way is the one of most trainings: every pixel decoded, `exif_transpose`, `convert("RGB")`,
`resize` with Lanczos. Its pixels reach the same daemon as a PNG of the model's size, which nobody
scales or resizes any more. Whoever trained with Pillow gets the answers that the training promises.

`make test` takes a quarter of the pictures; `make proof` takes all, and asks the reference bundle
as well (300 x 300, untrained); TEST_REFERENCE_BUNDLE names a trained one instead.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import dermald
import numpy as np
import pytest
from conftest import ROOT, daemon
from dermald_model.lesions import LABELS, draw
from PIL import Image, ImageOps

PICTURES = ROOT / "target/test-pictures"
REFERENCE = Path(os.environ.get("TEST_REFERENCE_BUNDLE", ROOT / "build/reference/bundle"))
LONG = bool(os.environ.get("TEST_LONG"))
BUNDLES = [ROOT / "models/demo", *([REFERENCE] if LONG else [])]

# The largest difference of any class. In full, a picture reaches the model to the bit as Pillow
# gives it, but for two BMPs and a TIFF.
NEAR = {"full": 0.001, "scaled": 0.02}
# An untrained network makes much of nothing: on a level of noise it changes its mind by 0.15.
UNTRAINED = ROOT / "build/reference/bundle"
PHOTOGRAPH = re.compile(r"skin-.*|12 MP.*")

# Not read by us, read in another way by Pillow, or nobody's photo; tests/library/pillow.rs
# has the reasons.
LEFT_OUT = re.compile(
    r"(grey-alpha|palette)\.tiff|grey-16(-interlaced)?\.png|size-(1x3|3x4|3x7000)-42.\.jpg"
)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
@pytest.mark.parametrize("decode", ["full", "scaled"])
def test_probabilities_are_those_of_pillows_pixels(
    bundle: Path, decode: str, tmp_path: Path
) -> None:
    form = tomllib.loads((bundle / "manifest.toml").read_text(encoding="utf-8"))["input"]
    size = (form["width"], form["height"])
    apart: dict[str, float] = {}
    with daemon(decoding(bundle, decode, tmp_path)) as socket, dermald.Client(socket) as client:
        for name, file in files():
            pillows = probabilities(client, by_pillow(file, size))
            apart[name] = difference(probabilities(client, file), pillows)
            if decode == "scaled" and apart[name] > NEAR[decode]:
                # An undecided model turns a rounded level into this, in Pillow's draft as well.
                draft = difference(
                    probabilities(client, by_pillow(file, size, draft=True)), pillows
                )
                print(f"\n{name}: {apart[name]:.4f} apart, Pillow's draft {draft:.4f}")
                if apart[name] <= draft:
                    apart[name] = NEAR[decode]
    worst = sorted(apart, key=lambda name: apart[name], reverse=True)[:8]
    median = sorted(apart.values())[len(apart) // 2]
    print(
        f"\n{bundle.name}, {decode}: {len(apart)} pictures, at most {apart[worst[0]]:.5f} apart "
        f"({worst[0]}), median {median:.6f}"
    )
    assert len(apart) >= (290 if LONG else 70)
    photographs = {name: apart[name] for name in apart if PHOTOGRAPH.fullmatch(name)}
    print(f"{len(photographs)} photographs: at most {max(photographs.values()):.5f} apart")
    judged = photographs if decode == "scaled" and bundle == UNTRAINED else apart
    far = {name: judged[name] for name in judged if judged[name] > NEAR[decode]}
    assert not far, far


def decoding(bundle: Path, decode: str, folder: Path) -> Path:
    """A copy of a bundle that decodes in one way."""
    copy = folder / bundle.name
    shutil.copytree(bundle, copy)
    manifest = copy / "manifest.toml"
    text = re.sub(r"^decode = .*\n", "", manifest.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = text.replace("[input]\n", f'[input]\ndecode = "{decode}"\n')
    manifest.write_text(text, encoding="utf-8")
    return copy


def files() -> Iterator[tuple[str, bytes]]:
    """All pictures of tests/pictures, and drawn skin as a camera of 12 megapixels has it."""
    paths = [
        path
        for path in sorted(PICTURES.iterdir())
        if path.is_file() and path.suffix and not path.name.endswith(".expected.png")
        if not LEFT_OUT.fullmatch(path.name)
    ]
    for number, path in enumerate(paths):
        if LONG or number % 4 == 0 or PHOTOGRAPH.fullmatch(path.name):
            yield path.name, path.read_bytes()
    for label in range(len(LABELS) if LONG else 1):
        pixels = draw(np.random.default_rng(label), label, 4000, 3000).pixels
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        yield f"12 MP, {LABELS[label].name}", file.getvalue()


def by_pillow(file: bytes, size: tuple[int, int], *, draft: bool = False) -> bytes:
    with warnings.catch_warnings(), Image.open(io.BytesIO(file)) as picture:
        warnings.simplefilter("ignore")
        if draft:
            picture.draft("RGB", (2 * size[0], 2 * size[1]))
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    out = io.BytesIO()
    upright.resize(size, Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()


def probabilities(client: dermald.Client, file: bytes) -> dict[int, float]:
    return {label.index: label.probability for label in client.predict(file).labels}


def difference(ours: dict[int, float], theirs: dict[int, float]) -> float:
    return max(abs(ours[label] - theirs[label]) for label in theirs)
